"""A DICOM series as a scan: read slice by slice, written as a derived series."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.dicom.copies import without_copies
from ctmar.scans.dicom.derive import Identity, derive
from ctmar.scans.dicom.elements import PIXEL_DATA, Element, read_elements, write_elements
from ctmar.scans.dicom.files import Header, naming, quiet_pydicom
from ctmar.scans.dicom.parts import choose
from ctmar.scans.dicom.pixels import pixel_type, stored_pixels
from ctmar.scans.dicom.series import in_order, read_all
from ctmar.scans.stack import Derivation, Frame, Sink
from ctmar.stored.slices import Corrected, Image

KEPT_DATASETS = 2
"""Files held in memory at a time: a single slice each, or all of a multi-frame file."""
KEPT_SLICES = 4
"""Decoded slices held at a time: one and its neighbours."""


class DicomScan:
    """One CT series.

    Args:
        files: Where to look for it.
        series: Its name, number or UID, where the files hold several.

    Raises:
        CtmarError: No series, several, or one that cannot be handled.
    """

    is_dicom = True

    def __init__(self, files: list[Path], series: str | None = None) -> None:
        quiet_pydicom()
        headers, left_out = read_all(files)
        slices, self.notes = without_copies(choose(headers, series, left_out), _image)
        self.headers, self.places_mm, notes = in_order(slices)
        self.notes += notes
        self.notes += [f"{count} files left out: {why}" for why, count in sorted(left_out.items())]
        first = self.headers[0]
        if not first.series:
            self.notes.append("no SeriesInstanceUID: taken as one series")
        if len({header.frame is None for header in self.headers}) > 1:
            raise CtmarError(f"{first.path.name}: a series must be of single slices or one multi-frame file")
        if first.frame is not None and len({header.path for header in self.headers}) > 1:
            raise CtmarError(f"{first.path.name}: a multi-frame series must be one file, got several")
        self.shape, self.spacing_mm = first.shape, first.spacing_mm

    def read(self, index: int) -> Image:
        """A slice in HU."""
        return _image(self.headers[index])

    def stored(self, index: int) -> NDArray[np.integer]:
        """Stored values of a slice."""
        header = self.headers[index]
        return _pixels(header.path, header.frame)

    def frame(self) -> Frame:
        """Where the slices lie; unevenly spaced ones as if they were evenly."""
        first = self.headers[0]
        along = np.reshape(np.asarray(first.orientation or (1, 0, 0, 0, 1, 0)), (2, 3))
        axes = np.stack([along[0], along[1], np.cross(along[0], along[1])], axis=1)
        step = (self.places_mm[-1] - self.places_mm[0]) / max(len(self.places_mm) - 1, 1)
        spacing = (self.spacing_mm[1], self.spacing_mm[0], step or 1.0)
        return first.position or (0.0, 0.0, 0.0), spacing, tuple(axes.ravel())

    def sink(self, folder: Path, derivation: Derivation) -> Sink:
        """Files of the derived series in ``folder``."""
        identity = Identity(derivation)
        if self.headers[0].frame is None:
            return _Slices(self, folder, identity)
        return _Frames(self, folder, identity)

    def as_stored(self, index: int, corrected: Corrected) -> NDArray[np.integer]:
        """Stored values of a corrected slice: whole, within the stored bits, as they were where kept."""
        header, stored = self.headers[index], self.stored(index)
        if corrected.kept.all():
            return stored
        bits = int(_dataset(header.path).BitsStored)
        lowest, highest = (
            (0, 2**bits - 1) if stored.dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        values = np.rint((corrected.image_hu.astype(np.float64) - header.intercept) / header.slope)
        return np.where(corrected.kept, stored, values.clip(lowest, highest).astype(stored.dtype))


class _Slices:
    """A file a slice."""

    def __init__(self, scan: DicomScan, folder: Path, identity: Identity) -> None:
        self.scan, self.folder, self.identity = scan, folder, identity

    def write(self, index: int, corrected: Corrected) -> None:
        """Writes ``ct_NNNN.dcm``."""
        header = self.scan.headers[index]
        values = self.scan.as_stored(index, corrected)
        with naming(header.path):
            _write(header.path, values, self.identity, self.folder / f"ct_{index + 1:04d}.dcm")

    def finish(self) -> None:
        """Nothing is left to do."""


class _Frames:
    """One file for all; its pixels are held until the last slice."""

    def __init__(self, scan: DicomScan, folder: Path, identity: Identity) -> None:
        self.scan, self.folder, self.identity = scan, folder, identity
        self.header: Header = scan.headers[0]
        dataset = _dataset(self.header.path)
        self.pixels = np.empty((len(scan.headers), *scan.shape), pixel_type(dataset))

    def write(self, index: int, corrected: Corrected) -> None:
        """Keeps a slice at its frame's place."""
        frame = self.scan.headers[index].frame
        self.pixels[frame] = self.scan.as_stored(index, corrected)

    def finish(self) -> None:
        """Writes ``ct.dcm``."""
        _dataset.cache_clear()  # its pixels, which are not needed any more, are as many again
        with naming(self.header.path):
            _write(self.header.path, self.pixels, self.identity, self.folder / "ct.dcm")


def _image(header: Header) -> Image:
    hu = _pixels(header.path, header.frame) * header.slope + header.intercept
    return np.asarray(hu, np.float32)


@lru_cache(maxsize=KEPT_DATASETS)
def _dataset(path: Path) -> Any:
    import pydicom

    with naming(path):
        return pydicom.dcmread(path)


@lru_cache(maxsize=KEPT_SLICES)
def _pixels(path: Path, frame: int | None) -> NDArray[np.integer]:
    with naming(path):
        return stored_pixels(_dataset(path), frame, path)


def _write(source: Path, pixels: NDArray[np.integer], identity: Identity, path: Path) -> None:
    """Writes the image derived from ``source``, uncompressed, with explicit VR and little-endian."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset = pydicom.dcmread(source, stop_before_pixels=True)
    elements = read_elements(source, dataset)
    meta = FileMetaDataset()
    kind, instance = derive(elements, dataset, identity)
    meta.MediaStorageSOPClassUID = UID(kind)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    elements[PIXEL_DATA] = Element("OW", encoded + b"\0" * (len(encoded) % 2))
    write_elements(elements, meta, path)
