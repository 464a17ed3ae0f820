"""What every method of completing the trace has in common, trained or not."""

import pytorch_lightning as pl
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform
from ctmar.sample import MARSample


class Completion(pl.LightningModule):
    """A method that completes the metal trace; the one face that the evaluation knows.

    Attributes:
        trainable: Whether there is anything to fit.
        slices: Slices that :meth:`complete` takes and returns; ``None`` for as many as the sample has.
    """

    trainable: bool = True
    slices: int | None = None

    def complete(self, sample: MARSample) -> Tensor:
        """Completed sinogram ``(batch, slice, angle, detector)``; bit-equal to ``measured`` off the trace.

        A model of one slice returns the centre slice alone, whatever the sample holds: compare it with
        ``sample.center()``.

        Raises:
            CtmarError: The sample has fewer slices than the model needs, or lacks its fill.
        """
        sample = self.select(sample)
        return compose(sample, self.predict_trace(sample))

    def predict_trace(self, sample: MARSample) -> Tensor:
        """A sinogram of ``sample.measured``'s shape, of which only the trace is used."""
        raise NotImplementedError

    def forward(self, sample: MARSample) -> Tensor:
        """The same as :meth:`complete`."""
        return self.complete(sample)

    def check_beam(self, beam: ParallelBeam) -> None:
        """Raises a CtmarError where the method cannot work on this geometry; most work on all."""

    def use_geometry(self, ray: RayTransform) -> None:
        """Makes ready for samples of this geometry: refuses what cannot be, and takes its lengths.

        A published protocol shrinks its patients (``Scanner.shrink``): a sample's millimetres are then not
        those of the configured grid, and what a method of its own projections took them for would be wrong.

        Raises:
            CtmarError: As :meth:`check_beam`.
        """
        self.check_beam(ray.beam)
        for part in self.modules():
            own = getattr(part, "ray", None)
            if not isinstance(own, RayTransform) or (own.grid, own.beam) == (ray.grid, ray.beam):
                continue
            if (own.grid.shape, own.beam.shape) == (ray.grid.shape, ray.beam.shape):
                part.ray = RayTransform(ray.grid, ray.beam, own.backend)  # type: ignore[assignment]

    def select(self, sample: MARSample) -> MARSample:
        """The slices of ``sample`` that this model works on."""
        given = sample.measured.shape[-3]
        if self.slices is None or self.slices == given:
            return sample
        if self.slices == 1 and given % 2:
            return sample.center()
        raise CtmarError(f"model.slices={self.slices} needs a sample of that many slices, got {given}")


def compose(sample: MARSample, prediction: Tensor) -> Tensor:
    """``where(trace, prediction, measured)``: a product with masks would spread NaN off the trace."""
    return torch.where(sample.metal_trace, prediction.to(sample.measured.dtype), sample.measured)
