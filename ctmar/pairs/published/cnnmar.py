"""CNN-MAR's sample files (Zhang & Yu, IEEE TMI 37:1370, 2018), as ``yanbozhang007/CNN-MAR`` lays them out.

By ``cnnmar/loadData.m``, ``dataGen.m``, ``CTscanpara.m`` and ``evaluation/loadref.m``, which read them: a
file a case, ``data/sample_1.mat``, in it a struct ``imData`` with ``proj``, the line integrals with metal,
bins down and views across, ``imRaw`` and ``imRef``, images with metal and without in 1/cm, and ``metalBW``,
the metal; 512² pixels of 0.8 mm. Files to train on hold the images ``imBHC`` and ``imLI`` too, and need no
``proj``. A sinogram without metal there is none: it is projected from ``imRef``.

MATLAB's ``fanbeam`` made the sinograms: 984 views, bins of 0.001 rad, their number whatever covers the
image (1025 of 512² pixels; the paper's own scanner has 920). It turns about the image's middle pixel,
``floor((512 + 1) / 2)``, which lies half a pixel to the left of the image's middle and half a pixel above
it.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctmar.data import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam
from ctmar.pairs.published.case import FieldCase
from ctmar.pairs.published.cases import PairedFiles, PublishedFiles
from ctmar.pairs.published.files import FieldFiles
from ctmar.pairs.published.mat import names_in, numbers_in

STRUCT = "imData"
IMAGE, VIEWS = (512, 512), 984
NEEDED = ("imRaw", "imRef", "metalBW")
OWN_IMAGES = ("imRaw", "imBHC", "imLI")
MU_WATER = 0.019
"""Attenuation of water in 1/mm by ``Demo_CNNMAR.m``, which says that other scans may need another."""


class CNNMARFiles(FieldFiles):
    """The set's files; see the module.

    Args:
        root: Folder with files at any depth; those without ``imData`` are none of them.
        mu_water: Attenuation of water in 1/mm that the images are scaled by.

    Raises:
        CtmarError: No file.
    """

    title, option = "CNN-MAR", "cnnmar"
    shape, pixel_mm, rays = IMAGE, 0.8, (VIEWS, None)
    center_px = (0.5, -0.5)

    def __init__(self, root: str | PathLike[str], mu_water: float = MU_WATER) -> None:
        folder, self.mu_water = Path(root).expanduser(), float(mu_water)
        if not self.mu_water > 0:
            raise CtmarError(f"mu_water must be positive, got {self.mu_water:g}")
        files = sorted(path for path in folder.glob("**/*.mat") if STRUCT in names_in(path))
        if not files:
            raise CtmarError(
                f"CNN-MAR must lie under {folder} as sample_1.mat … with the struct {STRUCT}, got none"
            )
        self.files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
        first = numbers_in(files[0], STRUCT)
        self.images = tuple(name for name in OWN_IMAGES if name in first)

    def slices(self) -> list[str]:
        """Names of the files, without the suffix."""
        return list(self.files)

    def read(self, name: str, metal: int) -> FieldCase:
        """The slice of a file."""
        path = self.files[name]
        found = numbers_in(path, STRUCT)
        for field in NEEDED:
            if field not in found:
                raise CtmarError(f"{path} must hold {STRUCT}.{field}, got {', '.join(sorted(found))}")
        images = {field: self._hu(path, found, field) for field in (*OWN_IMAGES, "imRef") if field in found}
        metal_mask = _of_shape(path, found, "metalBW") != 0
        return FieldCase(
            name=name,
            measured=_sinogram(path, found),
            uncorrected_hu=images["imRaw"],
            reference_hu=images["imRef"],
            metal_mask=metal_mask,
            mu_water=self.mu_water,
            images={field: images[field] for field in OWN_IMAGES if field in images},
        )

    def _hu(self, path: Path, found: Mapping[str, Any], field: str) -> Tensor:
        return (_of_shape(path, found, field) / (10 * self.mu_water) - 1) * 1000


class CNNMAR(PublishedFiles):
    """Its cases for the benchmark; arguments as :class:`PublishedFiles` and :class:`CNNMARFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | None,
        root: str | PathLike[str],
        mu_water: float = MU_WATER,
    ) -> None:
        super().__init__(setup, acquisition, CNNMARFiles(root, mu_water))


class PairedCNNMAR(PairedFiles):
    """Its cases to train on; arguments as :class:`PairedFiles` and :class:`CNNMARFiles`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | Mapping[str, Any] | None,
        root: str | PathLike[str],
        mu_water: float = MU_WATER,
        splits: Mapping[str, Any] | None = None,
        shrink: float = 1.0,
    ) -> None:
        super().__init__(setup, acquisition, CNNMARFiles(root, mu_water), None, splits, shrink)


def _of_shape(path: Path, found: Mapping[str, Any], field: str) -> Tensor:
    values = np.asarray(found[field], np.float32)
    if values.shape != IMAGE:
        raise CtmarError(f"{path} must hold {STRUCT}.{field} of {IMAGE}, got {values.shape}")
    return torch.from_numpy(np.ascontiguousarray(values))


def _sinogram(path: Path, found: Mapping[str, Any]) -> Tensor | None:
    """The projections as ``(view, bin)``; None where a file has images alone."""
    if "proj" not in found:
        return None
    values = np.asarray(found["proj"], np.float32)
    if values.ndim != 2 or values.shape[1] != VIEWS:
        raise CtmarError(f"{path} must hold {STRUCT}.proj of (bins, {VIEWS}), got {values.shape}")
    return torch.from_numpy(np.ascontiguousarray(values.T))
