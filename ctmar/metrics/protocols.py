"""PSNR and SSIM under named protocols.

The same image scores 25 to 46 dB depending on the range, the clipping and the region, so there is no
PSNR here without a protocol's name. No image is rescaled to its own range, and metal never scores.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ctmar.errors import CtmarError
from ctmar.metrics.errors import difference, masked_mean
from ctmar.metrics.similarity import ssim_map

MU_WATER_PER_CM = 0.192
"""Water in 1/cm as the Synthesised-DeepLesion code converts HU with it (CNN-MAR, 70 keV)."""


@dataclass(frozen=True)
class Protocol:
    """How two images in HU are made comparable, and over which pixels they are compared.

    Attributes:
        name: Suffix of the figure's name, as in ``psnr_soft``.
        range_hu: Lowest and highest HU; the data range is their difference.
        clip: Whether HU are clipped to the range.
        levels: Grey levels the range is rounded to (8 bit: 256), or None for none.
        region: ``body`` compares body pixels without metal; ``image`` the whole square, air and
            all, with the metal made equal in both images (its error counts as 0).
        metal_margin_px: Pixels by which metal is widened before the body is scored.
    """

    name: str
    range_hu: tuple[float, float]
    clip: bool = True
    levels: int | None = None
    region: Literal["body", "image"] = "body"
    metal_margin_px: int = 0

    def __post_init__(self) -> None:
        low, high = self.range_hu
        if not low < high:
            raise CtmarError(f"range_hu must be (lowest, highest), got {self.range_hu!r}")

    @property
    def data_range(self) -> float:
        """The span of the range in HU: the peak in PSNR and L in SSIM."""
        return self.range_hu[1] - self.range_hu[0]

    def prepare(self, image_hu: Tensor) -> Tensor:
        """HU above the lowest of the range, float64, clipped and rounded as the protocol says.

        Without clipping the HU stay as they are: the origin matters to SSIM's luminance term.
        """
        image = image_hu.double()
        if not self.clip:
            return image
        low, high = self.range_hu
        image = image.clamp(low, high) - low
        if self.levels is None:
            return image
        step = self.data_range / (self.levels - 1)
        return torch.round(image / step) * step


def _mu_range_hu(low: float, high: float) -> tuple[float, float]:
    """A range of attenuation in 1/cm as HU."""
    return (low / MU_WATER_PER_CM - 1) * 1000, (high / MU_WATER_PER_CM - 1) * 1000


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("hu4096", (-1024.0, 3072.0)),
        Protocol("soft", (-175.0, 275.0)),
        # Raw HU as they are, with a nominal range.
        Protocol("range3000", (0.0, 3000.0), clip=False),
        # The AAPM CT-MAR challenge's region and range (Haneda 2025).
        Protocol("aapm", (-1000.0, 4000.0), clip=False, metal_margin_px=2),
        # μ in 1/cm clipped to [0, 0.5] and stored as 8-bit pictures, metal zeroed in both (Wang 2021).
        Protocol("indudonet", _mu_range_hu(0.0, 0.5), levels=256, region="image"),
    )
}
"""The protocols by name; all but ``indudonet`` score the body without metal."""


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; :class:`CtmarError` naming the known ones if there is none."""
    if name not in PROTOCOLS:
        raise CtmarError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]


def scored_pixels(protocol: Protocol, body_mask: Tensor, metal_mask: Tensor) -> Tensor:
    """Bool mask of the pixels that a protocol averages over."""
    if protocol.region == "image":
        return torch.ones_like(body_mask)
    margin = protocol.metal_margin_px
    if margin:
        flat = metal_mask.double().reshape(-1, 1, *metal_mask.shape[-2:])
        grown = max_pool2d(flat, 2 * margin + 1, stride=1, padding=margin) > 0
        metal_mask = grown.reshape(metal_mask.shape)
    return body_mask & ~metal_mask


def _pair(
    protocol: Protocol, image_hu: Tensor, reference_hu: Tensor, metal_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Both images prepared and of one shape, with the metal pixels equal in both.

    In whole-image protocols the metal becomes 0, as published; in the others the reference's
    value, so that SSIM's windows that touch metal see neither an edge nor an error there.
    """
    difference(image_hu, reference_hu)  # checks the shapes
    image, reference = torch.broadcast_tensors(protocol.prepare(image_hu), protocol.prepare(reference_hu))
    if protocol.region == "image":
        reference = torch.where(metal_mask, 0.0, reference)
    return torch.where(metal_mask, reference, image), reference


def psnr(
    image_hu: Tensor, reference_hu: Tensor, body_mask: Tensor, metal_mask: Tensor, protocol: str
) -> Tensor:
    """Peak signal-to-noise ratio ``10 log10(data_range² / MSE)`` in dB under a protocol.

    Args:
        image_hu: HU, ``(..., row, column)``.
        reference_hu: HU, the same rows and columns; leading axes broadcast, here and below.
        body_mask: Bool, True in the patient.
        metal_mask: Bool, True where a pixel holds metal.
        protocol: Name of one of :data:`PROTOCOLS`.

    Returns:
        float64 of the leading shape; inf for equal images, NaN where no pixel is scored.
    """
    chosen = find_protocol(protocol)
    image, reference = _pair(chosen, image_hu, reference_hu, metal_mask)
    squared = masked_mean((image - reference).square(), scored_pixels(chosen, body_mask, metal_mask))
    return 10 * torch.log10(chosen.data_range**2 / squared)


def ssim(
    image_hu: Tensor, reference_hu: Tensor, body_mask: Tensor, metal_mask: Tensor, protocol: str
) -> Tensor:
    """Structural similarity (Wang 2004: Gaussian σ 1.5 over 11 × 11, K 0.01 and 0.03) under a protocol.

    Arguments and result as :func:`psnr`. The map is averaged over the scored pixels alone; images
    smaller than 11 × 11 have none.
    """
    chosen = find_protocol(protocol)
    image, reference = _pair(chosen, image_hu, reference_hu, metal_mask)
    similarity = ssim_map(image, reference, chosen.data_range)
    return masked_mean(similarity, scored_pixels(chosen, body_mask, metal_mask))
