"""The scan that stored slices stand for."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.geometry import ParallelBeam
from ctmar.methods.nmar import NMAR
from ctmar.operators import RayTransform
from ctmar.stored.occupied import LEAST_SHARE, occupied, raised
from ctmar.stored.virtual import trace_of, without_metal
from ctmar.units import hu_to_mu

MU_WATER = 0.019285
"""Water at 70 keV in 1/mm (Elam's tables). Stored images do not tell; LI and NMAR come out the same for any
value, networks and beam hardening are made for this one."""


class StoredScan(NamedTuple):
    """Stored slices as a scan, and what they are without their bright pixels."""

    scan: Scan
    """A batch of one. Its metal is all of which a part is; rays through streaks as bright are completed."""
    share: Tensor
    """``(slice, row, column)``: how much of each bright pixel is metal, 0 to 1; 0 elsewhere."""
    added_hu: Tensor
    """The same shape: what that adds to it."""
    bare_hu: Tensor
    """``(slice, row, column)``: each bright pixel at the value of the nearest pixel that is none."""
    bare: Tensor
    """Line integrals of that, ``(slice, angle, detector)``. A completion less these is the change."""


def stored_scan(
    images_hu: Tensor,
    bright: Tensor,
    ray: RayTransform[ParallelBeam],
    mu_water: float = MU_WATER,
    *,
    clipped: bool = False,
    confirm: bool = True,
    kvp: float | None = None,
) -> StoredScan:
    """Stored slices as a scan.

    Bright pixels are taken out of the image before it is projected: the same by linearity, but for the errors
    that projecting an edge of 10,000 HU leaves beside the metal. All rays through them are completed by NMAR
    first. Metal is told from streaks as bright by its share of each pixel
    (:func:`~ctmar.stored.occupied.occupied`), and of what NMAR completed only the rays through metal are
    left to be completed.

    Args:
        images_hu: ``(slice, row, column)``, as stored, padding as air.
        bright: Bool, the same shape: what may be metal (:func:`~ctmar.stored.metal.find_metal`).
        ray: The virtual rays, :func:`~ctmar.stored.virtual.virtual_ray` or those of a data set.
        mu_water: Attenuation of water in 1/mm.
        clipped: Whether values are cut off in metal.
        confirm: Whether metal is told from streaks; else all that is bright counts as metal.
        kvp: Tube voltage, where it is known.
    """
    pairs = zip(images_hu, bright, strict=True)
    bare_hu = torch.stack([without_metal(image, mask) for image, mask in pairs])
    bare, whole = (_each(ray, hu_to_mu(hu, mu_water)) for hu in (bare_hu, images_hu))
    scan = _scan(bare, whole, bright, ray, mu_water, kvp)
    first = NMAR().complete(scan).sinogram
    share, added_hu = bright.to(images_hu.dtype), torch.zeros_like(images_hu)
    if confirm:
        # A lower ceiling than that of 12 bits stands for the same.
        seen = [raised(*pair) if clipped else pair[0] for pair in zip(images_hu, bright, strict=True)]
        found = [occupied(*pair, ray.grid.spacing_mm) for pair in zip(seen, bright, strict=True)]
        share, added_hu = (torch.stack(list(part)) for part in zip(*found, strict=True))
        scan = _scan(first[0], whole, share >= LEAST_SHARE, ray, mu_water, kvp)
    fill = torch.where(scan.metal_trace, first, scan.measured)
    scan = replace(scan, fills={NMAR().key: fill}, clipped=(True,) if clipped else ())
    return StoredScan(scan, share, added_hu, bare_hu, bare)


def _scan(
    off_trace: Tensor,
    whole: Tensor,
    metal: Tensor,
    ray: RayTransform[ParallelBeam],
    mu_water: float,
    kvp: float | None,
) -> Scan:
    """A scan of ``whole`` on the trace of the metal and of ``off_trace`` off it."""
    path = _each(ray, metal.float())
    trace = trace_of(path)
    return Scan(
        measured=torch.where(trace, whole, off_trace)[None],
        metal_trace=trace[None],
        metal_mask=metal[None],
        metal_path_mm=torch.where(trace, path, 0.0)[None],
        mu_water=torch.full((1,), mu_water, dtype=whole.dtype),
        ray=ray,
        kvp=() if kvp is None else (kvp,),
        case_id=("scan",),
    )


def _each(ray: RayTransform[ParallelBeam], images: Tensor) -> Tensor:
    """A call a slice: how slices are grouped in a projector may change their last bits."""
    return torch.stack([ray.forward(image) for image in images])
