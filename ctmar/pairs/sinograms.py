"""A folder of sinograms, with metal and without: a source of cases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.case import Case
from ctmar.data.paired import sinogram_case
from ctmar.data.setup import CaseSetup
from ctmar.errors import CtmarError
from ctmar.pairs.files import files_in, matched, read_array, read_arrays
from ctmar.pairs.splits import divided, of_split

NEEDED = ("measured", "clean", "metal_trace")
OPTIONAL = ("metal_path_mm", "metal_mask", "reference_hu", "body_mask", "tissue_labels", "mu_water")
"""By the names that :class:`~ctmar.case.Scan` and :class:`~ctmar.case.Truth` have for them."""


class PairedSinograms:
    """Measured sinograms with their metal trace, and the same without metal; a file is a case.

    Either ``NAME.npz`` files with the arrays below, or a folder an array with ``NAME.npy`` in it:
    ``measured``, ``clean``, ``metal_trace``; and, where they are known, ``metal_path_mm``, ``metal_mask``,
    ``reference_hu``, ``body_mask``, ``tissue_labels``, ``mu_water``. What is left out is derived
    (:func:`ctmar.data.paired.sinogram_case`). Rays are those of the run's ``geometry``: parallel ones.

    Args:
        setup: The run's.
        root: Folder of the files.
        splits: Shares or lists of names, see :func:`ctmar.pairs.splits.divided`.
        group: Pattern of whose file a name is; patients must not be torn apart.
        gap: Files or groups between two splits that belong to neither.

    Raises:
        CtmarError: No files, names that do not match, splits that do not fit.
    """

    def __init__(
        self,
        setup: CaseSetup,
        root: str | os.PathLike[str],
        splits: Mapping[str, Any] | None = None,
        group: str | None = None,
        gap: int | None = None,
    ) -> None:
        self.setup, self.ray, self.kvp, self.fills = setup, setup.ray, setup.kvp, setup.fills
        self._files = _files(Path(root).expanduser())
        self._names = divided(matched(self._files), splits, group, gap)

    def count(self, split: str) -> int:
        """Pairs of a split.

        Raises:
            CtmarError: There is none.
        """
        return len(self.cases(split))

    def cases(self, split: str) -> list[str]:
        """The name of each case of a split."""
        return of_split(self._names, split)

    def case(self, split: str, index: int) -> Case:
        """Pair ``index`` of a split, by the names of the files."""
        name = self.cases(split)[index]
        arrays = self.read(name)
        missing = [part for part in NEEDED if part not in arrays]
        if missing:
            raise CtmarError(f"{name} must hold {', '.join(NEEDED)}, got no {', '.join(missing)}")
        water = arrays.get("mu_water")
        return sinogram_case(
            self.setup,
            arrays["measured"],
            arrays["clean"],
            arrays["metal_trace"],
            name,
            metal_path_mm=arrays.get("metal_path_mm"),
            metal_mask=arrays.get("metal_mask"),
            reference_hu=arrays.get("reference_hu"),
            body_mask=arrays.get("body_mask"),
            labels=arrays.get("tissue_labels"),
            mu_water=None if water is None else float(np.ravel(water)[0]),
            told={"kind": "pairs", "body": name},
        )

    def read(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of a case by their names; replaced for another format."""
        if "" in self._files:
            return read_arrays(self._files[""][name])
        return {part: read_array(files[name]) for part, files in self._files.items()}


def _files(root: Path) -> dict[str, dict[str, Path]]:
    """The files of each array's folder by their names; under "" those that hold all arrays."""
    folders = [part for part in (*NEEDED, *OPTIONAL) if (root / part).is_dir()]
    if not folders:
        return {"": files_in(root, (".npz",), "data.root")}
    lacking = ", ".join(part for part in NEEDED if part not in folders)
    if lacking:
        known = ", ".join(NEEDED)
        raise CtmarError(f"data.root must hold the folders {known}, got no {lacking} in {root}")
    return {part: files_in(root / part, (".npy",), f"data.root/{part}") for part in folders}
