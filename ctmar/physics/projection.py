"""Paths through tissue and metal along sub-rays; what is empty is not projected.

Which pixels and bins are left out follows from the plane's own content, so that a plane's paths are the
same whatever else is projected.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.operators.choice import OFF_CENTER

CUT_STEP = 32
"""Pixels and bins are cut in steps of this many, so that few kinds of crops are made and kept."""


class MetalPaths(NamedTuple):
    """Path lengths in mm along each sub-ray."""

    inside: Tensor
    """``(metal, view, sub-ray)`` through each metal."""
    removed: Tensor
    """``(tissue, view, sub-ray)`` through the tissue that the metal replaces."""


def tissue_paths(tissue: NDArray[np.float32], fine: RayTransform[Any]) -> Tensor:
    """Paths ``(tissue, view, sub-ray)`` in mm through ``(tissue, H, W)`` fractions.

    The image is cut to a centred square, which keeps the symmetries that projectors make use of, and the
    detector to the bins that its content can reach.
    """
    if not isinstance(fine.beam, ParallelBeam) or not fine.grid.centered:
        return fine.forward(torch.from_numpy(tissue))
    content = (tissue != 0).any(0)
    if not content.any():
        return torch.zeros(len(tissue), *fine.beam.shape)
    pixels, bins = _empty_margins(content, fine.grid, fine.beam)
    ray = _cut(fine.grid, fine.beam, fine.backend, pixels, bins)
    rows, columns = fine.grid.shape
    inner = np.ascontiguousarray(tissue[:, pixels : rows - pixels, pixels : columns - pixels])
    paths = torch.zeros(len(tissue), *fine.beam.shape)
    paths[..., bins : fine.beam.det_count - bins] = ray.forward(torch.from_numpy(inner))
    return paths


def _empty_margins(content: NDArray[np.bool_], grid: ImageGrid, beam: ParallelBeam) -> tuple[int, int]:
    """Pixels that can be cut from each side of the image, and bins from each side of the detector."""
    shown = [np.flatnonzero(content.any(axis=axis)) for axis in (1, 0)]
    gaps = [min(found[0], n - 1 - found[-1]) for found, n in zip(shown, content.shape, strict=True)]
    filled = np.flatnonzero(content.any(axis=1))
    first, last = (content[filled].argmax(1), content.shape[1] - 1 - content[filled][:, ::-1].argmax(1))
    middle_row, middle_column = ((n - 1) / 2 for n in content.shape)
    across = np.maximum(abs(first - middle_column), abs(last - middle_column))
    # Interpolation carries a pixel's value as far as its neighbour's centre.
    reach = (np.hypot(across, filled - middle_row).max() + 1) * grid.spacing_mm
    half = (beam.det_count - 1) / 2 * beam.det_spacing_mm - abs(beam.det_offset_mm)
    spare = max(int((half - reach) / beam.det_spacing_mm), 0)
    return int(min(gaps)) // CUT_STEP * CUT_STEP, spare // CUT_STEP * CUT_STEP


@lru_cache(maxsize=16)
def _cut(grid: ImageGrid, beam: ParallelBeam, backend: str, pixels: int, bins: int) -> RayTransform[Any]:
    """The transform without so many pixels and bins on each side."""
    rows, columns = grid.shape
    inner = grid.crop(slice(pixels, rows - pixels), slice(pixels, columns - pixels))
    count = beam.det_count - 2 * bins
    seen = ParallelBeam(beam.num_angles, count, beam.det_spacing_mm, beam.det_offset_mm, beam.angles)
    return RayTransform(inner, seen, backend)


def metal_paths(
    tissue: NDArray[np.float32],
    metal: Mapping[str, NDArray[np.float32]],
    fine: RayTransform[Any],
    replaces: bool = True,
) -> MetalPaths | None:
    """Paths through a plane's metal; None where there is none.

    Args:
        tissue: ``(tissue, H, W)`` fractions without metal.
        metal: ``(H, W)`` volume fraction of each metal.
        fine: Ray transform of the plane.
        replaces: Whether the metal replaces tissue, or lies on top of it.
    """
    occupied = sum(metal.values(), np.zeros_like(tissue[0]))
    if not occupied.any():
        return None
    box, ray = _around(occupied, fine)
    removed = tissue[:, *box] * (occupied[box] if replaces else 0.0)
    stack = np.concatenate([removed, *(m[box][None] for m in metal.values())])
    paths = ray.forward(torch.from_numpy(stack))
    return MetalPaths(paths[len(tissue) :], paths[: len(tissue)])


def _around(
    occupied: NDArray[np.float32], fine: RayTransform[Any]
) -> tuple[tuple[slice, slice], RayTransform[Any]]:
    """Rows and columns that hold metal, and their transform; all where crops cannot be projected."""
    if not isinstance(fine.beam, ParallelBeam) or fine.backend not in ("auto", *OFF_CENTER):
        return (slice(None), slice(None)), fine
    rows, columns = (np.flatnonzero(occupied.any(axis=axis)) for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return box, RayTransform(fine.grid.crop(*box), fine.beam, fine.backend)
