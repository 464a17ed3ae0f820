"""Methods without weights, behind the same face as the networks."""

from typing import Any

import torch
from torch import Tensor

from ctmar.completion import (
    hardening_corrected,
    linear_interpolation,
    nmar,
    split_frequencies,
    tv_completion,
)
from ctmar.completion.frequency_split import REACH_MM, SPLIT_MM
from ctmar.completion.hardening import ELECTRONIC_NOISE, FILL_ERROR, PHOTONS_PER_RAY
from ctmar.completion.normalized import OFFSET_SHARE
from ctmar.completion.prior import AIR_BELOW_HU, BONE_ABOVE_HU, SMOOTHING_MM
from ctmar.completion.total_variation import STEPS, STRENGTH_HU
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models.base import Completion
from ctmar.models.inputs import FILLS, fill_sinogram
from ctmar.operators import RayTransform
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu


class Classical(Completion):
    """A method that there is nothing to train of.

    Attributes:
        name: What reports call it.
    """

    trainable = False
    name: str = "classical"

    def configure_optimizers(self) -> Any:
        """None: there is nothing to train."""
        return None


class Uncorrected(Classical):
    """Leaves the trace as it was measured."""

    name = "uncorrected"

    def predict_trace(self, sample: MARSample) -> Tensor:
        """``sample.measured`` itself."""
        return sample.measured


