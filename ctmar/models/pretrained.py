"""Networks with weights at hand: shipped with the package, or exported by a user; no pickle involved.

``load()`` gives a completion that takes samples of any parallel beam that wraps::

    from ctmar.models.pretrained import load

    model = load(beam=beam)  # the beam of the sinograms; None for that of the training
    completed = model.complete(sample)  # measured, metal_trace, metal_path_mm and fills["nmar"] are read
"""

import inspect
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.files import write_bytes
from ctmar.geometry import ParallelBeam
from ctmar.models.base import Completion
from ctmar.models.completion import NetworkCompletion, UNetCompletion
from ctmar.models.exported import require_exportable, require_same
from ctmar.models.inputs import fill_sinogram
from ctmar.models.sampling import resample, resample_sample
from ctmar.models.symmetry import MOVES, predictions
from ctmar.models.uncertainty import ErrorModel, ray_features
from ctmar.models.weights import SCHEMA, read, shipped, short, write
from ctmar.operators import RayTransform
from ctmar.sample import MARSample

DEFAULT = "unet"
SYMMETRIES = 4


class PretrainedCompletion(Completion):
    """A fitted network behind the face of a method: nothing to train, and any sampling of the sinogram.

    A network knows sinograms of the beam it was fitted on. Those of another beam are brought to its
    views and bins, and what it adds to the fill is brought back: fine detail is then the fill's.

    Args:
        network: The fitted network.
        trained: The beam it was fitted on.
        beam: The beam of the samples; that of the training where None.
        card: What the file tells of the weights: data, seed, commit, figures, limits.
        symmetries: How often the network is asked about the same case, mirrored and turned; the answers'
            mean is the completion, and from 2 on their spread tells of its uncertainty.
    """

    trainable = False

    def __init__(
        self,
        network: NetworkCompletion,
        trained: ParallelBeam,
        beam: ParallelBeam | None = None,
        card: dict[str, Any] | None = None,
        symmetries: int = SYMMETRIES,
    ) -> None:
        super().__init__()
        if symmetries not in range(1, len(MOVES) + 1):
            raise CtmarError(f"symmetries must be from 1 to {len(MOVES)}, got {symmetries!r}")
        self.symmetries = symmetries
        self.network, self.trained, self.card = network, trained, card or {}
        self.beam = beam or trained
        self.slices = network.slices
        self.check_beam(self.beam)
        self.requires_grad_(False).eval()

    def check_beam(self, beam: ParallelBeam) -> None:
        """Refuses a beam that does not wrap, or whose samples would not be ``self.beam``'s."""
        if not beam.wraps:
            raise CtmarError(
                "pretrained weights need uniform views over π and a centred detector,"
                f" got offset {beam.det_offset_mm} mm, {beam.num_angles} views"
            )
        if beam != self.beam:
            raise CtmarError(
                f"pretrained weights were told of {_told(self.beam)}, got samples of {_told(beam)}:"
                " give load() the samples' beam"
            )

    def use_geometry(self, ray: RayTransform) -> None:
        """Takes the beam of the samples."""
        assert isinstance(ray.beam, ParallelBeam)
        told, self.beam = self.beam, ray.beam
        try:
            self.check_beam(ray.beam)
        except CtmarError:
            self.beam = told
            raise

    def predict_trace(self, sample: MARSample) -> Tensor:
        """The network's completion ``(batch, slice, angle, detector)``, at the sample's views and bins."""
        if sample.measured.shape[-2:] != self.beam.shape:
            required = f"pretrained weights were told of {_told(self.beam)}"
            raise CtmarError(f"{required}, got a sinogram of {tuple(sample.measured.shape[-2:])}")
        return self.answers(sample).mean(0)

    def answers(self, sample: MARSample) -> Tensor:
        """What is averaged: ``(symmetries, batch, slice, angle, detector)``."""
        if self.beam == self.trained:
            return predictions(self.network, sample, self.symmetries)
        name = self.network.hparams["fill"]
        known = resample_sample(sample, self.beam, self.trained)
        added = predictions(self.network, known, self.symmetries) - fill_sinogram(known, name)
        # What the network says off the trace was never asked of it.
        added = torch.where(known.metal_trace, added, 0.0)
        return fill_sinogram(sample, name) + resample(added, self.trained, self.beam)

    def spread(self, sample: MARSample) -> Tensor:
        """Standard deviation of the answers, 0 off the trace, ``sample.measured``'s shape.

        By itself it says little of the error: :meth:`half_width` does.

        Raises:
            CtmarError: The network is asked once only.
        """
        if self.symmetries < 2:
            raise CtmarError("a spread needs symmetries of 2 or more, got 1")
        sample = self.select(sample)
        return torch.where(sample.metal_trace, self.answers(sample).std(0), 0.0)

    def half_width(self, sample: MARSample) -> Tensor:
        """How far completed rays may be off, ``sample.measured``'s shape, a line integral; 0 off the trace.

        The share ``card["uncertainty"]["coverage"]`` of the errors of cases like the training's lies within.

        Raises:
            CtmarError: The weights were not calibrated (``scripts/calibrate.py``), or are asked once only.
        """
        told = self.card.get("uncertainty")
        if told is None:
            raise CtmarError("these weights tell no uncertainty: scripts/calibrate.py fits it")
        sample = self.select(sample)
        _, features = self.known_rays(sample)
        width = torch.zeros_like(sample.measured)
        width[sample.metal_trace] = ErrorModel.from_dict(told).half_width(features).to(width.dtype)
        return width

    def known_rays(self, sample: MARSample) -> tuple[Tensor, Tensor]:
        """The mean answer, as :meth:`predict_trace`; and what is known of each ray on the trace with it.

        See :func:`~ctmar.models.uncertainty.ray_features`; ``sample`` as :meth:`select` gives it.

        Raises:
            CtmarError: The network is asked once only.
        """
        if self.symmetries < 2:
            raise CtmarError("an uncertainty needs symmetries of 2 or more, got 1")
        answers = self.answers(sample)
        mean, spread = answers.mean(0), answers.std(0)
        return mean, ray_features(sample, mean, spread, self.beam.det_spacing_mm)


