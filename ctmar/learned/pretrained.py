"""Networks with weights at hand: shipped with the package, or exported by a user; no pickle involved.

``load()`` gives a method that takes scans of any parallel beam that wraps::

    from ctmar.learned.pretrained import load

    method = load()
    completed = method.complete(scan).sinogram
"""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.files import write_bytes
from ctmar.geometry import ParallelBeam
from ctmar.learned.exported import require_exportable, require_same
from ctmar.learned.network import NetworkMethod, require_closed, require_wraps
from ctmar.learned.rebuilding import rebuilt
from ctmar.learned.sampling import enlarged, enlargement, growth, resample, resample_scan
from ctmar.learned.symmetry import MOVES, predictions
from ctmar.learned.uncertainty import ErrorModel, ray_features
from ctmar.learned.weights import SCHEMA, read, shipped, short, write
from ctmar.methods.base import Completed, Method, filled
from ctmar.operators import RayTransform

DEFAULT = "behind_physics"
SYMMETRIES = 4


class Pretrained(nn.Module, Method):
    """A fitted network as a method: nothing to train, and any sampling of the sinogram.

    A network knows sinograms of the beam it was fitted on. Those of another beam are brought to its
    views and bins, and what it adds to the fill is brought back: fine detail is then the fill's. Patients of
    published sets, who are far too small, are enlarged for it (:func:`~ctmar.learned.sampling.enlargement`).

    Args:
        network: The fitted network.
        trained: The beam it was fitted on, which wraps.
        card: What the file tells of the weights: data, seed, commit, figures, limits.
        symmetries: How often the network is asked about the same scan, mirrored and turned; the answers'
            mean is the completion, and from 2 on their spread tells of its uncertainty.
        name: What reports call it.

    Raises:
        CtmarError: ``trained`` does not wrap, or there are not so many symmetries.
    """

    def __init__(
        self,
        network: NetworkMethod,
        trained: ParallelBeam,
        card: dict[str, Any] | None = None,
        symmetries: int = SYMMETRIES,
        name: str = "pretrained",
    ) -> None:
        super().__init__()
        self.name = name
        if symmetries not in range(1, len(MOVES) + 1):
            raise CtmarError(f"symmetries must be from 1 to {len(MOVES)}, got {symmetries!r}")
        require_closed("pretrained weights", trained)
        self.symmetries = symmetries
        self.network, self.trained, self.card = network, trained, card or {}
        self.slices = network.slices
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.network.device

    @property
    def neighbours(self) -> int:
        """The network's own slices on either side, and those that its fill looks at."""
        return max(super().neighbours, self.network.fill.neighbours)

    def select(self, scan: Scan) -> Scan:
        """The slices as of any method; before, the fill sees neighbours that are left out then."""
        if self.network.fill.neighbours and scan.slices > (self.slices or 1):
            scan = self.network.ready(scan)
        return super().select(scan)

    def check(self, ray: RayTransform) -> None:
        """Refuses a beam that does not wrap."""
        require_wraps("pretrained weights", ray)

    def trace(self, scan: Scan) -> Tensor | Completed:
        """The mean answer at the scan's views and bins; of calibrated weights with its deviation."""
        answers = self.answers(scan)
        mean = answers.mean(0)
        if "uncertainty" not in self.card or self.symmetries < 2:
            return mean
        model = ErrorModel.from_dict(self.card["uncertainty"])
        width = torch.zeros_like(mean)
        features = ray_features(self.network.ready(scan), mean, answers.std(0))
        width[scan.metal_trace] = model.deviation(features).to(width.dtype)
        return Completed(mean, width)

    def answers(self, scan: Scan) -> Tensor:
        """What is averaged: ``(symmetries, batch, slice, angle, detector)``."""
        self.check(scan.ray)
        scan = self.network.ready(scan)
        if scan.ray.beam == self.trained:
            return predictions(self.network, scan, self.symmetries)
        times = enlargement(scan, self.trained)
        # One that looks at images knows the patient's tissue, however large he is.
        factor = times if self.network.takes_beam else growth(times)
        large = enlarged(scan, times, factor)
        known = resample_scan(large, self.trained)
        added = predictions(self.network, known, self.symmetries) - filled(known, self.network.fill)
        # What the network says off the trace was never asked of it.
        added = torch.where(known.metal_trace, added, 0.0) / factor
        return filled(scan, self.network.fill) + resample(added, self.trained, large.ray.beam)

    def spread(self, scan: Scan) -> Tensor:
        """Standard deviation of the answers, 0 off the trace, ``scan.measured``'s shape.

        By itself it says little of the error: :meth:`half_width` does.

        Raises:
            CtmarError: The network is asked once only.
        """
        scan = self.select(scan)
        return torch.where(scan.metal_trace, self._several(scan).std(0), 0.0)

    def half_width(self, scan: Scan) -> Tensor:
        """How far completed rays may be off, ``scan.measured``'s shape, a line integral; 0 off the trace.

        The share ``card["uncertainty"]["coverage"]`` of the errors of cases like the training's lies within.

        Raises:
            CtmarError: The weights were not calibrated (``scripts/calibrate.py``), or are asked once only.
        """
        told = self.card.get("uncertainty")
        if told is None:
            raise CtmarError("these weights tell no uncertainty: scripts/calibrate.py fits it")
        scan = self.select(scan)
        _, features = self.known_rays(scan)
        width = torch.zeros_like(scan.measured)
        width[scan.metal_trace] = ErrorModel.from_dict(told).half_width(features).to(width.dtype)
        return width

    def known_rays(self, scan: Scan) -> tuple[Tensor, Tensor]:
        """The mean answer; and what is known of each ray on the trace with it.

        See :func:`~ctmar.learned.uncertainty.ray_features`; ``scan`` as :meth:`select` gives it.

        Raises:
            CtmarError: The network is asked once only.
        """
        answers = self._several(scan)
        mean, spread = answers.mean(0), answers.std(0)
        return mean, ray_features(self.network.ready(scan), mean, spread)

    def _several(self, scan: Scan) -> Tensor:
        if self.symmetries < 2:
            raise CtmarError("an uncertainty needs symmetries of 2 or more, got 1")
        return self.answers(scan)


