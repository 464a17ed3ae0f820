"""ADN's DeepLesion files (Liao et al., IEEE TMI 39:634, 2020), as ``liaohaofu/adn`` lays them out.

By ``prepare_deep_lesion.m``, which writes them, ``adn/datasets/deep_lesion.py``, which reads them, and
``config/dataset.yaml``: a folder a slice, ``train/PATIENT_STUDY_SERIES/SLICE``, in it ``gt.mat`` with
``image``, DeepLesion's own grey values (HU + 32768, rows down), and ``1.mat`` … with ``image``, the
reconstruction with a metal in 1/cm, rows and columns exchanged; 256² pixels. Sinograms are not kept:
projections are made from the images. ``metal_masks/SampleMasks.mat`` beside ``train`` and ``test`` holds
the metals, ``CT_samples_bwMetal`` of 512 × 512 × 100, ten of them for the test part; ``blacklist.json`` the
slices that show metal of the patient's own, which ADN leaves out.

ADN's SpineWeb files (``prepare_spineweb.py``) are ``artifact`` and ``no_artifact`` slices of other
patients: no pairs, and nothing to be scored against.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.data import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam
from ctmar.pairs.published.case import FieldCase
from ctmar.pairs.published.cases import PairedFiles, PublishedFiles
from ctmar.pairs.published.files import NumberedSlices
from ctmar.pairs.published.mat import numbers_in
from ctmar.pairs.published.syndeeplesion import SHRINK, WATER, per_cm_to_hu, resized_mask
from ctmar.units import AIR_HU

IMAGE = (256, 256)
STORED_ZERO = 32768
"""Grey value of 0 HU in DeepLesion's images."""
MASKS, MASK_NAME = "SampleMasks.mat", "CT_samples_bwMetal"
MASK = (512, 512, 100)
OF_TEST = (1, 2, 20, 30, 36, 43, 63, 64, 98, 100)
"""Metals of the test part, counted from 1; the others are those of the training part."""
BLACKLIST = "blacklist.json"


class ADNFiles(NumberedSlices):
    """The set's files; see the module and :class:`NumberedSlices`.

    Args:
        root: Folder with slices at any depth.
        masks: Numbers of the metals, from 1; None for all that a slice has.

    Raises:
        CtmarError: No slice, or files of SpineWeb, which are no pairs.
    """

    title, option, suffix, first = "ADN's DeepLesion", "adn", ".mat", 1
    shape, pixel_mm = IMAGE, 400 / 256
    shrink, mu_water = SHRINK, WATER / 10
    images = ("ma_CT",)

    def __init__(self, root: str | PathLike[str], masks: list[int] | None = None) -> None:
        folder = Path(root).expanduser()
        if not any(folder.glob("**/gt.mat")) and any(folder.glob("**/no_artifact/**/*.npy")):
            raise CtmarError(
                f"ADN's files must be pairs (*/*/gt.mat and 1.mat …), got SpineWeb's in {folder}, whose"
                " slices with metal have none without it to be held against"
            )
        super().__init__(root, masks)
        black = _blacklist(folder)
        named = {name for name in self.folders if "/".join(name.split("/")[-2:]) + ".png" in black}
        if named:
            self.folders = {name: path for name, path in self.folders.items() if name not in named}
            self.left_out = [
                f"{len(named)} slices of ADN's {BLACKLIST}, which show metal of the patient's own"
            ]
        if not self.folders:
            raise CtmarError(f"{self.title} must hold slices that are not on its {BLACKLIST}, got none")

    def read(self, name: str, metal: int) -> FieldCase:
        """A slice with one of its metals, the patient upright."""
        folder = self.folders[name]
        stored, raw = _image(folder / "gt.mat"), _image(folder / f"{metal}.mat")
        if np.median(stored) < STORED_ZERO / 2:
            raise CtmarError(
                f"{folder / 'gt.mat'} must hold DeepLesion's grey values, HU + {STORED_ZERO}, got a median of"
                f" {np.median(stored):.4g}"
            )
        with_metal = per_cm_to_hu(torch.from_numpy(np.ascontiguousarray(raw.T)))
        return FieldCase(
            name=self.case_id(name, metal),
            uncorrected_hu=with_metal,
            reference_hu=torch.from_numpy(np.maximum(stored - STORED_ZERO, np.float32(AIR_HU))),
            metal_mask=_mask(folder, metal),
            mu_water=WATER / 10 / SHRINK,
            images={"ma_CT": with_metal},
            body="-".join(name.split("/")[-2:]),
        )


class ADN(PublishedFiles):
    """Its cases for the benchmark; arguments as :class:`PublishedFiles` and :class:`ADNFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | None,
        root: str | PathLike[str],
        masks: list[int] | None = None,
    ) -> None:
        super().__init__(setup, acquisition, ADNFiles(root, masks))


class PairedADN(PairedFiles):
    """Its cases to train on; arguments as :class:`PairedFiles` and :class:`ADNFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | Mapping[str, Any] | None,
        root: str | PathLike[str],
        masks: list[int] | None = None,
        drawn: int | None = 1,
        splits: Mapping[str, Any] | None = None,
        shrink: float = SHRINK,
    ) -> None:
        super().__init__(setup, acquisition, ADNFiles(root, masks), drawn, splits, shrink)


def _image(path: Path) -> NDArray[np.float32]:
    """The image of a file as it lies there."""
    found = numbers_in(path, "image").get("image")
    if found is None or found.shape != IMAGE:
        raise CtmarError(f"{path} must hold image of {IMAGE}, got {None if found is None else found.shape}")
    return found.astype(np.float32)


def _mask(folder: Path, metal: int) -> Tensor | None:
    """The metal of a file's number on the set's pixels; None where the set's masks are not at hand."""
    part = folder.absolute().parents[1]
    found = _beside(part.parent, f"metal_masks/{MASKS}", MASKS)
    if found is None or part.name not in ("train", "test"):
        return None
    test = [number - 1 for number in OF_TEST]
    own = test if part.name == "test" else [n for n in range(MASK[2]) if n not in test]
    if not 1 <= metal <= len(own):
        raise CtmarError(f"{folder} must hold metals from 1 to {len(own)}, got {metal}")
    return resized_mask(torch.from_numpy(_masks(found)[..., own[metal - 1]] != 0), IMAGE)


@lru_cache(maxsize=1)
def _masks(path: Path) -> NDArray[Any]:
    """All masks of the set; held, for every case asks for one of them."""
    masks = numbers_in(path, MASK_NAME).get(MASK_NAME)
    if masks is None or masks.shape != MASK:
        got = "nothing" if masks is None else masks.shape
        raise CtmarError(f"{path} must hold {MASK_NAME} of {MASK}, got {got}")
    return masks


def _blacklist(root: Path) -> set[str]:
    """Slices that ADN leaves out, as ``PATIENT/SLICE.png``."""
    found = _beside(root.absolute(), BLACKLIST) or _beside(root.absolute().parent, BLACKLIST)
    if found is None:
        return set()
    try:
        names = json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CtmarError(f"{found} must be a list of slices in JSON: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CtmarError(f"{found} must be a list of slices, PATIENT/SLICE.png, got something else")
    return set(names)


def _beside(folder: Path, *names: str) -> Path | None:
    """The first of these files that a folder holds."""
    return next((folder / name for name in names if (folder / name).is_file()), None)