def load(
    weights: str | Path = DEFAULT, beam: ParallelBeam | None = None, symmetries: int = SYMMETRIES
) -> PretrainedCompletion:
    """A completion with weights, ready to use: in evaluation mode, on the CPU, without gradients.

    Args:
        weights: Name of weights that ctmar ships (:func:`~ctmar.models.weights.available`), or path of a
            ``.safetensors`` file that ``scripts/export.py`` wrote.
        beam: The beam of the samples; that of the training where None.
        symmetries: How often the network is asked about the same case, mirrored and turned.

    Raises:
        CtmarError: There is no such file, or it is none of ctmar's.
    """
    path = shipped(weights)
    return _rebuilt(path, *read(path), beam, symmetries)


def _rebuilt(
    path: Path,
    about: dict[str, Any],
    state: dict[str, Tensor],
    beam: ParallelBeam | None,
    symmetries: int,
) -> PretrainedCompletion:
    """What a file holds; ``path`` is what errors call it."""
    network = UNetCompletion(**about["arguments"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CtmarError(f"the weights in {path} do not fit their network: {short(error)}") from None
    return PretrainedCompletion(network, ParallelBeam(**about["beam"]), beam, about["card"], symmetries)


def save(path: Path, model: NetworkCompletion, beam: ParallelBeam, card: dict[str, Any]) -> None:
    """Writes the generator of a U-Net or cGAN as safetensors, with all that rebuilds and explains it.

    The bytes are read back and tried first: nothing is written that would complete a case otherwise.

    Args:
        path: The file; ``.safetensors``.
        model: The fitted model; of a cGAN the discriminator stays behind.
        beam: The beam it was fitted on, which wraps.
        card: Plain types: what there is to know of the weights.

    Raises:
        CtmarError: The name does not end so; the model is of a class of somebody else's, has an image network
            behind it, or parts that its options do not rebuild.
    """
    if path.suffix != ".safetensors":
        raise CtmarError(f"output must end in .safetensors, got {path.name}")
    require_exportable(model)
    # Where the generator once started from is a path of the machine that it was fitted on.
    known = inspect.signature(NetworkCompletion).parameters.keys() - {"generator_checkpoint"}
    arguments = {name: value for name, value in model.hparams.items() if name in known}
    geometry = {k: v for k, v in asdict(beam).items() if k in ("num_angles", "det_count", "det_spacing_mm")}
    about = {"schema": SCHEMA, "arguments": arguments, "beam": geometry, "card": card}
    state = {name: value.contiguous() for name, value in model.state_dict().items() if _of_generator(name)}
    with TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        write(draft, about, state)
        require_same(model, _rebuilt(path, *read(draft), beam, symmetries=1), beam)
        write_bytes(path, draft.read_bytes())


def _of_generator(name: str) -> bool:
    return name.startswith("generator.")


def _told(beam: ParallelBeam) -> str:
    return f"{beam.num_angles} views of {beam.det_count} bins of {beam.det_spacing_mm:g} mm"