def load(
    weights: str | Path = DEFAULT, symmetries: int = SYMMETRIES, told: Method | None = None
) -> Pretrained:
    """A method with weights, ready to use: in evaluation mode, on the CPU, without gradients.

    Args:
        weights: Name of weights that ctmar ships (:func:`~ctmar.learned.weights.available`), or path of a
            ``.safetensors`` file that ``scripts/export.py`` wrote.
        symmetries: How often the network is asked about the same scan, mirrored and turned.
        told: A method that knows of the scanner. Weights that stand behind one of its name take it for
            their own, which was told of the scanner of their training.

    Raises:
        CtmarError: There is no such file, or it is none of ctmar's.
    """
    path = shipped(weights)
    found = _rebuilt(path, *read(path), symmetries)
    if told is not None and told.name == found.network.fill.name:
        found.network.behind(told)
    return found


def _rebuilt(path: Path, about: dict[str, Any], state: dict[str, Tensor], symmetries: int) -> Pretrained:
    """What a file holds; ``path`` is what errors call it."""
    network = rebuilt(about["method"])
    if not isinstance(network, NetworkMethod):
        raise CtmarError(f"weights must be of a network, {path} is of {type(network).__name__}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CtmarError(f"the weights in {path} do not fit their network: {short(error)}") from None
    return Pretrained(network, ParallelBeam(**about["beam"]), about["card"], symmetries)


def save(
    path: Path, network: NetworkMethod, node: dict[str, Any], beam: ParallelBeam, card: dict[str, Any]
) -> None:
    """Writes a fitted network as safetensors, with all that rebuilds and explains it.

    The bytes are read back and tried first: nothing is written that would complete a scan otherwise.

    Args:
        path: The file; ``.safetensors``.
        network: The fitted network.
        node: What it is made from: plain types with ``_target_``.
        beam: The beam it was fitted on, which wraps.
        card: Plain types: what there is to know of the weights.

    Raises:
        CtmarError: The name does not end so; the network is of a class of somebody else's, has an image
            network behind it, or parts that ``node`` does not rebuild.
    """
    if path.suffix != ".safetensors":
        raise CtmarError(f"output must end in .safetensors, got {path.name}")
    require_exportable(network)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    geometry = {k: v for k, v in asdict(beam).items() if k in ("num_angles", "det_count", "det_spacing_mm")}
    about = {"schema": SCHEMA, "method": node, "beam": geometry, "card": card}
    with TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        write(draft, about, state)
        require_same(network, _rebuilt(path, *read(draft), symmetries=1), beam)
        write_bytes(path, draft.read_bytes())
