"""Correction of stored images: slice by slice, by the difference that a completed trace makes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ctmar.case import middle_of
from ctmar.errors import CtmarError
from ctmar.methods.base import Method, filled
from ctmar.methods.nmar import NMAR
from ctmar.stored import MU_WATER, BrightVoxels, MetalRule, find_metal, stored_scan
from ctmar.stored.metal import LEAST_AREA_MM2
from ctmar.stored.methods import DEFAULT_METHOD, spread_hu, stored_method
from ctmar.stored.virtual import padding_mask, virtual_ray
from ctmar.units import AIR_HU

Image = NDArray[np.float32]
SQUARE_TOLERANCE = 1e-3
"""Pixels whose sides differ by less are square."""


class Corrected(NamedTuple):
    """A corrected slice; each ``(row, column)``."""

    image_hu: Image
    """HU, equal to the stored image in metal, in padding and, bit for bit, in a slice without metal."""
    kept: NDArray[np.bool_]
    """Where nothing was changed: metal and padding, or the whole slice."""
    metal: NDArray[np.bool_]
    """The metal, without streaks that were as bright (:func:`~ctmar.stored.confirm.confirmed_metal`)."""
    spread_hu: Image | None
    """Disagreement of plausible methods (:func:`~ctmar.stored.methods.spread_hu`), where asked for."""


class SliceCorrector:
    """Corrects slices of one shape and pixel size.

    ``corrected = stored + FBP(ŷ - p)`` with ``p`` the line integrals of the stored image and ``ŷ`` the same
    with the metal trace completed: FBP is linear, so only the change is reconstructed, and the scanner's
    own sharpness and texture stay. The metal's share of ``p`` is taken out in the image, each metal
    pixel at its nearest neighbour's value, before it is projected: the same by linearity, without the
    errors that projecting and reconstructing an edge of 10,000 HU would leave beside the metal.

    All rays through bright pixels are completed; of the bright pixels those are put back that the rays
    confirm to be metal.

    Args:
        shape: Rows and columns of a slice.
        spacing_mm: Distance between rows and between columns; slices with other than square pixels
            are brought to square ones, and the change back.
        method: A name of :data:`~ctmar.stored.methods.STORED`, or a method.
        backend: Projector backend.
        clipped: Whether the scan's values are cut off in metal. Its rays then confirm nothing, and every
            bright pixel counts as metal.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        method: str | Method = DEFAULT_METHOD,
        backend: str = "auto",
        clipped: bool = False,
    ) -> None:
        if not all(np.isfinite(s) and s > 0 for s in spacing_mm):
            raise CtmarError(f"pixel spacing must be positive, got {tuple(spacing_mm)}")
        self.shape, self.spacing_mm, self.clipped = shape, spacing_mm, clipped
        self.method = stored_method(method)
        finest = min(spacing_mm)
        self._square = max(spacing_mm) <= finest * (1 + SQUARE_TOLERANCE)
        on = (
            shape
            if self._square
            else tuple(round(n * s / finest) for n, s in zip(shape, spacing_mm, strict=True))
        )
        self.ray = virtual_ray((on[0], on[1]), finest, backend)

    @property
    def reach(self) -> int:
        """Slices on either side that the method looks at."""
        return (self.method.slices or 1) // 2

    @property
    def area_mm2(self) -> float:
        """Area of a stored pixel."""
        return self.spacing_mm[0] * self.spacing_mm[1]

    def correct(
        self, images_hu: Sequence[Image], metals: Sequence[NDArray[np.bool_]], with_spread: bool = False
    ) -> Corrected:
        """Corrects the middle one of adjacent slices.

        Args:
            images_hu: As many as the method looks at, HU, none changed.
            metals: The metal of each.
            with_spread: Whether to say where methods disagree as well.

        Raises:
            CtmarError: A slice of another shape, or with NaN or infinite pixels.
        """
        for image in images_hu:
            self._check(image)
        middle = len(images_hu) // 2
        stored, metal = images_hu[middle], metals[middle]
        nothing = np.zeros(self.shape, np.float32) if with_spread else None
        if not metal.any():
            return Corrected(stored, np.ones(self.shape, bool), metal, nothing)
        window = [self._slice(image, mask) for image, mask in zip(images_hu, metals, strict=True)]
        images, masks = (torch.stack(list(part)) for part in zip(*window, strict=True))
        with torch.inference_mode():
            change, confirmed, spread = self._change(images, masks, with_spread)
        if self._square:
            metal = confirmed.numpy()
        else:
            metal = metal & (_resampled(confirmed.float().numpy(), self.shape) >= 0.5)
        kept = metal | padding_mask(stored)
        image = np.where(kept, stored, stored + self._to_stored(change))
        spread_hu = None if spread is None else np.where(kept, np.float32(0), self._to_stored(spread))
        return Corrected(image.astype(np.float32), kept, metal, spread_hu)

    def _change(
        self, images_hu: Tensor, bright: Tensor, with_spread: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What is to be added to the middle slice outside its metal; the metal; and the methods' spread."""
        found = stored_scan(images_hu, bright, self.ray, clipped=self.clipped)
        scan, middle = self.method.select(found.scan), middle_of(len(images_hu))
        # One of the user's own may bear the name of NMAR, whose completion is at hand.
        complete = filled(scan, self.method) if self.method == NMAR() else self.method.complete(scan).sinogram
        completed = complete[:, middle_of(scan.slices)]
        corrected = found.bare_hu[middle] + self.ray.fbp(completed[0] - found.bare[middle]) * (
            1000.0 / MU_WATER
        )
        center = found.scan.center()
        corrected = self.method.finish(center, corrected[None], images_hu[middle][None])[0]
        spread = spread_hu(center, completed) if with_spread else None
        return (corrected - images_hu[middle])[0], center.metal_mask[0, 0], spread

    def _slice(self, image_hu: Image, metal: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """The slice as it is projected: on square pixels, padding as air."""
        air = np.where(padding_mask(image_hu), np.float32(AIR_HU), image_hu).astype(np.float32)
        if self._square:
            return torch.from_numpy(air), torch.from_numpy(metal)
        return (
            torch.from_numpy(_resampled(air, self.ray.grid.shape)),
            torch.from_numpy(_resampled(metal.astype(np.float32), self.ray.grid.shape) >= 0.5),
        )

    def _to_stored(self, image: Tensor) -> Image:
        values: Image = image.numpy()
        return values if self._square else _resampled(values, self.shape)

    def _check(self, image: Image) -> None:
        if image.shape != self.shape:
            raise CtmarError(f"a slice must have the scan's shape {self.shape}, got {image.shape}")
        if not np.isfinite(image).all():
            raise CtmarError(
                f"a slice must be finite, got {int((~np.isfinite(image)).sum())} NaN or infinite pixels"
            )


def correct(
    volume_hu: NDArray[np.floating],
    spacing_mm: tuple[float, float, float],
    *,
    method: str | Method = DEFAULT_METHOD,
    rule: MetalRule | None = None,
    min_area_mm2: float = LEAST_AREA_MM2,
    backend: str = "auto",
) -> Image:
    """A corrected volume; the Python call behind ``ctmar correct``.

    Args:
        volume_hu: ``(slice, row, column)`` in HU, slices across the axis of rotation; not changed.
        spacing_mm: Voxel size in the order (x, y, z), as SimpleITK has it.
        method: ``li``, ``nmar``, ``fsnmar``, ``mbhc``, ``tv``, or any :class:`~ctmar.methods.base.Method`.
        rule: What counts as metal; found from the volume's own histogram where None.
        min_area_mm2: Smaller regions of metal are left out, for a rule found from the volume.
        backend: Projector backend.

    Returns:
        float32, the volume's shape. Slices without metal, the metal and the padding are as they were.

    Raises:
        CtmarError: Not three axes, not finite, no positive spacing, or an unknown method.
    """
    if volume_hu.ndim != 3:
        raise CtmarError(f"volume must have the axes slice, row and column, got {volume_hu.ndim} axes")
    volume = volume_hu.astype(np.float32)
    bright = BrightVoxels()
    for image in volume:
        bright.add(image)
    if rule is None:
        rule = bright.rule(min_area_mm2)
    spacing = float(spacing_mm[1]), float(spacing_mm[0])
    corrector = SliceCorrector(volume_hu.shape[1:], spacing, method, backend, bright.clipped(rule))
    metal = [find_metal(image, corrector.area_mm2, rule) for image in volume]
    out = np.empty_like(volume)
    reach = corrector.reach
    for index in range(len(volume)):
        near = [min(max(index + step, 0), len(volume) - 1) for step in range(-reach, reach + 1)]
        out[index] = corrector.correct([volume[k] for k in near], [metal[k] for k in near]).image_hu
    return out


def _resampled(image: Image, shape: tuple[int, int]) -> Image:
    """Linear interpolation between grids that cover the same area."""
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    out: Image = ndimage.zoom(image, factors, order=1, mode="nearest", grid_mode=True)
    return out
