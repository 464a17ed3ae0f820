"""Published CT collections: how each lies on disk, its terms, and what is checked when it is read.

None of the large ones was at hand (they take gigabytes, a registration, or both): the readers follow the
publishers' descriptions and are tested on small mock layouts. docs/data-sets.md has the table.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.download import fetch
from ctmar.anatomy.segment import labels_of
from ctmar.anatomy.sources import SPLITS, read_frozen, vertebra_slices
from ctmar.errors import CtmarError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Of patients, where the collection names no split of its own."""


class Patient(NamedTuple):
    """One volume of a collection."""

    name: str
    ct: Path
    labels: Path | None
    split: str | None = None
    """The collection's own, where it has one."""


@dataclass(frozen=True)
class Layout:
    """A collection as its publisher describes it.

    Attributes:
        title: Its name.
        terms: Under what it may be used, and where it comes from.
        convention: Of its labels, see :mod:`ctmar.anatomy.labels`.
        files: What has to lie under the root, for the message where nothing does.
        find: Its patients under a root.
    """

    title: str
    terms: str
    convention: str
    files: str
    find: Callable[[Path], list[Patient]]


def _split_of(path: Path) -> str | None:
    """The split that a folder's name tells: ``dataset-verse19training``, ``trainset`` …"""
    known = {"train": "train", "valid": "val", "test": "test"}
    for part in path.parts:
        for word, split in known.items():
            if word in part.lower():
                return split
    return None


def _verse(root: Path) -> list[Patient]:
    found = []
    for ct in sorted(root.glob("**/rawdata/*/*_ct.nii.gz")):
        subject = ct.name.removesuffix("_ct.nii.gz")
        masks = ct.parents[2] / "derivatives" / ct.parent.name
        mask = masks / f"{subject}_seg-vert_msk.nii.gz"
        found.append(Patient(subject, ct, _there(mask), _split_of(ct.relative_to(root))))
    return found


def _ctspine1k(root: Path) -> list[Patient]:
    found = []
    for ct in sorted(root.glob("**/volumes/**/*.nii.gz")):
        place = ct.relative_to(root).parts
        at = len(place) - 1 - place[::-1].index("volumes")
        mask = root.joinpath(*place[:at], "labels", *place[at + 1 : -1]) / ct.name.replace(
            ".nii.gz", "_seg.nii.gz"
        )
        found.append(Patient(ct.name.removesuffix(".nii.gz"), ct, _there(mask)))
    return found


def _totalsegmentator(root: Path) -> list[Patient]:
    return [
        Patient(ct.parent.name, ct, _there(ct.parent / "segmentations"))
        for ct in sorted(root.glob("**/s*/ct.nii.gz"))
    ]


def _csi2014(root: Path) -> list[Patient]:
    return [
        Patient(ct.stem, ct, _there(ct.with_name(f"{ct.stem}_label.mhd")))
        for ct in sorted(root.glob("**/case*.mhd"))
        if not ct.stem.endswith("_label")
    ]


def _covid19(root: Path) -> list[Patient]:
    # Lung and infection masks are there, vertebrae are not.
    return [
        Patient(ct.name.removesuffix(".nii.gz"), ct, None)
        for pattern in ("coronacases_*.nii.gz", "radiopaedia_*.nii.gz")
        for ct in sorted(root.glob(f"**/{pattern}"))
        if not any("mask" in part.lower() for part in ct.relative_to(root).parts[:-1])
    ]


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


LAYOUTS: dict[str, Layout] = {
    "verse": Layout(
        "VerSe 2019/2020, subject-based (Sekuboyina et al. 2021)",
        "CC BY-SA 4.0; OSF nqjyw and t98fz",
        "verse",
        "*/rawdata/sub-*/sub-*_ct.nii.gz and */derivatives/sub-*/sub-*_seg-vert_msk.nii.gz",
        _verse,
    ),
    "ctspine1k": Layout(
        "CTSpine1K (Deng et al. 2021)",
        "for research, under the terms of the collections that its CTs come from",
        "verse",
        "rawdata/volumes/SOURCE/*.nii.gz and rawdata/labels/SOURCE/*_seg.nii.gz",
        _ctspine1k,
    ),
    "totalsegmentator": Layout(
        "TotalSegmentator v2 (Wasserthal et al. 2023)",
        "CC BY 4.0; Zenodo",
        "totalsegmentator",
        "s0000/ct.nii.gz and s0000/segmentations/*.nii.gz",
        _totalsegmentator,
    ),
    "csi2014": Layout(
        "SpineWeb data set 2, CSI 2014 (Yao et al. 2012, 2016)",
        "for research, after registration with SpineWeb",
        "plain:L5",
        "case*.mhd and case*_label.mhd",
        _csi2014,
    ),
    "covid19": Layout(
        "COVID-19 CT lung and infection segmentation (Ma et al. 2020)",
        "open, see Zenodo 3757476",
        "totalsegmentator",
        "coronacases_*.nii.gz and radiopaedia_*.nii.gz, masks in folders of their own",
        _covid19,
    ),
}


