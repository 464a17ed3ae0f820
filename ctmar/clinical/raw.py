"""A scanner's own sinograms corrected: metal found in their image, its rays completed, an image out."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.methods.base import Method
from ctmar.operators import RayTransform
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.pairs.published import rebinned_scan
from ctmar.stored import found_scan
from ctmar.stored.virtual import trace_of
from ctmar.units import mu_to_hu


@dataclass(frozen=True)
class RawGeometry:
    """How sinograms were measured, and what is reconstructed of them.

    Attributes:
        grid: Pixels of the image.
        beam: Parallel rays that methods work on; a fan is rebinned to them.
        acquisition: The scanner's own rays; None where they are ``beam``.
        mu_water: Attenuation of water in 1/mm by these sinograms.
    """

    grid: ImageGrid
    beam: ParallelBeam
    acquisition: FanBeam | None = None
    mu_water: float = 0.02

    @property
    def shape(self) -> tuple[int, int]:
        """Views and bins of a sinogram."""
        return (self.acquisition or self.beam).shape


class RawCorrected(NamedTuple):
    """A corrected slice; images ``(row, column)``."""

    image_hu: Tensor
    """With the metal as it was measured."""
    uncorrected_hu: Tensor
    metal_mask: Tensor
    """Bool; nothing was changed where it is empty."""


@torch.inference_mode()
def correct_sinogram(
    measured: Tensor, geometry: RawGeometry, method: Method, high_hu: float | None = None
) -> RawCorrected:
    """Corrects one sinogram.

    Args:
        measured: Line integrals ``(view, bin)`` of ``geometry``.
        geometry: Its rays.
        method: Completes the trace; its own image is taken where it has one.
        high_hu: What metal is above; found from the image where None.

    Raises:
        CtmarError: A sinogram of another shape, or a method that needs neighbours or another geometry.
    """
    if tuple(measured.shape) != geometry.shape:
        raise CtmarError(f"a sinogram of this geometry must be {geometry.shape}, got {tuple(measured.shape)}")
    scan = raw_scan(measured, geometry, high_hu)
    method.check(scan.ray)
    uncorrected = scan.image_hu(scan.measured)
    if not scan.metal_trace.any():
        return RawCorrected(uncorrected[0, 0], uncorrected[0, 0], scan.metal_mask[0, 0])
    corrected = scan.image_hu(method.complete_from(scan))
    if method.own_image:
        corrected = method.finish(scan, corrected, uncorrected)
    shown = torch.where(scan.metal_mask, uncorrected, corrected)
    return RawCorrected(shown[0, 0], uncorrected[0, 0], scan.metal_mask[0, 0])


def raw_scan(measured: Tensor, geometry: RawGeometry, high_hu: float | None = None) -> Scan:
    """A sinogram as a scan whose metal is found in its reconstruction, as ``ctmar correct`` finds it.

    The trace is that of the metal on the scanner's own rays.
    """
    fan, ray = geometry.acquisition, RayTransform(geometry.grid, geometry.beam)
    parallel = measured if fan is None else rebin_fan_to_parallel(measured, fan, geometry.beam)
    image_hu = mu_to_hu(ray.fbp(parallel), geometry.mu_water)
    scan = found_scan(image_hu[None], ray, geometry.mu_water, high_hu).scan
    metal = scan.metal_mask[0, 0].float()
    path, trace = ray.forward(metal), scan.metal_trace[0, 0]
    if fan is not None:
        shadow = trace_of(RayTransform(geometry.grid, fan).forward(metal))
        parallel, trace = rebinned_scan(measured, shadow, fan, geometry.beam)
    return replace(
        scan,
        measured=parallel[None, None],
        metal_trace=trace[None, None],
        metal_path_mm=torch.where(trace, path, 0.0)[None, None],
        fills={},
        deviations={},
    )
