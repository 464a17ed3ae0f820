"""AAPM CT-MAR's training set (Haneda et al. 2025), as the challenge and its users lay it out.

By ``xcist/example``, folder ``AAPM_datachallenge`` (``readme.md``, ``data_generation.md``,
``AAPMRecon.py``, ``AAPMmetric.py``) and by loaders of its users: folders ``Baseline``, ``Target`` and
``Mask``, in them ``training_body_metalart_sino7_900x1000.raw`` and ``…_metalart_img7_512x512x1.raw``,
``…_nometal_sino7…`` and ``…_nometal_img7…``, ``…_metalonlymask_img7…``; ``test_`` for the challenge's
second phase. Headerless little-endian float32, the fastest axis first in the name: sinograms of 1000 views
and 900 bins, line integrals after its water correction, images in HU over 400 mm (``body``) or 220.16 mm
(``head``). Held against XCIST's own
pair of a sinogram and its image, and against a case made by the challenge's ``simulation_scripts/run.py``
with a metal and without; none of the set itself was at hand.
"""

import re
from collections.abc import Mapping
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
from ctmar.pairs.published.files import FieldFiles

AAPM_WATER = 0.02
"""Attenuation of water in 1/mm that the challenge's own reconstruction scales HU by (``AAPMRecon.py``)."""
SINOGRAM, IMAGE = (1000, 900), (512, 512)
REGIONS = {"body": ("aapm", 400 / 512), "head": ("aapm_head", 220.16 / 512)}
"""Of each region, what its options are called and the edge of a pixel in mm."""
NEEDED = ("metalart_img", "nometal_img")
NAME = re.compile(
    r"(training|test)_(body|head)_"
    r"(?:(metalart_sino|nometal_sino)(\d+)(?:_900x1000)?|"
    r"(metalart_img|nometal_img|metalonlymask_img)(\d+)(?:_512x512(?:x1)?)?)\.raw"
)
INSIDE = 0.5
"""Of a pixel of a mask, from which on the challenge counts it as metal (``AAPMmetric.py``)."""


class AAPMFiles(FieldFiles):
    """The set's files of one region; see the module. Cases are ``body-00007``, ``test-body-00007``.

    Args:
        root: Folder with files at any depth.
        region: ``body`` or ``head``.

    Raises:
        CtmarError: Another region, no case, or a file that stands there twice.
    """

    title, shape, rays = "AAPM CT-MAR", IMAGE, SINOGRAM
    images = ("metalart_img",)
    mu_water = AAPM_WATER

    def __init__(self, root: str | PathLike[str], region: str = "body") -> None:
        if region not in REGIONS:
            raise CtmarError(f"region must be one of {', '.join(REGIONS)}, got {region!r}")
        self.option, self.pixel_mm = REGIONS[region]
        folder = Path(root).expanduser()
        found = _files(folder, region)
        whole = {name: files for name, files in found.items() if all(kind in files for kind in NEEDED)}
        if not whole:
            wanted = " and ".join(f"training_{region}_{kind}1_512x512x1.raw" for kind in NEEDED)
            raise CtmarError(f"AAPM CT-MAR must lie under {folder} as {wanted}, got none")
        self.files = dict(sorted(whole.items()))
        if len(whole) < len(found):
            self.left_out = [f"{len(found) - len(whole)} cases without an image with metal and one without"]

    def slices(self) -> list[str]:
        """Names of the cases."""
        return list(self.files)

    def read(self, name: str, metal: int) -> FieldCase:
        """A case; sinograms and mask where they are there."""
        files = self.files[name]
        read = {kind: _array(path, SINOGRAM if "sino" in kind else IMAGE) for kind, path in files.items()}
        mask = read.get("metalonlymask_img")
        return FieldCase(
            name=name,
            measured=read.get("metalart_sino"),
            clean=read.get("nometal_sino"),
            uncorrected_hu=read["metalart_img"],
            reference_hu=read["nometal_img"],
            metal_mask=None if mask is None else mask > INSIDE,
            mu_water=AAPM_WATER,
            images={"metalart_img": read["metalart_img"]},
        )


class AAPM(PublishedFiles):
    """Its cases for the benchmark; arguments as :class:`PublishedFiles` and :class:`AAPMFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | None,
        root: str | PathLike[str],
        region: str = "body",
    ) -> None:
        super().__init__(setup, acquisition, AAPMFiles(root, region))


class PairedAAPM(PairedFiles):
    """Its cases to train on; arguments as :class:`PairedFiles` and :class:`AAPMFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | Mapping[str, Any] | None,
        root: str | PathLike[str],
        region: str = "body",
        splits: Mapping[str, Any] | None = None,
        shrink: float = 1.0,
    ) -> None:
        super().__init__(setup, acquisition, AAPMFiles(root, region), None, splits, shrink)


def _files(root: Path, region: str) -> dict[str, dict[str, Path]]:
    """The files of every case of a region, by the case's name and their kind."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.glob("**/*.raw")):
        match = NAME.fullmatch(path.name)
        if match is None or match[2] != region:
            continue
        kind, number = match[3] or match[5], int(match[4] or match[6])
        name = f"{'test-' if match[1] == 'test' else ''}{region}-{number:05d}"
        files = found.setdefault(name, {})
        if kind in files:
            raise CtmarError(f"one file must be named {path.name} under {root}, got {files[kind]} and {path}")
        files[kind] = path
    return found


def _array(path: Path, shape: tuple[int, int]) -> Tensor:
    values = read_raw(path, shape)
    if values.shape != shape:
        raise CtmarError(f"{path} must hold {shape} values, got {values.shape}")
    return torch.from_numpy(values)


def read_raw(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """A headerless float32 array whose name ends in its sizes, ``_900x1000.raw``: 1000 rows of 900.

    Args:
        path: The file.
        shape: What it holds where its name ends in no sizes.

    Raises:
        CtmarError: No sizes in the name and none given, or a file of another length; values that are not
            finite.
    """
    sizes = re.search(r"_(\d+(?:x\d+)+)\.raw$", path.name)
    if sizes is None and shape is None:
        raise CtmarError(f"a raw file's name must end in its sizes, such as _900x1000.raw, got {path.name}")
    found = tuple(int(n) for n in sizes[1].split("x")[::-1]) if sizes is not None else shape or ()
    wanted, got = 4 * int(np.prod(found)), path.stat().st_size
    if got != wanted:
        told = "as its name says" if sizes is not None else f"float32 of {found}"
        raise CtmarError(f"{path.name} must hold {wanted} bytes, {told}, got {got}")
    values = np.fromfile(path, "<f4").astype(np.float32).reshape(found)
    if not np.isfinite(values).all():
        raise CtmarError(f"{path.name} must hold finite values, got NaN or infinite ones")
    return values[0] if len(found) == 3 and found[0] == 1 else values
