"""Correction of stored images: slice by slice, by the difference that a completed trace makes."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from ctmar.case import middle_of
from ctmar.errors import CtmarError
from ctmar.methods.base import Method, filled
from ctmar.methods.nmar import NMAR
from ctmar.stored.corrected import Corrected, Image
from ctmar.stored.metal import LEAST_AREA_MM2, BrightVoxels, MetalRule, brightened, find_metal, ran_over
from ctmar.stored.methods import DEFAULT_METHOD, spread_hu, stored_method
from ctmar.stored.occupied import SHOWN_SHARE, with_borders
from ctmar.stored.padding import padding_mask
from ctmar.stored.scale import Scale
from ctmar.stored.scan import MU_WATER, stored_scan
from ctmar.stored.virtual import virtual_ray
from ctmar.units import AIR_HU

SQUARE_TOLERANCE = 1e-3
"""Pixels whose sides differ by less are square."""


class SliceCorrector:
    """Corrects slices of one shape and pixel size.

    ``corrected = stored + FBP(ŷ - p)`` with ``p`` the line integrals of the stored image and ``ŷ`` the same
    with the metal trace completed: FBP is linear, so only the change is reconstructed, and the scanner's
    own sharpness and texture stay. The metal's share of ``p`` is taken out in the image, each metal
    pixel at its nearest neighbour's value, before it is projected: the same by linearity, without the
    errors that projecting and reconstructing an edge of 10,000 HU would leave beside the metal.

    All rays through bright pixels are completed; of the bright pixels those are put back that are mostly
    metal (:func:`~ctmar.stored.occupied.occupied`).

    Args:
        shape: Rows and columns of a slice.
        spacing_mm: Distance between rows and between columns; slices with other than square pixels
            are brought to square ones, and the change back.
        method: A name of :data:`~ctmar.stored.methods.STORED`, or a method.
        backend: Projector backend.
        clipped: Whether the scan's values are cut off in metal.
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
        return self.method.neighbours

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
        complete = filled(scan, self.method) if self.method == NMAR() else self.method.complete_from(scan)
        completed = complete[:, middle_of(scan.slices)]
        corrected = found.bare_hu[middle] + self.ray.fbp(completed[0] - found.bare[middle]) * (
            1000.0 / MU_WATER
        )
        center = found.scan.center()
        corrected = self.method.finish(center, corrected[None], images_hu[middle][None])[0]
        share = found.share[middle]
        corrected = with_borders(corrected, images_hu[middle], share, found.added_hu[middle])
        spread = spread_hu(center, completed) if with_spread else None
        return (corrected - images_hu[middle])[0], share[0] >= SHOWN_SHARE, spread

    def _slice(self, image_hu: Image, metal: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """The slice as it is projected: on square pixels, padding as air."""
        air = np.where(padding_mask(image_hu), np.float32(AIR_HU), image_hu).astype(np.float32)
        if self.clipped:
            air = brightened(air, metal).astype(np.float32)
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
    volume_hu: ArrayLike,
    spacing_mm: tuple[float, float, float],
    *,
    method: str | Method = DEFAULT_METHOD,
    rule: MetalRule | None = None,
    min_area_mm2: float = LEAST_AREA_MM2,
    backend: str = "auto",
) -> Image:
    """A corrected volume; the Python call behind ``ctmar correct``.

    Args:
        volume_hu: ``(slice, row, column)`` in HU, slices across the axis of rotation; an array, a tensor or
            lists; not changed.
        spacing_mm: Voxel size in the order (x, y, z), as SimpleITK has it.
        method: ``li``, ``nmar``, ``fsnmar``, ``mbhc``, ``tv``, or any :class:`~ctmar.methods.base.Method`.
        rule: What counts as metal; found from the volume's own histogram where None.
        min_area_mm2: Smaller regions of metal are left out, for a rule found from the volume.
        backend: Projector backend.

    Returns:
        float32, the volume's shape. Slices without metal, the metal and the padding are as they were.

    Raises:
        CtmarError: Not three axes, not finite, not in HU, no positive spacing, or an unknown method.
    """
    volume = _as_volume(volume_hu)
    out = np.empty_like(volume)
    slices = corrected_slices(volume, spacing_mm, method, rule, min_area_mm2, backend)
    for index, corrected in enumerate(slices):
        out[index] = corrected.image_hu
    return out


def corrected_slices(
    volume_hu: ArrayLike,
    spacing_mm: tuple[float, float, float],
    method: str | Method = DEFAULT_METHOD,
    rule: MetalRule | None = None,
    min_area_mm2: float = LEAST_AREA_MM2,
    backend: str = "auto",
) -> Iterator[Corrected]:
    """The slices of :func:`correct` one after another, each with the metal that was found in it.

    Takes and refuses what :func:`correct` does.
    """
    volume, method = _as_volume(volume_hu), stored_method(method)
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise CtmarError(f"pixel spacing must be positive, of x, y and z, got {tuple(spacing_mm)}")
    bright, scale = BrightVoxels(), Scale()
    for image in volume:
        bright.add(image)
        scale.add(image)
    scale.check()
    if rule is None:
        rule = bright.rule(min_area_mm2)
    spacing = float(spacing_mm[1]), float(spacing_mm[0])
    metal = [find_metal(image, spacing[0] * spacing[1], rule) for image in volume]
    clipped = bright.clipped(rule) or any(ran_over(*pair).any() for pair in zip(volume, metal, strict=True))
    corrector = SliceCorrector(volume.shape[1:], spacing, method, backend, clipped)
    reach = corrector.reach
    for index in range(len(volume)):
        near = [min(max(index + step, 0), len(volume) - 1) for step in range(-reach, reach + 1)]
        yield corrector.correct([volume[k] for k in near], [metal[k] for k in near])


def _as_volume(volume_hu: ArrayLike) -> Image:
    """The numbers of an array, a tensor or lists.

    Raises:
        CtmarError: Something else, not three axes, or NaN.
    """
    if isinstance(volume_hu, Tensor):
        volume_hu = volume_hu.detach().cpu().numpy()
    try:
        volume = np.asarray(volume_hu)
        if volume.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise CtmarError("volume must be an array of real numbers, got something else") from None
    if volume.ndim != 3 or not volume.size:
        raise CtmarError(
            f"volume must have the axes slice, row and column, got {volume.ndim} axes of {volume.shape}"
        )
    if not np.isfinite(volume).all():
        count = int((~np.isfinite(volume)).sum())
        raise CtmarError(f"volume must be finite, got {count} NaN or infinite voxels")
    return volume.astype(np.float32, copy=False)


def _resampled(image: Image, shape: tuple[int, int]) -> Image:
    """Linear interpolation between grids that cover the same area."""
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    out: Image = ndimage.zoom(image, factors, order=1, mode="nearest", grid_mode=True)
    return out
