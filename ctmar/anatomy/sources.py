"""CT files with labels as bodies for data sets, and what every source of bodies needs."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import VERTEBRAE, WANTED
from ctmar.anatomy.landmarks.pedicles import find_pedicles
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
            None divides the height of the labelled vertebrae 60 : 15 : 25 from below; where a share would
            hold no pedicle, between levels instead.
        fold: With ``splits=None``: whose share is lowest, train (0), test (1) or val (2), so that three runs
            test on three parts of one body.
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
        fold: int = 0,
        convention: str = "auto",
        segment: str | None = None,
        segment_dir: str | os.PathLike[str] = "segmentations",
    ) -> None:
        self.ct = os.fspath(ct)
        self.labels = None if labels is None else os.fspath(labels)
        self.segment, self.segment_dir = segment, Path(segment_dir)
        self.name, self.convention = name, convention
        self.splits = None if splits is None else _checked(splits)
        if fold not in range(len(SPLITS)):
            raise CtmarError(f"anatomy.fold must be one of 0, 1, 2, got {fold!r}")
        if fold and splits is not None:
            raise CtmarError(f"anatomy.fold divides a volume without splits, got fold {fold} and splits")
        self.fold = fold

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The volume, and a split's slices but for its first and last."""
        check_case(split, index, tuple(self.splits or SPLITS), self.name)
        anatomy = read_frozen(self.ct, self._labels(), self.name, self.convention)
        splits = divided(anatomy, self.fold) if self.splits is None else self.splits
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
        raise CtmarError(f"labels must hold a vertebra ({WANTED}), got none in {anatomy.name}")
    return int(found[0]), int(found[-1])


@lru_cache(maxsize=len(SPLITS) * KEPT_FILES)
def divided(anatomy: Anatomy, fold: int = 0) -> dict[str, tuple[int, int]]:
    """The splits of a volume: shares of its vertebrae's height, with pedicles in each where there are enough.

    Args:
        anatomy: The volume with its labels; kept, so not to be written into.
        fold: See :class:`CTFiles`.

    Raises:
        CtmarError: Its vertebrae span too few slices, or none is labelled.
    """
    order = SPLITS[-fold:] + SPLITS[:-fold] if fold else SPLITS
    low, high = vertebra_slices(anatomy)
    by_height = divide(low, high, order)
    heights: dict[str, list[float]] = {}
    for pedicle in find_pedicles(anatomy):
        heights.setdefault(pedicle.level, []).append(pedicle.isthmus_mm[2] / anatomy.spacing_mm[2])
    levels = sorted(sum(found) / len(found) for found in heights.values())
    held = all(any(first < z < last for z in levels) for first, last in by_height.values())
    if held or len(levels) < len(SPLITS):
        return by_height
    return _between_levels(low, high, levels, order) or by_height


def _between_levels(
    low: int, high: int, levels: Sequence[float], order: Sequence[str]
) -> dict[str, tuple[int, int]] | None:
    """Slices divided midway between levels, in shares as near to :data:`SHARES` as whole levels are."""
    few = {split: max(1, round(share * len(levels))) for split, share in zip(SPLITS, SHARES, strict=True)}
    few["train"] = len(levels) - few["val"] - few["test"]
    splits, below = {}, 0
    for split in order:
        above = below + few[split]
        first = low if below == 0 else _middle(levels[below - 1], levels[below]) + 1 + GAP_SLICES // 2
        last = high if above == len(levels) else _middle(levels[above - 1], levels[above]) - GAP_SLICES // 2
        if last - first < 2:
            return None
        splits[split], below = (first, last), above
    return splits


def _middle(below: float, above: float) -> int:
    return int((below + above) / 2)


def divide(low: int, high: int, order: Sequence[str] = SPLITS) -> dict[str, tuple[int, int]]:
    """Slices ``low`` to ``high`` (inclusive) as train, val and test with gaps between them.

    Args:
        low: The first.
        high: The last.
        order: The splits from below.
    """
    least = 3 * len(SPLITS) + 2 * GAP_SLICES
    count = high - low + 1
    usable = count - 2 * GAP_SLICES
    sizes = [max(3, round(share * usable)) for share in SHARES[1:]]
    train = usable - sum(sizes)
    if count < least or train < 3:
        raise CtmarError(f"vertebrae must span at least {least} slices to divide them, got {count}")
    splits, start = {}, low
    size_of = dict(zip(SPLITS, (train, *sizes), strict=True))
    for split in order:
        size = size_of[split]
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
