"""Whether weights that are exported come back as the model that they are of: by its class, and by a trial."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.models.base import Completion
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import NetworkCompletion, UNetCompletion
from ctmar.models.finite import require_finite_weights
from ctmar.sample import MARSample

REBUILT = (UNetCompletion, CGANCompletion)
"""Whose generator a file rebuilds; of a class derived from one it would rebuild this one."""
INSTEAD = "keep its checkpoint, which ctmar correct, evaluate and benchmark take"


def require_exportable(model: NetworkCompletion) -> None:
    """Refuses a model of a class that a file of weights does not rebuild, and weights that it cannot hold.

    Raises:
        CtmarError: Says why, and what to do.
    """
    kind = type(model)
    named = f"{kind.__module__}.{kind.__qualname__}"
    if kind not in REBUILT:
        raise CtmarError(
            f"exported weights must be of ctmar's own UNetCompletion or CGANCompletion, got {named},"
            f" whose code a file of weights does not hold: {INSTEAD}"
            f" with CTMAR_TRUST={named.partition('.')[0]}"
        )
    replaced = sorted(_replaced(kind))
    if replaced:
        raise CtmarError(
            f"exported weights must be of ctmar's own {kind.__name__}, got one with {', '.join(replaced)} of"
            f" somebody else's, which a file of weights does not hold: {INSTEAD}"
        )
    if model.hparams["refine"] != "none":
        raise CtmarError(
            f"exported weights must be of a completion alone, got model.refine={model.hparams['refine']}"
        )
    for name, value in model.generator.state_dict().items():
        if value.is_floating_point() and value.dtype != torch.float32:
            raise CtmarError(f"exported weights must be float32, got {value.dtype} in {name}")
    require_finite_weights(model.generator, "the weights to export")


def _replaced(kind: type[NetworkCompletion]) -> Iterator[str]:
    """Methods of ctmar's own classes that another package has put its own in place of."""
    for base in kind.__mro__:
        for name, value in vars(base).items() if base.__module__.startswith("ctmar.") else ():
            if inspect.isfunction(value) and not value.__module__.startswith("ctmar."):
                yield name


def require_same(model: NetworkCompletion, rebuilt: Completion, beam: ParallelBeam) -> None:
    """Refuses what was rebuilt where it completes a case otherwise, by a bit.

    Args:
        model: What was exported.
        rebuilt: What the file gives, on the CPU.
        beam: Of the case.

    Raises:
        CtmarError: Something in the model is not told by its options: an attribute replaced, a hook, say.
    """
    sample = trial_case(beam, model.hparams["slices"])
    with _at_rest(model):
        wanted, got = model.complete(sample), rebuilt.complete(sample)
    if not torch.equal(wanted, got):
        raise CtmarError(
            "exported weights must complete a case as the model does, bit for bit, got another completion:"
            f" parts of the model are not those that its options rebuild; {INSTEAD}"
        )


@contextmanager
def _at_rest(model: NetworkCompletion) -> Iterator[None]:
    """The model on the CPU, in evaluation mode, as written and not as compiled; then as it was."""
    modes = {part: part.training for part in model.modules()}
    device = next(model.parameters()).device
    eager: AbstractContextManager[None] = nullcontext()
    if model.hparams["compile"]:
        eager = torch.compiler.set_stance("force_eager")  # compiled sums differ in their last bits
    model.to("cpu").eval()
    try:
        with torch.inference_mode(), eager:
            yield
    finally:
        model.to(device)
        for part, mode in modes.items():
            part.training = mode


def trial_case(beam: ParallelBeam, slices: int) -> MARSample:
    """A made-up case in which every input differs from every other: water, discs of metal, noise, two fills.

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
    image = torch.zeros(1, slices, 1, 1)
    return MARSample(
        measured=_tensor(measured),
        clean=_tensor(clean),
        metal_trace=torch.from_numpy(trace),
        metal_path_mm=_tensor(path),
        fills={"li": _tensor(li), "nmar": _tensor(nmar)},
        reference_hu=image,
        metal_mask=image.bool(),
        body_mask=image.bool(),
        tissue_labels=image.byte(),
        mu_water=torch.full((1,), 0.02),
        case_id=["trial"],
        parameters=[{}],
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()
