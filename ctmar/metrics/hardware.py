"""Where a screw ends and how thick it is: what an image shows of long metal, against the true metal.

The definition is this project's own, for want of a published one. Everything is in the slice.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from ctmar.errors import CtmarError

SHAFT_MM, SHAFT_RATIO = 15.0, 2.5
"""A piece of metal at least so long, and so many times as long as thick, counts as a screw's shaft."""

BESIDE_MM, BEYOND_MM = 5.0, 10.0
"""Metal shown this far beside a shaft and beyond its ends belongs to it: what blooms, not what streaks."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Shaft(NamedTuple):
    """A straight piece of metal in the slice; lengths in mm, places as (row, column)."""

    mask: Mask
    center: Array
    axis: Array
    """Unit vector to the tip, which is the end towards the front (the smaller row)."""
    start: float
    end: float
    """Along the axis, from the centre."""
    diameter: float


class ShaftErrors(NamedTuple):
    """Mean absolute errors over a slice's shafts in mm, float64 of the leading shape; NaN without a shaft."""

    tip: Tensor
    diameter: Tensor


def shaft_errors(shown: Tensor, true: Tensor, spacing_mm: float) -> ShaftErrors:
    """How far screws' tips and diameters in an image are from the true ones.

    A *shaft* is a piece of true metal (touching pixels, corners included) at least 15 mm long along its
    principal axis and 2.5 times as long as thick. Its *diameter* is the median over pixel steps along the
    axis of the metal's width across it, so that a head, a rod's end or the tip's taper do not count. The
    *tip error* is the distance along the axis between the last metal shown within the shaft's diameter and
    the true tip. Shown metal that does not touch the shaft, or lies farther than 5 mm beside and 10 mm
    beyond it, is none of it. A shaft that is not shown errs by its whole length and diameter.

    Args:
        shown: Bool, ``(..., row, column)``: where an image shows metal.
        true: Bool, the same rows and columns, leading axes broadcast; rows run towards the back.
        spacing_mm: Edge of a pixel in mm.
    """
    if shown.dtype != torch.bool or true.dtype != torch.bool or shown.shape[-2:] != true.shape[-2:]:
        raise CtmarError(
            "shown and true must be bool masks with the same rows and columns, "
            f"got {shown.dtype} {tuple(shown.shape)} and {true.dtype} {tuple(true.shape)}"
        )
    shown, true = torch.broadcast_tensors(shown, true)
    size = true.shape[-2:]
    known: dict[bytes, list[Shaft]] = {}
    found = np.full((int(np.prod(true.shape[:-2])), 2), np.nan)
    pairs = zip(shown.reshape(-1, *size).cpu().numpy(), true.reshape(-1, *size).cpu().numpy(), strict=True)
    for place, (seen, truth) in enumerate(pairs):
        key = truth.tobytes()  # the same slice under every method
        known[key] = shafts = known[key] if key in known else find_shafts(truth, spacing_mm)
        if shafts:
            found[place] = np.mean([_errors(shaft, seen, spacing_mm) for shaft in shafts], axis=0)
    tip, diameter = torch.from_numpy(found).reshape(*true.shape[:-2], 2).to(true.device).unbind(-1)
    return ShaftErrors(tip, diameter)


def find_shafts(metal: Mask, spacing_mm: float) -> list[Shaft]:
    """The long straight pieces of a metal mask ``(row, column)``, as :func:`shaft_errors` says."""
    pieces, count = label(metal, np.ones((3, 3)))
    shafts = [_shaft(pieces == number, spacing_mm) for number in range(1, count + 1)]
    return [
        shaft
        for shaft in shafts
        if shaft.end - shaft.start >= max(SHAFT_MM, SHAFT_RATIO * shaft.diameter) - 1e-6
    ]


def _shaft(piece: Mask, spacing_mm: float) -> Shaft:
    points = np.argwhere(piece) * spacing_mm
    center = points.mean(0)
    axis = np.linalg.svd(points - center, full_matrices=False)[2][0] if len(points) > 1 else np.eye(2)[0]
    axis = axis * (-1 if axis[0] > 1e-9 or (abs(axis[0]) <= 1e-9 and axis[1] > 0) else 1)
    along = (points - center) @ axis
    ends = along.min() - spacing_mm / 2, along.max() + spacing_mm / 2
    return Shaft(piece, center, axis, *ends, _diameter(along, *ends, spacing_mm))


def _diameter(along: Array, start: float, end: float, spacing_mm: float) -> float:
    """Median width in mm of pixels that lie at ``along``: their area by step of two pixels."""
    steps = max(round((end - start) / (2 * spacing_mm)), 1)
    counts, _ = np.histogram(along, bins=steps, range=(start, end))
    return float(np.median(counts) * spacing_mm**2 / ((end - start) / steps))


def _errors(shaft: Shaft, shown: Mask, spacing_mm: float) -> tuple[float, float]:
    """Absolute errors of tip and diameter in mm."""
    rows, columns = np.indices(shown.shape)
    offset = np.stack([rows, columns], -1) * spacing_mm - shaft.center
    along, across = offset @ shaft.axis, np.abs(offset @ np.array([-shaft.axis[1], shaft.axis[0]]))
    reach = (along >= shaft.start - BEYOND_MM) & (along <= shaft.end + BEYOND_MM)
    reach &= (across <= shaft.diameter / 2 + BESIDE_MM) | shaft.mask
    pieces, _ = label(shown & reach, np.ones((3, 3)))
    own = np.isin(pieces, np.setdiff1d(pieces[shaft.mask], 0))
    if not own.any():
        return shaft.end - shaft.start, shaft.diameter
    core = across <= shaft.diameter / 2
    ends = [along[mask & core].max(initial=shaft.start) for mask in (own, shaft.mask)]
    within = own & (along >= shaft.start) & (along <= shaft.end)
    seen = _diameter(along[within], shaft.start, shaft.end, spacing_mm)
    return abs(ends[0] - ends[1]), abs(seen - shaft.diameter)
