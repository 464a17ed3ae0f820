"""Synthesised DeepLesion (Yu et al. 2020), as ``hongwang01/SynDeepLesion`` and ``InDuDoNet`` lay it out.

A folder a slice, ``train_640geo/PATIENT/SLICE``, in it ``gt.h5`` with ``image`` (1/cm), ``poly_CT`` and
``poly_sinogram`` (the acquisition without metal), and ``0.h5`` … with ``ma_CT``, ``ma_sinogram``,
``LI_CT``, ``LI_sinogram`` and ``metal_trace``; 416² pixels, 640 views of 641 bins, water 0.192/cm. The
metals lie beside ``train_640geo`` in ``trainmask.npy`` and beside ``test_640geo`` in ``testmask.npy``, 512
× 512 × their number, uint8. Held against one real slice.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ctmar.data import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam
from ctmar.pairs.published.case import FieldCase
from ctmar.pairs.published.cases import PairedFiles, PublishedFiles
from ctmar.pairs.published.files import NumberedSlices

WATER = 0.192
"""Attenuation of water in 1/cm that the images of DeepLesion's sets are scaled by."""
SHRINK = 400 / 153.6
"""Times that their world is smaller than the patients."""
IMAGE, SINOGRAM, MASK = (416, 416), (640, 641), (512, 512)
QUARTER_TURN = 160
"""Views by which the set's sinograms lie behind its images: to ODL, which made them, rows run along x."""
MASKS = ("trainmask.npy", "testmask.npy")


class SynDeepLesionFiles(NumberedSlices):
    """The set's files; see the module and :class:`NumberedSlices`."""

    title, option, suffix = "Synthesised DeepLesion", "syndeeplesion", ".h5"
    shape, pixel_mm, rays = IMAGE, 400 / 416, SINOGRAM
    shrink, mu_water = SHRINK, WATER / 10
    images, ceiling = ("ma_CT", "LI_CT", "poly_CT"), "poly_CT"

    def read(self, name: str, metal: int) -> FieldCase:
        """A slice with one of its metals."""
        return read_syndeeplesion(self.folders[name], metal)


class SynDeepLesion(PublishedFiles):
    """Its cases for the benchmark; arguments as :class:`PublishedFiles` and :class:`NumberedSlices`."""

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | None,
        root: str | PathLike[str],
        masks: list[int] | None = None,
    ) -> None:
        super().__init__(setup, acquisition, SynDeepLesionFiles(root, masks))


class PairedSynDeepLesion(PairedFiles):
    """Its cases to train on; arguments as :class:`PairedFiles` and :class:`NumberedSlices`."""

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
        super().__init__(setup, acquisition, SynDeepLesionFiles(root, masks), drawn, splits, shrink)


def read_syndeeplesion(folder: Path, mask: int) -> FieldCase:
    """A slice with one of its metals.

    Images lie as in the files, which show the patient upright. Sinograms are turned to fit them: they begin
    with the view that is a quarter turn on in the file.

    Args:
        folder: Of the slice.
        mask: Number of the metal: reads ``{mask}.h5``, and the mask of that number in a ``trainmask.npy``
            or ``testmask.npy`` in a folder above, where there is one.

    Raises:
        CtmarError: A file or field that is missing, or of another shape.
    """
    of_truth, of_case = dict.fromkeys(("image", "poly_CT"), IMAGE), dict.fromkeys(("ma_CT", "LI_CT"), IMAGE)
    truth = _fields(folder / "gt.h5", of_truth, {"poly_sinogram": SINOGRAM})
    measured = dict.fromkeys(("ma_sinogram", "LI_sinogram", "metal_trace"), SINOGRAM)
    case = _fields(folder / f"{mask}.h5", of_case, measured)
    images = {name: per_cm_to_hu(image) for name, image in (case | truth).items() if image.shape == IMAGE}
    sinograms = {name: p.roll(-QUARTER_TURN, 0) for name, p in (case | truth).items() if p.shape == SINOGRAM}
    trace = sinograms.get("metal_trace")
    return FieldCase(
        name=f"{folder.parent.name}-{folder.name}-{mask}",
        measured=sinograms.get("ma_sinogram"),
        clean=sinograms.get("poly_sinogram"),
        uncorrected_hu=images["ma_CT"],
        reference_hu=images["image"],
        metal_trace=None if trace is None else trace > 0,
        metal_mask=_mask(folder, mask),
        li=sinograms.get("LI_sinogram"),
        mu_water=WATER / 10 / SHRINK,
        images={name: images[name] for name in SynDeepLesionFiles.images},
        body=f"{folder.parent.name}-{folder.name}",
    )


def per_cm_to_hu(image: Tensor) -> Tensor:
    """HU of an image in 1/cm, by the set's water."""
    return (image / WATER - 1) * 1000


def _mask(folder: Path, number: int) -> Tensor | None:
    """The metal on the set's pixels, from the nearest file of masks above a slice; None without one."""
    folder = folder.absolute()
    for child in (folder, *folder.parents[:2]):
        there = [path for path in (child.parent / name for name in MASKS) if path.is_file()]
        if there:
            own = [path for path in there if child.name.startswith(path.stem.removesuffix("mask"))]
            return _mask_in((own or there)[0], number)
    return None


def _mask_in(path: Path, number: int) -> Tensor:
    """One of a file's masks."""
    try:
        masks = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CtmarError(f"{path} must be an array of masks as numpy.save writes it: {error}") from None
    if masks.ndim != 3 or masks.shape[:2] != MASK or masks.dtype.kind not in "bui":
        raise CtmarError(f"{path} must hold bytes of (512, 512, masks), got {masks.dtype} {masks.shape}")
    if number >= masks.shape[2]:
        raise CtmarError(f"{path} must hold mask {number}, got {masks.shape[2]} masks")
    return resized_mask(torch.from_numpy(masks[..., number] != 0), IMAGE)


def resized_mask(mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """A mask as the set's users resize it: Pillow's bilinear filter on bytes, then what is not 0."""
    small = interpolate(mask.to(torch.uint8)[None, None], shape, mode="bilinear", antialias=True)
    return small[0, 0] > 0


def _fields(
    path: Path, shapes: dict[str, tuple[int, int]], together: dict[str, tuple[int, int]]
) -> dict[str, Tensor]:
    """Fields of an HDF5 file as float32, each of its shape; those of ``together`` all or none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if any(name in file for name in together):
                shapes = shapes | together
            read = {name: np.asarray(file[name][()], np.float32) for name in shapes if name in file}
    except OSError as error:
        raise CtmarError(f"{path} must be an HDF5 file: {error}") from error
    for name, shape in shapes.items():
        if name not in read or read[name].shape != shape:
            got = read[name].shape if name in read else "nothing"
            raise CtmarError(f"{path} must hold {name} of {shape}, got {got}")
    return {name: torch.from_numpy(values) for name, values in read.items()}