class FillCompletion(Classical):
    """A fill of the sample as a method of its own.

    Args:
        name: ``li``, ``nmar`` or ``zero``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in FILLS:
            raise CtmarError(f"name must be one of {', '.join(FILLS)}, got {name!r}")
        self.name = name

    def predict_trace(self, sample: MARSample) -> Tensor:
        """The fill ``(batch, slice, angle, detector)``; a CtmarError where the sample lacks it."""
        return fill_sinogram(sample, self.name)


class LI(Classical):
    """Linear interpolation across the trace (:func:`~ctmar.completion.linear_interpolation`)."""

    name = "li"

    def predict_trace(self, sample: MARSample) -> Tensor:
        """LI ``(batch, slice, angle, detector)``."""
        return linear_interpolation(sample.measured, sample.metal_trace)


class NMAR(Classical):
    """Normalised interpolation (:func:`~ctmar.completion.nmar`), computed from the sample's own data.

    With the defaults it is the fill ``nmar`` that travels with a sample, bit for bit.

    Args:
        grid: Pixels of the images.
        beam: Rays of the sinograms.
        backend: Projector backend.
        prior_from: ``li`` or ``raw``: which image the prior is segmented from.
        segmentation: ``thresholds`` or ``kmeans``.
        air_below_hu: What is less dense is air in the prior.
        bone_above_hu: What is denser keeps its value in the prior.
        smoothing_mm: Smoothing before the segmentation, 0 for none.
        offset_share: Keeps grazing rays in bounds
            (:func:`~ctmar.completion.normalized.normalized_interpolation`).
    """

    name = "nmar"

    def __init__(
        self,
        grid: ImageGrid,
        beam: ParallelBeam,
        backend: str = "auto",
        prior_from: str = "li",
        segmentation: str = "thresholds",
        air_below_hu: float = AIR_BELOW_HU,
        bone_above_hu: float = BONE_ABOVE_HU,
        smoothing_mm: float = SMOOTHING_MM,
        offset_share: float = OFFSET_SHARE,
    ) -> None:
        super().__init__()
        self.ray = RayTransform(grid, beam, backend)
        self.options: dict[str, Any] = {
            "prior_from": prior_from,
            "segmentation": segmentation,
            "air_below_hu": air_below_hu,
            "bone_above_hu": bone_above_hu,
            "smoothing_mm": smoothing_mm,
            "offset_share": offset_share,
        }

    def predict_trace(self, sample: MARSample) -> Tensor:
        """NMAR ``(batch, slice, angle, detector)``."""
        fits(sample, self.ray)
        return torch.stack(
            [
                nmar(p, trace, mask, self.ray, float(mu_water), **self.options)
                for p, trace, mask, mu_water in zip(
                    sample.measured, sample.metal_trace, sample.metal_mask, sample.mu_water, strict=True
                )
            ]
        )


class FSNMAR(NMAR):
    """NMAR with a frequency split of the images (:func:`~ctmar.completion.split_frequencies`).

    A method of images: :meth:`complete` is NMAR's sinogram, :meth:`image_hu` what is to be looked at.

    Args:
        split_mm: Standard deviation that divides low from high frequencies.
        reach_mm: How far from metal the uncorrected image's high frequencies reach.
        filter: FBP filter.
        **nmar: As in :class:`NMAR`.
    """

    name = "fsnmar"

    def __init__(
        self,
        split_mm: float = SPLIT_MM,
        reach_mm: float = REACH_MM,
        filter: str = "ram-lak",
        **nmar: Any,
    ) -> None:
        super().__init__(**nmar)
        for name, value in (("split_mm", split_mm), ("reach_mm", reach_mm)):
            if not value > 0:
                raise CtmarError(f"{name} must be positive, got {value!r}")
        self.split_mm, self.reach_mm, self.filter = split_mm, reach_mm, filter

    @torch.no_grad()
    def image_hu(self, sample: MARSample) -> Tensor:
        """The corrected image in HU, ``(batch, slice, row, column)``."""
        both = torch.stack([self.complete(sample), sample.measured])
        corrected, uncorrected = mu_to_hu(
            self.ray.fbp(both, self.filter) / sample.mu_water[:, None, None, None], 1.0
        )
        return split_frequencies(
            corrected,
            uncorrected,
            sample.metal_mask,
            self.ray.grid.spacing_mm,
            split_mm=self.split_mm,
            reach_mm=self.reach_mm,
        )


class HardeningCorrection(Classical):
    """Metal beam-hardening correction (:func:`~ctmar.completion.hardening_corrected`) of another method.

    Args:
        fill: The method whose completion is corrected by what was measured behind metal.
        photons_per_ray: Photons that reach a bin through air; None (a noise-free scanner) for no noise.
        electronic_noise: Standard deviation of the electronics' noise in photons.
        fill_error: Standard deviation of the fill's error on the trace.
    """

    name = "mbhc"

    def __init__(
        self,
        fill: Completion,
        photons_per_ray: float | None = PHOTONS_PER_RAY,
        electronic_noise: float = ELECTRONIC_NOISE,
        fill_error: float = FILL_ERROR,
    ) -> None:
        super().__init__()
        self.fill = fill
        photons = float("inf") if photons_per_ray is None else photons_per_ray
        self.options = {
            "photons_per_ray": photons,
            "electronic_noise": electronic_noise,
            "fill_error": fill_error,
        }

    def predict_trace(self, sample: MARSample) -> Tensor:
        """The fill and what the metal does not explain ``(batch, slice, angle, detector)``."""
        fill = self.fill.complete(sample)
        return hardening_corrected(
            sample.measured, fill, sample.metal_path_mm, sample.metal_trace, **self.options
        )


class TVCompletion(Classical):
    """The trace as unknown, total variation as prior (:func:`~ctmar.completion.tv_completion`).

    Args:
        start: The method that the iteration starts from.
        grid: Pixels of the images.
        beam: Rays of the sinograms.
        backend: Projector backend.
        steps: Iterations.
        strength_hu: Weight of the total variation.
    """

    name = "tv"

    def __init__(
        self,
        start: Completion,
        grid: ImageGrid,
        beam: ParallelBeam,
        backend: str = "auto",
        steps: int = STEPS,
        strength_hu: float = STRENGTH_HU,
    ) -> None:
        super().__init__()
        self.start, self.ray = start, RayTransform(grid, beam, backend)
        self.options: dict[str, Any] = {"steps": steps, "strength_hu": strength_hu}

    def predict_trace(self, sample: MARSample) -> Tensor:
        """The iterate after the last step ``(batch, slice, angle, detector)``."""
        fits(sample, self.ray)
        begin = self.start.complete(sample)
        cases = zip(sample.measured, sample.metal_trace, begin, sample.mu_water, strict=True)
        return torch.stack(
            [
                tv_completion(p, trace, self.ray, float(mu), first, **self.options)
                for p, trace, first, mu in cases
            ]
        )


def fits(sample: MARSample, ray: RayTransform) -> None:
    """Raises a CtmarError where the sample is of another geometry than the method was made for."""
    shapes = tuple(sample.measured.shape[-2:]), tuple(sample.metal_mask.shape[-2:])
    wanted = ray.beam.shape, ray.grid.shape
    if shapes != wanted:
        raise CtmarError(
            f"sample must have sinograms of {wanted[0]} and images of {wanted[1]},"
            f" got {shapes[0]} and {shapes[1]}"
        )
