"""Small studies that are as odd as real ones, and what should come of them (:mod:`tests.scans.structure`)."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.scans.dicom_maker import ct_slice

PIXELS = 40
SECRETS = ("SMITH", "SECRET", "Nobody", "19700101", "Quincy")
IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyInstanceUID", "FrameOfReferenceUID"),
)
PLACE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
)


@dataclass
class Study:
    """A study to be, and what should come of it.

    Attributes:
        rng: Of its seed.
        slices: Datasets of the series, in order, with their HU beside.
        hu: ``(slice, row, column)``.
        others: Further files by name: datasets, or bytes.
        after: What is done to the bytes of each file of the series.
        expected: How many slices come out; None for as many as there are.
        refused: Whether it must be refused; None for either.
        series: What ``--series`` is given.
        also: What ``--also`` is given.
        said: Each must be found in what is said.
        raws: Elements to be set to bytes: keyword, value, and the slice or None for all.
        names: Of files, where they have another than their number.
        stored: Stored values of each slice.
        zipped: Whether it comes as a zip.
        padding: Where padding is.
        metal: Whether there is some to be found.
        steel: Where it is.
    """

    rng: np.random.Generator
    slices: list[Dataset]
    hu: np.ndarray
    others: dict[str, Any] = field(default_factory=dict)
    after: list[Callable[[bytes], bytes]] = field(default_factory=list)
    expected: int | None = None
    refused: bool | None = False
    series: str | None = None
    also: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)
    raws: list[tuple[str, bytes, int | None]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    stored: list[np.ndarray] = field(default_factory=list)
    zipped: bool = False
    padding: np.ndarray | None = None
    metal: bool = True
    steel: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def each(self, **values: Any) -> None:
        """Sets attributes of each slice."""
        for dataset in self.slices:
            for name, value in values.items():
                setattr(dataset, name, value)

    def raw(self, keyword: str, value: bytes, index: int | None = None) -> None:
        """Sets an element to bytes that no library would write; of one slice or of all."""
        self.raws.append((keyword, value, index))

    def store(self, hu: np.ndarray, bits: int = 16, signed: bool = True, intercept: int = 0) -> None:
        """Stores other values."""
        self.stored = []
        for dataset, image in zip(self.slices, hu, strict=True):
            dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
            dataset.RescaleIntercept = intercept
            values = np.rint(image - intercept).astype("<i2" if signed else "<u2")
            dataset.PixelData = values.tobytes()
            self.stored.append(values)


def study(rng: np.random.Generator) -> Study:
    """A plain one: three to five slices, a body with noise, metal in some."""
    count = int(rng.integers(3, 6))
    c = np.arange(PIXELS) - (PIXELS - 1) / 2
    radius = np.hypot(c[:, None], c[None])
    hu = np.where(radius < 16, 40.0, -1000.0) + rng.normal(0, 9, (count, PIXELS, PIXELS)).round()
    for index in range(1, count - 1):
        x, y = rng.uniform(-7, 7, 2)
        rod = np.hypot(c[:, None] - x, c[None] - y)
        hu[index] = np.where(rod < 2.6, 5000, np.where(rod < 3.4, 900, hu[index]))
    made = Study(rng, [ct_slice(image.clip(-1024, 3071), k) for k, image in enumerate(hu)], hu)
    made.steel = hu > 3000
    made.store(hu.clip(-1024, 3071), 12, False, -1024)
    made.each(PatientName="SMITH^Quincy", PatientID="SECRET-7")
    return made


def malformed_identity(s: Study) -> None:
    """Patient and study as they are typed in."""
    keyword = str(s.rng.choice(IDENTITY[:9]))
    values = [b"SMITH JOHN", b"1970-13-77", b"SECRET\\SMITH", b"Quincy\xff\xfe", b"SMITH" * 30, b"", b"\0\0"]
    s.raw(keyword, values[int(s.rng.integers(len(values)))])
    if s.rng.integers(2):
        s.also = ("seg",)


def missing_identity(s: Study) -> None:
    """An attribute of type 2 that is not there."""
    for dataset in s.slices:
        dataset.pop(str(s.rng.choice(IDENTITY[:9])), None)
    _same_owner(s)
    s.also = ("seg",)


def _same_owner(s: Study) -> None:
    first = s.slices[0]
    for dataset in s.slices[1:]:
        for keyword in IDENTITY:
            if keyword in first:
                dataset[keyword] = first[keyword]
            else:
                dataset.pop(keyword, None)


def odd_number(s: Study) -> None:
    """Numbers that are none, where nothing rests on them."""
    keyword = str(
        s.rng.choice(["InstanceNumber", "SeriesNumber", "AcquisitionNumber", "SliceThickness", "KVP"])
    )
    s.raw(keyword, bytes(s.rng.choice([b"IM1 ", b"3A", b"1.5 ", b"x ", b"99999999999 ", b"-"])))


def needed_number(s: Study) -> None:
    """A number that is needed and none: one line that names the element."""
    keyword = str(s.rng.choice(["PixelSpacing", "RescaleSlope", "RescaleIntercept"]))
    s.raw(keyword, bytes(s.rng.choice([b"wide", b"1,5 ", b"nan ", b""])), 1)
    s.refused, s.said = True, [keyword]


def other_order(s: Study) -> None:
    """Files in another order than slices."""
    order = s.rng.permutation(len(s.slices))
    s.names = {number: f"f{place:02d}" for number, place in enumerate(order)}


def copies(s: Study) -> None:
    """Some slices twice, byte by byte or under another UID."""
    for number in s.rng.choice(len(s.slices), 2, replace=False):
        copy = _copied(s.slices[number])
        if s.rng.integers(2):
            copy.SOPInstanceUID = f"1.2.3.{number}"
        s.others[f"copy{number}"] = copy
    s.expected, s.said = len(s.slices), ["2 copies of slices left out"]


def one_uid(s: Study) -> None:
    """All slices under one UID."""
    s.each(SOPInstanceUID="1.2.3.4")


def other_patient(s: Study) -> None:
    """Another patient, study, kernel or geometry under the same UIDs: never mixed."""
    key, value = [
        ("PatientID", "SECRET-8"),
        ("PatientBirthDate", "19700202"),
        ("StudyInstanceUID", "1.2.9"),
        ("ConvolutionKernel", "B70"),
        ("PixelSpacing", [1.7, 1.7]),
        ("FrameOfReferenceUID", "1.2.8"),
    ][int(s.rng.integers(6))]
    if s.rng.integers(2):
        s.each(SeriesInstanceUID="", StudyInstanceUID="")
        value = "SECRET-9" if key == "StudyInstanceUID" else value
        key = "AccessionNumber" if key == "StudyInstanceUID" else key
    for number in range(2):
        theirs = _copied(s.slices[number])
        setattr(theirs, key, value)
        theirs.SOPInstanceUID = f"1.2.3.{number}"
        s.others[f"theirs{number}"] = theirs
    s.expected = len(s.slices)
    if s.rng.integers(2):
        s.series = "3.1"
    else:
        s.refused = True


def other_series(s: Study) -> None:
    """A series of its own that cannot be taken: only it may refuse."""
    theirs = _copied(s.slices[0])
    theirs.SeriesInstanceUID, theirs.SeriesNumber, theirs.SOPInstanceUID = "1.2.77", 5, "1.2.78"
    kind = int(s.rng.integers(4))
    if kind == 0:
        theirs.SamplesPerPixel = 3
    elif kind == 1:
        del theirs.RescaleSlope
    elif kind == 2:
        del theirs.PixelData
    else:
        theirs.PhotometricInterpretation = "MONOCHROME1"
    s.others["deep/other"] = theirs
    s.series, s.expected = "3", len(s.slices)


def bystanders(s: Study) -> None:
    """Localizers, captures, text, structured reports, empty files."""
    localizer, capture = _copied(s.slices[0]), _copied(s.slices[0])
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    s.others |= {"a": localizer, "b": capture, "c.txt": b"SMITH was here", "d": b"", "e": bytes(200)}
    s.expected = len(s.slices)


def unique_uids(s: Study) -> None:
    """A series UID for each slice, taken as one on request."""
    for number, dataset in enumerate(s.slices):
        dataset.SeriesInstanceUID = f"1.2.3.{number}"
    if s.rng.integers(2):
        s.series = "3.all"
    else:
        s.refused, s.said = True, ["3.all"]


def ceiling(s: Study) -> None:
    """Values cut off anywhere above bone."""
    s.store(s.hu.clip(-1024, int(s.rng.choice([1500, 1700, 2047, 2300, 2499, 2600, 3071]))))


def overflow(s: Study) -> None:
    """The middle of metal at the lowest value."""
    from scipy import ndimage

    lowest = int(s.rng.choice([-1024, -2048, -32768]))
    core = np.stack([ndimage.binary_erosion(image > 3000) for image in s.hu])
    s.store(np.where(core, lowest, s.hu))
    s.said = ["impossible values"]


def padding(s: Study) -> None:
    """Padding outside of a circle, of any value, declared in any way, or evident."""
    c = np.arange(PIXELS) - (PIXELS - 1) / 2
    outside = np.hypot(c[:, None], c[None]) > 18.5
    value = int(s.rng.choice([-1024, -1000, -1500, -2000, -2048, -3024, -32768, 0, 3071, 32767]))
    s.store(np.where(outside, value, s.hu.clip(-1023, 3071)))
    s.padding = outside
    kind = int(s.rng.integers(3))
    for dataset in s.slices:
        if kind == 1:
            dataset.add_new("PixelPaddingValue", "SS", value)
        elif kind == 2:
            dataset.add_new("PixelPaddingValue", "SS", max(value - 1, -32768))
            dataset.add_new("PixelPaddingRangeLimit", "SS", value)


def beyond_bits(s: Study) -> None:
    """Values beyond BitsStored: refused, unless they fit."""
    signed = bool(s.rng.integers(2))
    s.store(np.where(s.hu > 3000, 4500, s.hu.clip(-1024, None)), 16, signed, 0 if signed else -1024)
    s.each(BitsStored=12, HighBit=11)
    s.refused, s.said = True, ["BitsStored"]


def overlay(s: Study) -> None:
    """An overlay in the bits above."""
    bit = int(s.rng.integers(12, 16))
    drawn = (s.rng.random((PIXELS, PIXELS)) < 0.2).astype("<u2") << bit
    for dataset in s.slices:
        values = np.frombuffer(dataset.PixelData, "<u2").reshape(PIXELS, PIXELS) | drawn
        dataset.PixelData = values.astype("<u2").tobytes()
        for tag, vr, value in ((0x60000100, "US", 16), (0x60000102, "US", bit), (0x60000040, "CS", "G")):
            dataset.add_new(tag, vr, value)
    s.stored = [values | drawn for values in s.stored]


def tilted(s: Study) -> None:
    """A tilted gantry, jitter in the orientation, missing slices, uneven steps: handled one by one."""
    kind = int(s.rng.integers(4))
    for number, dataset in enumerate(s.slices):
        if kind == 0:
            angle = np.radians(15)
            dataset.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle))]
        elif kind == 1:
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, float(s.rng.normal(0, 2e-5))]
        elif kind == 2:
            dataset.ImagePositionPatient = [-100, -100, 2.0 * number + (4 if number > 1 else 0)]
        else:
            dataset.ImagePositionPatient = [-100, -100, 2.0 * number + 0.3 * (number % 2)]
    if kind in (0, 2, 3) and s.rng.integers(2):
        s.also, s.refused, s.said = ("difference",), True, ["leave out --also difference"]


def encodings(s: Study) -> None:
    """Any transfer syntax that is read."""
    syntax = [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless][
        int(s.rng.integers(4))
    ]
    for dataset in s.slices:
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        if syntax == RLELossless:
            dataset.compress(syntax)
        dataset.file_meta.TransferSyntaxUID = syntax


def bare(s: Study) -> None:
    """Without preamble, without a transfer syntax, with bytes behind."""

    def without_syntax(data: bytes) -> bytes:
        at = data.index(b"\2\0\x10\0UI")
        return data[:at] + data[at + 8 + int.from_bytes(data[at + 6 : at + 8], "little") :]

    s.after.append(
        [without_syntax, lambda data: data[132:], lambda data: data + bytes(64)][int(s.rng.integers(3))]
    )


def charset(s: Study) -> None:
    """Text that does not fit the declared character set."""
    s.each(SpecificCharacterSet=str(s.rng.choice(["ISO_IR 192", "ISO_IR 100", "ISO_IR 6"])))
    s.raw("PatientName", bytes(s.rng.choice([b"SMITH^J\xf6rg", b"SMITH\xc3\xa4", b"\xff\xfeSMITH "])))
    s.raw("StudyDescription", b"Gr\xf6\xdfe ")


def private(s: Study) -> None:
    """Private elements, nested sequences, curves of the vendor."""
    for dataset in s.slices:
        inner = Dataset()
        inner.PixelSpacing, inner.RescaleSlope, inner.PatientName = [9, 9], 7, "SMITH"
        block = dataset.private_block(0x0029, "VENDOR", create=True)
        block.add_new(1, "SQ", Sequence([inner, Dataset()]))
        block.add_new(2, "OB", s.rng.bytes(2 * int(s.rng.integers(1, 40))))
        dataset.ReferencedStudySequence = Sequence([])


def zipped(s: Study) -> None:
    """In a zip, under names of their own or all under one."""
    s.zipped = True
    if s.rng.integers(2):
        s.names = dict.fromkeys(range(len(s.slices)), "IM")


def scale(s: Study) -> None:
    """Another scale than HU: refused."""
    kind = int(s.rng.integers(3))
    images = [s.hu - 1024, s.hu + 1024, np.where(s.hu < -900, 0, s.hu + 1100)]
    s.store(images[kind].clip(-32000, 32000))
    s.refused, s.said = True, ["must be in HU"]


def without_metal(s: Study) -> None:
    """Nothing to correct: all as it was."""
    s.store(s.hu.clip(-1024, 700), 12, False, -1024)
    s.metal = False


MUTATIONS = (
    *(malformed_identity, missing_identity, odd_number, needed_number, other_order, copies, one_uid),
    *(other_patient, other_series, bystanders, unique_uids, ceiling, overflow, padding, beyond_bits),
    *(overlay, tilted, encodings, bare, charset, private, zipped, scale, without_metal),
)
GENTLE = (other_order, charset, private, bystanders, zipped)
"""Do not alter what should come of another change."""


def _copied(dataset: Dataset) -> Dataset:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)
