"""CT files with labels as bodies for data sets, and what every source of bodies needs."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import VERTEBRAE
from ctmar.anatomy.segment import labels_of
from ctmar.anatomy.volume import read_anatomy
from ctmar.errors import CtmarError

SPLITS = ("train", "val", "test")
SHARES = (0.60, 0.15, 0.25)
"""Of the labelled vertebrae's height for training, validation and test where no split is given."""
GAP_SLICES = 3
"""Slices between two splits that belong to neither."""
KEPT_FILES = 2


@lru_cache(maxsize=KEPT_FILES)
def read_frozen(ct: str, labels: str, name: str, convention: str) -> Anatomy:
    """A CT with its labels, read once while few others are; it cannot be written to."""
    return frozen(read_anatomy(ct, labels, name, convention))


def frozen(anatomy: Anatomy) -> Anatomy:
    """Shared between cases, so nobody may write into it."""
    anatomy.hu.flags.writeable = False
    anatomy.labels.flags.writeable = False
    return anatomy


class CTFiles:
    """One CT volume with labels, its slices divided between the splits.

    Slices are counted in the volume on LPS axes, from the feet up.

    Args:
        ct: Volume file or DICOM folder.
        labels: Label map on its grid.
        name: What reports call it.
        splits: First and last slice of each split, inclusive; a split left out cannot be asked for.
            None divides the height of the labelled vertebrae 60 : 15 : 25 from below.
        convention: Of the labels: ``auto``, ``totalsegmentator``, ``verse`` or ``plain:LEVEL``.
        segment: ``totalsegmentator`` lets that program make the labels where none are given.
        segment_dir: Where its labels are kept.
    """

    def __init__(
        self,
        ct: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None,
        name: str = "files",
        splits: Mapping[str, Sequence[int]] | None = None,
        convention: str = "auto",
        segment: str | None = None,
        segment_dir: str | os.PathLike[str] = "segmentations",
    ) -> None:
        self.ct = os.fspath(ct)
        self.labels = None if labels is None else os.fspath(labels)
        self.segment, self.segment_dir = segment, Path(segment_dir)
        self.name, self.convention = name, convention
        self.splits = None if splits is None else _checked(splits)

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The volume, and a split's slices but for its first and last."""
        check_case(split, index, tuple(self.splits or SPLITS), self.name)
        anatomy = read_frozen(self.ct, self._labels(), self.name, self.convention)
        splits = divide(*vertebra_slices(anatomy)) if self.splits is None else self.splits
        low, high = splits[split]
        if high >= len(anatomy.hu):
            raise CtmarError(f"{split} must end before slice {len(anatomy.hu)} of {self.ct}, got {high}")
        return anatomy, range(low + 1, high)

    def _labels(self) -> str:
        if self.labels is not None:
            return self.labels
        return os.fspath(labels_of(Path(self.ct), self.segment, self.segment_dir))


def vertebra_slices(anatomy: Anatomy) -> tuple[int, int]:
    """First and last slice with a labelled vertebra (C1–S1)."""
    found = np.nonzero(np.isin(anatomy.labels, VERTEBRAE).any(axis=(1, 2)))[0]
    if not found.size:
        raise CtmarError(f"labels must hold a vertebra, got none in {anatomy.name}")
    return int(found[0]), int(found[-1])


def divide(low: int, high: int) -> dict[str, tuple[int, int]]:
    """Slices ``low`` to ``high`` (inclusive) as train, val and test with gaps between them."""
    least = 3 * len(SPLITS) + 2 * GAP_SLICES
    count = high - low + 1
    usable = count - 2 * GAP_SLICES
    sizes = [max(3, round(share * usable)) for share in SHARES[1:]]
    train = usable - sum(sizes)
    if count < least or train < 3:
        raise CtmarError(f"vertebrae must span at least {least} slices to divide them, got {count}")
    splits, start = {}, low
    for split, size in zip(SPLITS, (train, *sizes), strict=True):
        splits[split] = (start, start + size - 1)
        start += size + GAP_SLICES
    return splits


def _checked(splits: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Known names, three slices or more each, none in two of them."""
    checked: dict[str, tuple[int, int]] = {}
    for split, ends in splits.items():
        if split not in SPLITS:
            raise CtmarError(f"splits must name train, val or test, got {split!r}")
        if (
            len(ends) != 2
            or not all(isinstance(e, int) for e in ends)
            or ends[0] < 0
            or ends[1] - ends[0] < 2
        ):
            raise CtmarError(f"{split} must be [first, last] with 3 slices or more, got {list(ends)}")
        for other, (low, high) in checked.items():
            if ends[0] <= high and low <= ends[1]:
                raise CtmarError(
                    f"splits must not overlap, got {split} {list(ends)} and {other} {[low, high]}"
                )
        checked[split] = (ends[0], ends[1])
    return checked


def check_case(split: str, index: int, known: tuple[str, ...], name: str) -> None:
    """Refuses a split that source ``name`` does not have, and a case before the first."""
    if split not in known:
        raise CtmarError(f"split must be one of {', '.join(known)} for anatomy {name}, got {split!r}")
    if index < 0:
        raise CtmarError(f"index must be at least 0, got {index}")
