"""Files of pairs: found by their names, read as stacks of slices."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.opening import opened
from ctmar.scans.volume import SUFFIXES

DICOM = (".dcm", ".ima", "")
KEPT_FILES = 6


class Stack(NamedTuple):
    """A file's slices."""

    values: NDArray[Any]
    """``(slice, row, column)``."""
    spacing_mm: tuple[float, float] | None
    """Distance between rows and between columns; None where the file does not tell."""


def files_in(folder: str | os.PathLike[str], suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    """The files below a folder, by their path from there without the suffix (``p01/slice003``).

    Raises:
        CtmarError: No folder, no such file in it, or a name that stands for two.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise CtmarError(f"{what} must be a folder, got {str(folder)!r}, which is none")
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        suffix = next((s for s in sorted(suffixes, key=len, reverse=True) if _ends(path.name, s)), None)
        if suffix is None or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        name = name[: len(name) - len(suffix)]
        if name in found:
            raise CtmarError(f"names in {root} must stand for one file each, got {name} twice")
        found[name] = path
    if not found:
        known = ", ".join(s for s in suffixes if s)
        raise CtmarError(f"{what} must hold files ({known}), got none in {root}")
    return found


def _ends(name: str, suffix: str) -> bool:
    if name.startswith("."):
        return False
    return name.lower().endswith(suffix) if suffix else "." not in name


def matched(folders: Mapping[str, Mapping[str, Path]]) -> list[str]:
    """The names, the same in every folder.

    Raises:
        CtmarError: Names that one folder has and another has not.
    """
    (first, names), *others = folders.items()
    for other, theirs in others:
        sides = ((first, other, names.keys() - theirs), (other, first, theirs.keys() - names))
        for has, lacks, alone in sides:
            if alone:
                more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
                wanted = f"each file of {has} must have one of its name in {lacks}"
                raise CtmarError(f"{wanted}, got {min(alone)}{more} without")
    return sorted(names)


def read_image(path: Path) -> Stack:
    """A file of slices in HU: ``.npy``, a volume file, or a DICOM file; held for a while.

    Raises:
        CtmarError: A file that cannot be read, of other axes, or of values that are no real numbers.
    """
    return _held(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=KEPT_FILES)
def _held(path: Path, modified: int) -> Stack:
    if path.suffix == ".npy":
        values = read_array(path)
        if values.ndim not in (2, 3):
            raise CtmarError(f"{path.name} must have rows and columns, or slices too, got {values.shape}")
        return Stack(values.reshape(-1, *values.shape[-2:]), None)
    with opened(path) as scan:
        slices = [scan.read(index) for index in range(len(scan.places_mm))]
        return Stack(np.stack(slices), scan.spacing_mm)


def read_array(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file; nothing is unpickled."""
    try:
        values: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CtmarError(f"{path.name} must be an array of numbers, cannot be read: {error}") from None
    return _numbers(values, path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file by their names; nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: _numbers(file[name], path) for name in file.files}
    except CtmarError:
        raise
    except Exception as error:  # zip and zlib have errors of their own
        raise CtmarError(f"{path.name} must be arrays of numbers, cannot be read: {error}") from None


def _numbers(values: Any, path: Path) -> NDArray[Any]:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        got = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise CtmarError(f"{path.name} must hold real numbers, got {got}")
    return values


IMAGES = (".npy", *SUFFIXES, *DICOM)
"""Suffixes of files that :func:`read_image` reads."""
