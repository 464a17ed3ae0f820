"""Normalized metal artifact reduction (NMAR): interpolation of the sinogram relative to a prior's.

Meyer, Raupach, Lell, Schmidt & Kachelrieß, Med. Phys. 37:5482 (2010).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Classical, each_slice, filled
from ctmar.methods.li import LI, linear_interpolation
from ctmar.methods.prior import AIR_BELOW_HU, BONE_ABOVE_HU, SMOOTHING_MM, tissue_prior
from ctmar.operators import RayTransform
from ctmar.units import hu_to_mu, mu_to_hu

OFFSET_SHARE = 0.3
"""Thickness that is added to data and prior alike before they are divided, as a share of the prior's
largest ray."""

PRIOR_FROM = ("li", "raw")


@dataclass(frozen=True)
class NMAR(Classical):
    """Normalised interpolation (:func:`nmar`), slice by slice.

    Attributes:
        prior_from: ``li`` or ``raw``: which image the prior is segmented from.
        segmentation: ``thresholds`` or ``kmeans``.
        air_below_hu: What is less dense is air in the prior.
        bone_above_hu: What is denser keeps its value in the prior.
        smoothing_mm: Smoothing before the segmentation, 0 for none.
        offset_share: Keeps grazing rays in bounds (:func:`normalized_interpolation`).
    """

    name = "nmar"

    prior_from: str = "li"
    segmentation: str = "thresholds"
    air_below_hu: float = AIR_BELOW_HU
    bone_above_hu: float = BONE_ABOVE_HU
    smoothing_mm: float = SMOOTHING_MM
    offset_share: float = OFFSET_SHARE

    def trace(self, scan: Scan) -> Tensor:
        """NMAR of every slice."""
        return each_slice(scan, self._slice)

    def _slice(self, scan: Scan) -> Tensor:
        completed = nmar(
            scan.measured[0, 0],
            scan.metal_trace[0, 0],
            scan.metal_mask[0, 0],
            scan.ray,
            float(scan.mu_water),
            filled(scan, LI())[0, 0],
            prior_from=self.prior_from,
            offset_share=self.offset_share,
            segmentation=self.segmentation,
            air_below_hu=self.air_below_hu,
            bone_above_hu=self.bone_above_hu,
            smoothing_mm=self.smoothing_mm,
        )
        return completed[None, None]


def normalized_interpolation(
    sinogram: Tensor, metal_trace: Tensor, prior: Tensor, offset_share: float = OFFSET_SHARE
) -> Tensor:
    """``LI((p + c) / (p_prior + c)) · (p_prior + c) - c`` on the trace.

    Meyer 2010, eq. 3 to 5, with two changes that keep grazing rays in bounds. There the prior is
    nearly zero, and a quotient of 4 at the skin would be carried along the whole run: the constant
    thickness ``c`` keeps the quotient near 1 where both are small, and matters little where rays are
    long. The prior is first scaled to the data by least squares off the trace, so that ``c`` adds the
    same to both. Exact for ``prior = p``, also on rays that miss the body; equal to LI for a prior
    constant along each view; unchanged by a scale of the prior; LI for an empty prior.

    Args:
        sinogram: ``(..., angle, detector)``.
        metal_trace: Bool, same shape.
        prior: Sinogram of the prior image, same shape, not negative.
        offset_share: ``c`` as a share of the scaled prior's largest ray, positive; towards 0 the
            published quotient, towards infinity interpolation of the difference.

    Returns:
        The completed sinogram; bit-equal to the input off the trace.
    """
    if not offset_share > 0:
        raise CtmarError(f"offset_share must be positive, got {offset_share!r}")
    known = torch.where(metal_trace, 0.0, sinogram)
    weight = torch.where(metal_trace, 0.0, prior)
    power = weight.square().sum((-2, -1), keepdim=True)
    scale = (known * weight).sum((-2, -1), keepdim=True) / torch.where(power > 0, power, 1.0)
    fitted = prior * scale.clamp(min=0)
    largest = fitted.amax((-2, -1), keepdim=True)
    # A prior that is empty altogether cannot normalise: any constant makes this plain interpolation.
    offset = torch.where(largest > 0, offset_share * largest, 1.0)
    quotient = (sinogram + offset) / (fitted + offset)
    bridge = linear_interpolation(quotient, metal_trace) * (fitted + offset) - offset
    return torch.where(metal_trace, bridge, sinogram)


def nmar(
    measured: Tensor,
    metal_trace: Tensor,
    metal_mask: Tensor,
    ray: RayTransform,
    mu_water: float,
    interpolated: Tensor | None = None,
    *,
    prior_from: str = "li",
    offset_share: float = OFFSET_SHARE,
    **segmentation: Any,
) -> Tensor:
    """NMAR with its prior from the LI image, or from the uncorrected one.

    Args:
        measured: ``(..., angle, detector)``.
        metal_trace: Bool, same shape.
        metal_mask: Bool image ``(..., row, column)``.
        ray: Ray transform of the two.
        mu_water: Attenuation of water in 1/mm.
        interpolated: The LI sinogram, if it is at hand.
        prior_from: ``li`` or ``raw``: which image the prior is segmented from.
        offset_share: As in :func:`normalized_interpolation`.
        **segmentation: Further arguments of :func:`~ctmar.methods.prior.tissue_prior`.

    Returns:
        The completed sinogram; bit-equal to ``measured`` off the trace.
    """
    if prior_from not in PRIOR_FROM:
        raise CtmarError(f"prior_from must be one of {', '.join(PRIOR_FROM)}, got {prior_from!r}")
    if prior_from == "raw":
        source = measured
    else:
        source = linear_interpolation(measured, metal_trace) if interpolated is None else interpolated
    image_hu = mu_to_hu(ray.fbp(source), mu_water)
    prior_hu = tissue_prior(image_hu, metal_mask, ray.grid.spacing_mm, **segmentation)
    prior = ray.forward(hu_to_mu(prior_hu, mu_water))
    return normalized_interpolation(measured, metal_trace, prior, offset_share)
