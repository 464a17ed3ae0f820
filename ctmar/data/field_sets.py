"""The raw files of the field's own sets: Synthesised DeepLesion (HDF5) and AAPM CT-MAR (headerless arrays).

Neither was at hand: the readers follow what is published about the files and are tested on mock ones.
Sinograms stay in the sets' own fans (``geometry=syndeeplesion|aapm`` has them), images become HU.

Synthesised DeepLesion (Yu et al. 2020, Wang et al. 2021): a folder a slice, in it ``gt.h5`` with ``image``
(1/cm) and ``poly_sinogram``, and ``0.h5`` … with ``ma_CT``, ``ma_sinogram``, ``LI_CT``, ``LI_sinogram`` and
``metal_trace``; 416² pixels, 640 views of 641 bins, water 0.192/cm. AAPM CT-MAR (Haneda et al. 2025):
``Baseline``, ``Target`` and ``Mask`` folders of ``training_body_metalart_img7_512x512x1.raw`` and the like,
little-endian float32, the fastest axis first in the name; images in HU, sinograms of 1000 views and 900 bins.
"""

import re
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError

SYNDEEPLESION_WATER = 0.192
"""Attenuation of water in 1/cm that the set's images are scaled by."""
SYNDEEPLESION_IMAGE, SYNDEEPLESION_SINOGRAM = (416, 416), (640, 641)


class FieldCase(NamedTuple):
    """A case of another simulator; float32 ``(row, column)`` images and ``(view, bin)`` sinograms."""

    name: str
    measured: Tensor
    """Line integrals with metal, dimensionless."""
    clean: Tensor
    """The same without metal."""
    uncorrected_hu: Tensor
    reference_hu: Tensor
    metal_trace: Tensor | None
    """Bool; None where the set has none."""
    metal_mask: Tensor | None
    """Bool image; None where the set has none."""
    li: Tensor | None
    """The set's own linear interpolation of the sinogram."""


def syndeeplesion_slices(root: Path) -> list[Path]:
    """Folders of slices under a root, by name.

    Raises:
        CtmarError: If there is none.
    """
    found = sorted(path.parent for path in root.glob("**/gt.h5"))
    if not found:
        raise CtmarError(f"Synthesised DeepLesion must lie under {root} as */*/gt.h5 and 0.h5 …, got none")
    return found


def read_syndeeplesion(folder: Path, mask: int) -> FieldCase:
    """A slice with one of its metals.

    Args:
        folder: One of ``syndeeplesion_slices``.
        mask: Number of the metal: reads ``{mask}.h5``.

    Raises:
        CtmarError: A file or field that is missing, or of another shape.
    """
    truth = _fields(folder / "gt.h5", {"image": SYNDEEPLESION_IMAGE, "poly_sinogram": SYNDEEPLESION_SINOGRAM})
    shapes = {"ma_CT": SYNDEEPLESION_IMAGE} | dict.fromkeys(
        ("ma_sinogram", "LI_sinogram", "metal_trace"), SYNDEEPLESION_SINOGRAM
    )
    case = _fields(folder / f"{mask}.h5", shapes)
    hu = [(image / SYNDEEPLESION_WATER - 1) * 1000 for image in (case["ma_CT"], truth["image"])]
    return FieldCase(
        name=f"{folder.parent.name}-{folder.name}-{mask}",
        measured=case["ma_sinogram"],
        clean=truth["poly_sinogram"],
        uncorrected_hu=hu[0],
        reference_hu=hu[1],
        metal_trace=case["metal_trace"] > 0,
        metal_mask=None,
        li=case["LI_sinogram"],
    )


def aapm_cases(root: Path) -> list[tuple[str, int]]:
    """Region (``body`` or ``head``) and number of every case under a root.

    Raises:
        CtmarError: If there is none.
    """
    name = re.compile(r"training_(body|head)_metalart_img(\d+)_")
    matches = [name.match(path.name) for path in root.glob("**/*_metalart_img*.raw")]
    found = sorted({(match[1], int(match[2])) for match in matches if match is not None})
    if not found:
        raise CtmarError(
            f"AAPM CT-MAR must lie under {root} as Baseline/training_body_metalart_img1_512x512x1.raw and"
            " the like, got none"
        )
    return found


def read_aapm(root: Path, region: str, number: int) -> FieldCase:
    """A case of AAPM CT-MAR's training set.

    Raises:
        CtmarError: A file that is missing, stands there twice, or is not as long as its name says.
    """

    def read(what: str) -> Tensor:
        return torch.from_numpy(read_raw(_only(root, f"training_{region}_{what}{number}_*.raw")))

    mask = sorted(root.glob(f"**/training_{region}_metalonlymask_img{number}_*.raw"))
    return FieldCase(
        name=f"{region}-{number}",
        measured=read("metalart_sino"),
        clean=read("nometal_sino"),
        uncorrected_hu=read("metalart_img"),
        reference_hu=read("nometal_img"),
        metal_trace=None,
        metal_mask=torch.from_numpy(read_raw(mask[0]) > 0) if mask else None,
        li=None,
    )


def read_raw(path: Path) -> NDArray[np.float32]:
    """A headerless float32 array whose name ends in its sizes, ``_900x1000.raw``: 1000 rows of 900.

    Raises:
        CtmarError: No sizes in the name, or a file of another length; values that are not finite.
    """
    sizes = re.search(r"_(\d+(?:x\d+)+)\.raw$", path.name)
    if sizes is None:
        raise CtmarError(f"a raw file's name must end in its sizes, such as _900x1000.raw, got {path.name}")
    shape = [int(n) for n in sizes[1].split("x")][::-1]
    wanted, got = 4 * int(np.prod(shape)), path.stat().st_size
    if got != wanted:
        raise CtmarError(f"{path.name} must hold {wanted} bytes, as its name says, got {got}")
    values = np.fromfile(path, "<f4").astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise CtmarError(f"{path.name} must hold finite values, got NaN or infinite ones")
    return values[0] if len(shape) == 3 and shape[0] == 1 else values


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(f"**/{pattern}"))
    if len(found) != 1:
        raise CtmarError(f"one file must be named {pattern} under {root}, got {len(found)}")
    return found[0]


def _fields(path: Path, shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Fields of an HDF5 file as float32, each of its shape."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            read = {name: np.asarray(file[name][()], np.float32) for name in shapes if name in file}
    except OSError as error:
        raise CtmarError(f"{path} must be an HDF5 file: {error}") from error
    for name, shape in shapes.items():
        if name not in read or read[name].shape != shape:
            got = read[name].shape if name in read else "nothing"
            raise CtmarError(f"{path} must hold {name} of {shape}, got {got}")
    return {name: torch.from_numpy(values) for name, values in read.items()}
