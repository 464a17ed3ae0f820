"""Whether exported weights come back as the network that they are of: by its class, and by a trial."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.learned.network import NetworkMethod
from ctmar.methods.base import Method
from ctmar.operators import RayTransform

INSTEAD = "keep its checkpoint, which ctmar correct, evaluate and benchmark take"


def require_exportable(network: NetworkMethod) -> None:
    """Refuses a method of a class that a file of weights does not rebuild, and weights that it cannot hold.

    Raises:
        CtmarError: Says why, and what to do.
    """
    kind = type(network)
    named = f"{kind.__module__}.{kind.__qualname__}"
    if kind is not NetworkMethod:
        raise CtmarError(
            f"exported weights must be of ctmar's own NetworkMethod, got {named},"
            f" whose code a file of weights does not hold: {INSTEAD}"
            f" with CTMAR_TRUST={named.partition('.')[0]}"
        )
    replaced = sorted(_replaced(kind))
    if replaced:
        raise CtmarError(
            f"exported weights must be of ctmar's own {kind.__name__}, got one with {', '.join(replaced)} of"
            f" somebody else's, which a file of weights does not hold: {INSTEAD}"
        )
    if network.own_image:
        raise CtmarError("exported weights must be of a completion alone, got model.refine")
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if value.dtype != torch.float32:
            raise CtmarError(f"exported weights must be float32, got {value.dtype} in {name}")
        if not bool(value.isfinite().all()):
            raise CtmarError(f"the weights to export must be finite, got NaN or infinity in {name}")


def _replaced(kind: type) -> Iterator[str]:
    """Methods of ctmar's own classes that another package has put its own in place of."""
    for base in kind.__mro__:
        for name, value in vars(base).items() if base.__module__.startswith("ctmar.") else ():
            if inspect.isfunction(value) and not value.__module__.startswith("ctmar."):
                yield name


def require_same(network: NetworkMethod, rebuilt: Method, beam: ParallelBeam) -> None:
    """Refuses what was rebuilt where it completes a scan otherwise, by a bit.

    Args:
        network: What was exported.
        rebuilt: What the file gives, on the CPU.
        beam: Of the scan.

    Raises:
        CtmarError: Something in the network is not told by its options: an attribute replaced, a hook, say.
    """
    scan = network.ready(trial_scan(beam, network.slices))
    # Compiled sums differ in their last bits.
    with at_rest(network), torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        wanted, got = network.complete(scan).sinogram, rebuilt.complete(scan).sinogram
    if not torch.equal(wanted, got):
        raise CtmarError(
            "exported weights must complete a case as the model does, bit for bit, got another completion:"
            f" parts of the model are not those that its options rebuild; {INSTEAD}"
        )


@contextmanager
def at_rest(network: NetworkMethod) -> Iterator[None]:
    """The network on the CPU, in evaluation mode; then as it was."""
    modes = {part: part.training for part in network.modules()}
    device = network.device
    network.to("cpu").eval()
    try:
        yield
    finally:
        network.to(device)
        for part, mode in modes.items():
            part.training = mode


def trial_scan(beam: ParallelBeam, slices: int) -> Scan:
    """A made-up scan in which every input differs from every other: water, discs of metal, noise, two fills.

    Args:
        beam: Of the sinograms.
        slices: How many.
    """
    rng = np.random.default_rng(0)
    bins = (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    reach = float(bins[-1])
    theta = np.asarray(beam.theta)[:, None]
    water = 4 * np.sqrt(np.clip(1 - (bins / (0.8 * reach)) ** 2, 0, None))
    paths = []
    for x, y in rng.uniform(-0.3, 0.3, (slices, 2)) * reach:
        away = bins - x * np.cos(theta) - y * np.sin(theta)
        paths.append(2 * np.sqrt(np.clip((0.06 * reach) ** 2 - away**2, 0, None)))
    path = np.stack(paths)[None]
    trace = path > 0
    clean = np.broadcast_to(water, path.shape) + rng.normal(0, 0.02, path.shape)
    measured = np.where(trace, clean + 0.1 * path / (1 + 0.02 * path), clean)
    li, nmar = (np.where(trace, clean * rng.uniform(0.8, 1.2, path.shape), measured) for _ in range(2))
    side = max(8, int(beam.det_count / 2**0.5))
    grid = ImageGrid((side, side), beam.det_spacing_mm)
    return Scan(
        measured=_tensor(measured),
        metal_trace=torch.from_numpy(trace),
        metal_mask=torch.zeros(1, slices, *grid.shape, dtype=torch.bool),
        metal_path_mm=_tensor(path),
        mu_water=torch.full((1,), 0.02),
        ray=RayTransform(grid, beam),
        fills={"li": _tensor(li), "nmar": _tensor(nmar)},
        case_id=("trial",),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()
