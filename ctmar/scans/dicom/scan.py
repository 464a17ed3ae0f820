"""A DICOM series as a scan: read slice by slice, written as a derived series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.dicom.copies import without_copies
from ctmar.scans.dicom.derive import Identity, derive
from ctmar.scans.dicom.elements import PIXEL_DATA, Element, read_elements, write_elements
from ctmar.scans.dicom.files import File, naming, quiet_pydicom
from ctmar.scans.dicom.headers import Header
from ctmar.scans.dicom.images import Images
from ctmar.scans.dicom.parts import by_name, choose
from ctmar.scans.dicom.pixels import pixel_type
from ctmar.scans.dicom.reading import read_dataset
from ctmar.scans.dicom.series import Read, in_order, read_all
from ctmar.scans.stack import Derivation, Frame, Sink
from ctmar.stored.corrected import Corrected, Image


class DicomScan:
    """One CT series.

    Args:
        files: Where to look for it.
        series: Its name, number or UID, where the files hold several.
        read: What the files hold, where their headers have been read.

    Raises:
        CtmarError: No series, several, or one that cannot be handled.
    """

    is_dicom = True

    def __init__(self, files: Sequence[File], series: str | None = None, read: Read | None = None) -> None:
        quiet_pydicom()
        self.images = Images()
        headers, faults, left_out = read or read_all(files)
        contents = by_name(headers, faults)
        slices, self.notes = without_copies(choose(contents, series, left_out), self.images.hu)
        self.headers, self.places_mm, notes = in_order(slices)
        self.notes += notes
        if contents.unknown:
            left_out = left_out.copy()
            left_out["cannot be read, and may be of any series"] = len(contents.unknown)
        self.notes += [f"{count} files left out: {why}" for why, count in sorted(left_out.items())]
        first = self.headers[0]
        self.name = first.name
        if not first.series:
            self.notes.append("no SeriesInstanceUID: taken as one series")
        if len({header.series for header in self.headers}) > 1:
            self.notes.append("several SeriesInstanceUID: taken as one series, as asked for")
        if len({header.frame is None for header in self.headers}) > 1:
            raise CtmarError(f"{first.name}: a series must be of single slices or one multi-frame file")
        if first.frame is not None and len({header.path for header in self.headers}) > 1:
            raise CtmarError(f"{first.name}: a multi-frame series must be one file, got several")
        self.shape, self.spacing_mm = first.shape, first.spacing_mm

    def read(self, index: int) -> Image:
        """A slice in HU, declared padding far below all else."""
        return self.images.hu(self.headers[index])

    def stored(self, index: int) -> NDArray[np.integer]:
        """Stored values of a slice."""
        return self.images.stored(self.headers[index])

    def frame(self) -> Frame:
        """Where the slices lie, as if evenly along their normal."""
        first = self.headers[0]
        axes = _axes(first)
        step = (self.places_mm[-1] - self.places_mm[0]) / max(len(self.places_mm) - 1, 1)
        spacing = (self.spacing_mm[1], self.spacing_mm[0], step or 1.0)
        return first.position or (0.0, 0.0, 0.0), spacing, tuple(axes.ravel())

    def astray_mm(self) -> float:
        """How far a slice at most lies from where :meth:`frame` has it."""
        first, positions = self.headers[0], [header.position for header in self.headers]
        origin, spacing, _ = self.frame()
        if any(position is None for position in positions):
            return 0.0
        along = np.arange(len(positions))[:, None] * spacing[2] * _axes(first)[:, 2]
        away = np.asarray(positions, np.float64) - np.asarray(origin) - along
        return float(np.linalg.norm(away, axis=1).max())

    def sink(self, folder: Path, derivation: Derivation) -> Sink:
        """Files of the derived series in ``folder``."""
        identity = Identity(derivation, self.headers[0].series)
        if self.headers[0].frame is None:
            return _Slices(self, folder, identity)
        return _Frames(self, folder, identity)

    def as_stored(self, index: int, corrected: Corrected) -> NDArray[np.integer]:
        """Stored values of a corrected slice: whole, within the stored bits, as they were where kept."""
        return self.images.as_stored(self.headers[index], corrected)


class _Slices:
    """A file a slice."""

    def __init__(self, scan: DicomScan, folder: Path, identity: Identity) -> None:
        self.scan, self.folder, self.identity = scan, folder, identity

    def write(self, index: int, corrected: Corrected) -> None:
        """Writes ``ct_NNNN.dcm``."""
        header = self.scan.headers[index]
        values = self.scan.as_stored(index, corrected)
        with naming(header.name):
            _write(header, values, self.identity, self.folder / f"ct_{index + 1:04d}.dcm")

    def finish(self) -> None:
        """Nothing is left to do."""


class _Frames:
    """One file for all; its pixels are held until the last slice."""

    def __init__(self, scan: DicomScan, folder: Path, identity: Identity) -> None:
        self.scan, self.folder, self.identity = scan, folder, identity
        self.header: Header = scan.headers[0]
        dataset = scan.images.dataset(self.header.file)
        self.pixels = np.empty((len(scan.headers), *scan.shape), pixel_type(dataset))

    def write(self, index: int, corrected: Corrected) -> None:
        """Keeps a slice at its frame's place."""
        frame = self.scan.headers[index].frame
        self.pixels[frame] = self.scan.as_stored(index, corrected)

    def finish(self) -> None:
        """Writes ``ct.dcm``."""
        self.scan.images.dataset.cache_clear()  # its pixels, not needed any more, are as many again
        with naming(self.header.name):
            _write(self.header, self.pixels, self.identity, self.folder / "ct.dcm")


def _axes(header: Header) -> NDArray[np.float64]:
    """The directions of columns, rows and slices, one a column."""
    along = np.reshape(np.asarray(header.orientation or (1, 0, 0, 0, 1, 0)), (2, 3))
    return np.stack([along[0], along[1], np.cross(along[0], along[1])], axis=1)


def _write(source: Header, pixels: NDArray[np.integer], identity: Identity, path: Path) -> None:
    """Writes the image derived from ``source``, uncompressed, with explicit VR and little-endian."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset: Any = read_dataset(source.path)
    elements = read_elements(source.path, dataset, source.name)
    meta = FileMetaDataset()
    kind, instance = derive(elements, dataset, identity)
    meta.MediaStorageSOPClassUID = UID(kind)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    elements[PIXEL_DATA] = Element("OW", encoded + b"\0" * (len(encoded) % 2))
    write_elements(elements, meta, path)
