"""Two folders of images, with metal and without: a source of cases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.case import Case
from ctmar.data.paired import image_case
from ctmar.data.setup import CaseSetup
from ctmar.errors import CtmarError
from ctmar.pairs.files import IMAGES, Stack, files_in, matched, read_image
from ctmar.pairs.resample import SAME, nearest_on_grid, on_grid
from ctmar.pairs.splits import divided, of_split
from ctmar.stored import BrightVoxels, MetalRule, find_metal
from ctmar.stored.metal import GROWN_SHARE

Slice = NDArray[Any]


class PairedImages:
    """Images in HU with metal artifacts and the same images without, in files of the same names.

    A file is one slice, or a stack of them; a stack's slices without metal are left out. Files may lie in
    folders of their own (a patient's), which are part of their names. Images of another pixel size are
    brought onto the run's grid (:func:`ctmar.pairs.resample.on_grid`). A file format of one's own: derive,
    and replace :meth:`read`.

    Args:
        setup: The run's.
        artifact: Folder of the images with metal: ``.npy``, NIfTI, NRRD, MetaImage (``.mha``) or DICOM files.
        clean: Folder of the images without.
        metal_masks: Folder of masks, not 0 in metal; None finds the metal as ``ctmar correct`` does.
        labels: Folder of label maps, TotalSegmentator ids; None leaves figures by tissue without a value.
        spacing_mm: Edge of a pixel where the files do not tell (``.npy``); None is the grid's for images of
            its shape.
        splits: Shares or lists of names, see :func:`ctmar.pairs.splits.divided`.
        group: Pattern of whose file a name is; patients must not be torn apart.
        gap: Files or groups between two splits that belong to neither.
        metal_threshold_hu: What metal is above where it is looked for; None finds that too.

    Raises:
        CtmarError: Folders without files, names that do not match, splits that do not fit.
    """

    suffixes: tuple[str, ...] = IMAGES
    """Of the files that are looked for."""

    def __init__(
        self,
        setup: CaseSetup,
        artifact: str | os.PathLike[str],
        clean: str | os.PathLike[str],
        metal_masks: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        spacing_mm: float | None = None,
        splits: Mapping[str, Any] | None = None,
        group: str | None = None,
        gap: int | None = None,
        metal_threshold_hu: float | None = None,
    ) -> None:
        if spacing_mm is not None and not spacing_mm > 0:
            raise CtmarError(f"data.spacing_mm must be positive, got {spacing_mm!r}")
        self.setup, self.ray, self.kvp, self.fills = setup, setup.ray, setup.kvp, setup.fills
        self.spacing_mm, self.metal_threshold_hu = spacing_mm, metal_threshold_hu
        folders = {"artifact": artifact, "clean": clean, "metal_masks": metal_masks, "labels": labels}
        self._files = {
            part: files_in(folder, self.suffixes, f"data.{part}")
            for part, folder in folders.items()
            if folder is not None
        }
        self._names = divided(matched(self._files), splits, group, gap)
        self._cases: dict[str, list[tuple[str, int]]] = {}

    def read(self, path: Path) -> Stack:
        """A file's slices and their spacing."""
        return read_image(path)

    def count(self, split: str) -> int:
        """Pairs of slices in a split.

        Raises:
            CtmarError: There is none.
        """
        return len(self.cases(split))

    def cases(self, split: str) -> list[tuple[str, int]]:
        """The name of the file and the number of the slice of each case of a split."""
        if split not in self._cases:
            found = [(name, k) for name in of_split(self._names, split) for k in self._slices(name)]
            if not found:
                raise CtmarError(f"split {split} must hold a slice with metal, got none")
            self._cases[split] = found
        return self._cases[split]

    def case(self, split: str, index: int) -> Case:
        """Pair ``index`` of a split, by the names of the files."""
        name, middle = self.cases(split)[index]
        stacks = {part: self._stack(part, name) for part in self._files}
        shapes = {part: stack.values.shape for part, stack in stacks.items()}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
            raise CtmarError(f"{name}: the files of a pair must be of one shape, got {told}")
        spacings = {part: self._spacing(name, stack) for part, stack in stacks.items()}
        if not np.allclose(list(spacings.values()), spacings["artifact"], rtol=SAME):
            told = ", ".join(f"{part} {one[0]:g} × {one[1]:g}" for part, one in spacings.items())
            raise CtmarError(f"{name}: the files of a pair must have one pixel size, got {told} mm")
        count, reach = len(stacks["artifact"].values), self.setup.slices // 2
        # Beyond a stack its outermost slice goes on.
        places = [min(max(middle + step, 0), count - 1) for step in range(-reach, reach + 1)]
        cut = {
            part: np.stack([self._on_grid(part, name, stack, k) for k in places])
            for part, stack in stacks.items()
        }
        return image_case(
            self.setup,
            cut["artifact"],
            cut["clean"],
            name if count == 1 else f"{name}-{middle:04d}",
            metal=cut.get("metal_masks"),
            labels=cut.get("labels"),
            metal_threshold_hu=self.metal_threshold_hu,
            told={"kind": "pairs", "body": name, "slice": middle},
        )

    def _stack(self, part: str, name: str) -> Stack:
        return self.read(self._files[part][name])

    def _slices(self, name: str) -> list[int]:
        """The slices of a file that are cases: the only one, or those with metal."""
        stack = self._stack("artifact", name)
        if len(stack.values) == 1:
            return [0]
        if "metal_masks" in self._files:
            masks = self._stack("metal_masks", name).values
            return [k for k, mask in enumerate(masks) if np.any(mask)]
        area_mm2 = float(np.prod(self._spacing(name, stack)))
        return [k for k, image in enumerate(stack.values) if self._metal(image, area_mm2).any()]

    def _metal(self, image: Slice, area_mm2: float) -> NDArray[np.bool_]:
        voxels, high = BrightVoxels(), self.metal_threshold_hu
        voxels.add(image)
        rule = voxels.rule() if high is None else MetalRule(high, GROWN_SHARE * high)
        return find_metal(image, area_mm2, rule)

    def _spacing(self, name: str, stack: Stack) -> tuple[float, float]:
        told = stack.spacing_mm
        if told is not None:
            return told
        if self.spacing_mm is not None:
            return (self.spacing_mm, self.spacing_mm)
        grid = self.ray.grid
        if stack.values.shape[-2:] != grid.shape:
            raise CtmarError(
                f"{name}: data.spacing_mm must be given for images of {stack.values.shape[-2:]} pixels, which"
                f" are not those of the run's grid of {grid.shape}"
            )
        return (grid.spacing_mm, grid.spacing_mm)

    def _on_grid(self, part: str, name: str, stack: Stack, index: int) -> NDArray[np.float32]:
        """A slice on the run's grid; a mask's pixels are metal where half of them is."""
        image, spacing_mm, grid = stack.values[index], self._spacing(name, stack), self.ray.grid
        if part == "labels":
            return nearest_on_grid(image, spacing_mm, grid)
        if part == "metal_masks":
            return (on_grid(image != 0, spacing_mm, grid, 0.0) >= 0.5).astype(np.float32)
        if not np.isfinite(image).all():
            raise CtmarError(f"{name}: {part} must be finite, got NaN or infinite values")
        return on_grid(image, spacing_mm, grid)
