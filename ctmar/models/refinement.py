"""Dual-domain refinement: an image network behind a completion, which nothing binds to the measured rays.

The completion leaves every ray off the trace as it was measured; an image network may change any pixel, and
with it any ray. It is off by default, and what it does to those rays is measured in every evaluation
(``off_trace_rms_reprojected``).

The network is fitted to the FBP of the ``clean`` sinogram, not to ``reference_hu``: off the trace both
sinograms carry the same noise, so what is left to learn is what the completion got wrong. Against the
noise-free reference it would be paid for smoothing the noise of measured rays. Errors are still reported
against ``reference_hu``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.models.inputs import fill_sinogram
from ctmar.networks.unet import unet
from ctmar.operators import RayTransform
from ctmar.operators.filters import FILTERS
from ctmar.sample import MARSample
from ctmar.units import STORED_MAX_HU, mu_to_hu

REFINE = ("none", "after", "joint")
"""``after``: the image network alone is fitted, behind a generator that stays as it is; ``joint``: both."""

AIR_HU, SCALE_HU = -1000.0, 1000.0
"""Images enter the network as ``(HU - AIR_HU) / SCALE_HU``, cut at air and the brightest HU that is stored:
0 is air, with which a U-Net pads, 1 is water."""

ERROR_HU = 100.0
"""Unit of the network's output and of the image loss."""

CHANNELS = 4
"""FBP of the completed sinogram, of the fill and of what was measured, and the metal mask; each per slice."""


class Images(NamedTuple):
    """All slices in HU, ``(batch, slice, row, column)``."""

    completed_hu: Tensor
    """FBP of the completed sinogram."""
    refined_hu: Tensor
    """The same and what the image network adds."""


class Refinement(nn.Module):
    """``refined = completed + 100 HU * network(images)``, the network ending in a layer of zeros.

    Args:
        slices: Slices of a sample, as channels.
        channels: Of the U-Net's levels.
        norm: As in :class:`~ctmar.networks.unet.SinogramUNet`.
        filter: Of the FBP.

    Attributes:
        ray: Geometry of the samples; to be set before the first one.
    """

    def __init__(self, slices: int, channels: Sequence[int], norm: str, filter: str) -> None:
        super().__init__()
        if filter not in FILTERS:
            raise CtmarError(f"refine_filter must be one of {', '.join(FILTERS)}, got {filter!r}")
        self.net = unet(CHANNELS * slices, slices, channels=channels, norm=norm)
        self.filter = filter
        self.ray: RayTransform | None = None

    def forward(self, sample: MARSample, completed: Tensor, fill: Tensor) -> Images:
        """Reconstructs and refines.

        Args:
            sample: The whole detector, with the metal mask of the same slices.
            completed: Completed sinogram ``(batch, slice, angle, detector)``; gradients go back to it.
            fill: The sinogram that it was a residual to.

        Raises:
            CtmarError: The geometry is not known yet (:meth:`ctmar.models.base.Completion.use_geometry`).
        """
        completed_hu = self.fbp_hu(sample, completed)
        with torch.no_grad():
            others = [self.fbp_hu(sample, sinogram) for sinogram in (fill, sample.measured)]
        scaled = [(x.clamp(AIR_HU, STORED_MAX_HU) - AIR_HU) / SCALE_HU for x in (completed_hu, *others)]
        inputs = torch.cat([*scaled, sample.metal_mask.to(completed_hu.dtype)], dim=1)
        # float: under autocast the network returns bfloat16, too coarse to add to an image.
        return Images(completed_hu, completed_hu + ERROR_HU * self.net(inputs).float())

    def fbp_hu(self, sample: MARSample, sinogram: Tensor) -> Tensor:
        """FBP in HU of ``(batch, slice, angle, detector)``."""
        if self.ray is None:
            raise CtmarError("refinement needs the samples' geometry: call use_geometry(ray) first")
        image_mu = self.ray.fbp(sinogram.float(), self.filter)
        return mu_to_hu(image_mu / sample.mu_water[:, None, None, None], 1.0)

    def errors(self, sample: MARSample, images: Images) -> tuple[Tensor, Tensor]:
        """Mean square error of the completion's and of the refined image, in units of 100 HU.

        Against the FBP of ``clean``, over the pixels of the batch in the body outside the metal.
        """
        with torch.no_grad():
            target = self.fbp_hu(sample, sample.clean)
        region = scored_region(sample)
        count = region.sum().clamp(min=1)
        squares = [torch.where(region, (x - target) / ERROR_HU, 0.0).square().sum() / count for x in images]
        return squares[0], squares[1]


def scored_region(sample: MARSample) -> Tensor:
    """Where the image's error counts: in the body outside the metal."""
    return sample.body_mask & ~sample.metal_mask


def check_refine(refine: str, weight: float, generator_checkpoint: str | None) -> None:
    """Raises a CtmarError for a kind of refinement that there is not, or that has no start."""
    if refine not in REFINE:
        raise CtmarError(f"refine must be one of {', '.join(REFINE)}, got {refine!r}")
    if not weight > 0:
        raise CtmarError(f"refine_weight must be positive, got {weight!r}")
    if refine == "after" and not generator_checkpoint:
        raise CtmarError(
            "refine=after needs the fitted completion that stays as it is: generator_checkpoint, got none"
        )


class RefinedImages(Completion):
    """A completion that may have an image network behind it; what there is of images in a network's model.

    Attributes:
        refinement: The image network, if there is one.
    """

    refinement: Refinement | None

    def use_geometry(self, ray: RayTransform) -> None:
        """Takes the geometry of the samples' images and sinograms; a CtmarError where it cannot be."""
        super().use_geometry(ray)
        if self.refinement is not None:
            self.refinement.ray = ray

    @property
    def own_image(self) -> bool:
        """Whether :meth:`image_hu` is more than the FBP of the completion: nothing binds it to the rays."""
        return self.refinement is not None

    def image_hu(self, sample: MARSample) -> Tensor:
        """The refined centre slice in HU, ``(batch, 1, row, column)``; metal is not shown in it.

        Raises:
            CtmarError: The model has no refinement, or does not know the geometry yet.
        """
        sample = self.select(sample)
        refined = self.images_of(sample, self.complete(sample)).refined_hu
        middle = refined.shape[1] // 2
        return refined[:, middle : middle + 1]

    def images_of(self, sample: MARSample, completed: Tensor) -> Images:
        """A completion's image before and after its refinement; ``sample`` as :meth:`select` gives it."""
        if self.refinement is None:
            raise CtmarError("an image of its own needs a model with refine=after or joint, got refine=none")
        return self.refinement(sample, completed, fill_sinogram(sample, self.hparams["fill"]))  # type: ignore[no-any-return]

    def refined_error(self, completed: Tensor, sample: MARSample) -> Tensor:
        """Mean square error of the refined image, units of 100 HU (:meth:`.Refinement.errors`)."""
        return self.refinement.errors(sample, self.images_of(sample, completed))[1]  # type: ignore[union-attr]