class Collection:
    """A published collection as a source of bodies; a patient serves one split alone.

    Args:
        layout: One of ``LAYOUTS``.
        root: Folder that its files lie under.
        name: What reports call it.
        convention: Of the labels; the layout's own where None.
        segment: ``totalsegmentator`` lets that program label volumes without labels.
        segment_dir: Where its labels are kept.
        url: An archive to download into an empty root, at an address whose terms you have accepted.
        sha256: The archive's checksum.

    Raises:
        CtmarError: An unknown layout, no such files, volumes without labels and nothing to make them.
    """

    def __init__(
        self,
        layout: str,
        root: str | os.PathLike[str],
        name: str | None = None,
        convention: str | None = None,
        segment: str | None = None,
        segment_dir: str | os.PathLike[str] = "segmentations",
        url: str | None = None,
        sha256: str | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise CtmarError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        self.layout, self.root = LAYOUTS[layout], Path(root)
        self.name = name or layout
        self.convention = convention or self.layout.convention
        self.segment, self.segment_dir = segment, Path(segment_dir)
        if url is not None:
            fetch(url, sha256, self.root)

    def patients(self, split: str) -> list[Patient]:
        """The patients of a split: the collection's own, else 70 : 10 : 20 by a digest of their names."""
        if split not in SPLITS:
            raise CtmarError(
                f"split must be one of {', '.join(SPLITS)} for anatomy {self.name}, got {split!r}"
            )
        every = _found(self.layout, self.root)
        shares = _divided([patient.name for patient in every])
        chosen = [p for p in every if (p.split or shares[p.name]) == split]
        if not chosen:
            raise CtmarError(f"{split} must have a patient, got none of the {len(every)} in {self.root}")
        return chosen

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The volume of case ``index`` (patients in turn), and its slices with vertebrae but two."""
        if index < 0:
            raise CtmarError(f"index must be at least 0, got {index}")
        chosen = self.patients(split)
        anatomy = self.read(chosen[index % len(chosen)])
        low, high = vertebra_slices(anatomy)
        if high - low < 3:
            raise CtmarError(f"vertebrae of {anatomy.name} must span 4 slices, got {high - low + 1}")
        return anatomy, range(low + 1, high)

    def read(self, patient: Patient) -> Anatomy:
        """A patient's volume with its labels, checked to be in HU."""
        labels = patient.labels
        if labels is None:
            labels = labels_of(patient.ct, self.segment, self.segment_dir)
            anatomy = read_frozen(os.fspath(patient.ct), os.fspath(labels), patient.name, "totalsegmentator")
        else:
            anatomy = read_frozen(os.fspath(patient.ct), os.fspath(labels), patient.name, self.convention)
        require_hu(anatomy)
        return anatomy


def require_hu(anatomy: Anatomy) -> None:
    """Refuses a volume that is no CT in HU: one without air or bone, such as an image of grey values.

    Ten of the volumes of the COVID-19 collection were published as 0 to 255.
    """
    low, high = float(np.quantile(anatomy.hu, 0.001)), float(anatomy.hu.max())
    if low > -200 or high < 300:
        raise CtmarError(
            f"{anatomy.name} must be in HU, air below -200 and bone above 300, got {low:.0f} to {high:.0f}"
        )


def _divided(names: Sequence[str]) -> dict[str, str]:
    """A split for every name: in the order of their digests, each split one at least."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    val, test = (max(1, round(SHARES[split] * len(order))) for split in ("val", "test"))
    return {
        name: "val" if place < val else "test" if place < val + test else "train"
        for place, name in enumerate(order)
    }


@lru_cache(maxsize=8)
def _found(layout: Layout, root: Path) -> Sequence[Patient]:
    """The patients under a root.

    Raises:
        CtmarError: Nothing there, or a name that stands for two.
    """
    every = layout.find(root) if root.is_dir() else []
    if not every:
        raise CtmarError(
            f"{layout.title} must lie under anatomy.root as {layout.files}, got none in {root}"
            f" ({layout.terms})"
        )
    twice = [name for name, count in Counter(patient.name for patient in every).items() if count > 1]
    if twice:
        raise CtmarError(f"patients of {layout.title} must have names of their own, got {twice[0]} twice")
    return every
