"""What is not meant to change leaves as the bytes that came, at any depth and in any encoding."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ctmar.clinical.job import Request, correct_file
from ctmar.scans.dicom.derive import shortened
from ctmar.stored.methods import STORED
from tests.scans.dicom_maker import ct_slice, write
from tests.scans.test_dicom import enhanced, transcoded

CHANGED = {
    *("ImageType", "InstanceCreationDate", "InstanceCreationTime", "SOPInstanceUID", "SeriesDate"),
    *("ContentDate", "SeriesTime", "ContentTime", "SeriesDescription", "DerivationDescription"),
    *("SourceImageSequence", "DerivationCodeSequence", "SeriesInstanceUID", "SeriesNumber", "PixelData"),
    *("ContributingEquipmentSequence", "DerivationImageSequence", "SourceImageEvidenceSequence"),
    *("ReferencedSeriesSequence", "CodingSchemeIdentificationSequence"),
    *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "FrameVOILUTSequence"),
    "FrameType",
}
NUMBERS = ("AT", "US", "SS", "UL", "SL", "FL", "FD", "OW", "OF")
PRIVATE, CREATOR = 0x00091000, 0x00090010
TEXTS = {
    b"[name latin]": b"M\xfcller^J\xf6rg",
    b"[id latin]": b"P\xc4T-12345",
    b"[kanji of three groups and no others]": b"Y^T=\x1b$B;3ED\x1b(B^\x1b$B=@B@\x1b(B=abcd",
    b"[utf-8]": "Größ".encode(),
    b"[private]": b"\xff\xfe\x80 \x1b$)",
    b"[inside]": b"\xd0\xcb\xc9 \xc4\x9d",
    b"7.50000": b"3,5",
    b"20991231": b"31.12.99",
    b"1.2.3.4.5.6": b"1.02.x.5\0\0",
}
"""Placeholders of the fixture, and what takes their places: text that does not fit, and what is no number."""


@pytest.fixture(scope="module")
def image(with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    return with_rods[0].clip(-1024, 3071)


def odd(dataset: Dataset) -> Dataset:
    """With text, and numbers of every size, in every kind of place that a file has."""
    dataset.PatientName, dataset.PatientID = "[name latin]", "[id latin]"
    dataset.OtherPatientNames = "[kanji of three groups and no others]"
    dataset.PatientComments = "[utf-8]"
    dataset.PatientWeight, dataset.AcquisitionDate = "7.50000", "20991231"
    dataset.IrradiationEventUID = "1.2.3.4.5.6"
    dataset.add_new(CREATOR, "LO", "Somebody")
    dataset.add_new(PRIVATE, "UN", b"[private]")
    dataset.FrameIncrementPointer, dataset.ReferencePixelX0 = 0x00181063, -70000
    dataset.TableFeedPerRotation, dataset.RecommendedDisplayFrameRateInFloat = 1.25, 2.5
    dataset.add_new("PixelPaddingValue", "US", 258)
    inner, code, private = Dataset(), Dataset(), Dataset()
    code.CodeMeaning = private.PatientComments = "[inside]"
    inner.SpecificCharacterSet = "ISO_IR 144"
    inner.RequestedProcedureDescription, inner.RequestedProcedureCodeSequence = "[inside]", [code]
    inner.add_new("PixelPaddingValue", "US", 772)
    dataset.RequestAttributesSequence = [inner]
    dataset.add_new(PRIVATE + 1, "SQ", [private])
    equipment = Dataset()
    equipment.Manufacturer = "[inside]"
    dataset.ContributingEquipmentSequence = [equipment]
    return dataset


def with_texts(path: Path) -> None:
    """Puts bytes that nothing would encode into the places that the fixture has for them."""
    data = path.read_bytes()
    start = data.index(b"DICM")
    deflated = DeflatedExplicitVRLittleEndian.encode() in data[:400]
    if deflated:
        start = 144 + int.from_bytes(data[140:144], "little")
        head, data = data[:start], zlib.decompress(data[start:], -zlib.MAX_WBITS)
    for place, text in TEXTS.items():
        assert place in data
        data = data.replace(place, text.ljust(len(place)))
    if deflated:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = head + packer.compress(data) + packer.flush()
    path.write_bytes(data)


def leaves(dataset: Dataset, *at: int) -> dict[tuple[int, ...], Any]:
    """Values by their places: bytes, but numbers as numbers, and character sets, which pydicom decodes."""
    found: dict[tuple[int, ...], Any] = {}
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR or (dictionary_VR(tag) if not tag.is_private else "UN")
        if keyword_for_tag(tag) in CHANGED or tag.element == 0:
            continue
        if vr == "SQ":
            for number, item in enumerate(dataset[tag].value):
                found |= leaves(item, *at, int(tag), number)
        elif not element.is_raw or tag == CREATOR or vr in NUMBERS or "US" in vr:
            found[*at, int(tag)] = dataset[tag].value or b""
        else:
            found[*at, int(tag)] = element.value or b""
    return found


def corrected(source: Path, output: Path) -> list[Path]:
    correct_file(source, output, lambda clipped: STORED["li"], Request(), lambda line: None)
    return sorted(output.glob("*.dcm"))


def plain(dataset: Dataset, index: int) -> None:
    """As it is made."""


def in_latin(dataset: Dataset, index: int) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"


def undeclared(dataset: Dataset, index: int) -> None:
    del dataset.SpecificCharacterSet


def unknown(dataset: Dataset, index: int) -> None:
    dataset.add_new("SpecificCharacterSet", "CS", "ISO_IR 999")


def with_escapes(dataset: Dataset, index: int) -> None:
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87", "ISO 2022 IR 149"]


KINDS: dict[str, Callable[[Dataset, int], Any]] = {
    "UTF-8 declared": plain,
    "Latin-1 declared": in_latin,
    "no set declared": undeclared,
    "no such set": unknown,
    "several sets": with_escapes,
    "implicit": transcoded(ImplicitVRLittleEndian),
    "big endian": transcoded(ExplicitVRBigEndian),
    "deflated": transcoded(DeflatedExplicitVRLittleEndian),
    "RLE": transcoded(RLELossless),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_text_that_does_not_fit_its_character_set_stays(kind: str, image: np.ndarray, tmp_path: Path) -> None:
    dataset = odd(ct_slice(image))
    KINDS[kind](dataset, 0)
    (tmp_path / "in").mkdir()
    write(dataset, tmp_path / "in" / "a.dcm")
    with_texts(tmp_path / "in" / "a.dcm")
    before = pydicom.dcmread(tmp_path / "in" / "a.dcm")
    after = pydicom.dcmread(corrected(tmp_path / "in", tmp_path / "out")[0])
    old, new = leaves(before), leaves(after)
    assert len(old) > 40 and old == {place: value for place, value in new.items() if place in old}
    assert after.get_item("PatientID").value == b"P\xc4T-12345 "
    equipment = after.ContributingEquipmentSequence
    assert equipment[0].get_item("Manufacturer").value == b"\xd0\xcb\xc9 \xc4\x9d  "
    assert equipment[1].Manufacturer == "ctmar"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_text_of_an_enhanced_file_stays(syntax: Any, image: np.ndarray, tmp_path: Path) -> None:
    dataset = odd(enhanced(np.stack([image, image])))
    note = Dataset()
    note.FrameComments = "[inside]"
    dataset.PerFrameFunctionalGroupsSequence[1].FrameContentSequence = [note]
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    write(dataset, tmp_path / "in.dcm")
    with_texts(tmp_path / "in.dcm")
    before = leaves(pydicom.dcmread(tmp_path / "in.dcm"))
    (result,) = corrected(tmp_path / "in.dcm", tmp_path / "out")
    after = leaves(pydicom.dcmread(result))
    assert before.items() <= after.items()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"W\xfcrzburg ", b"W\xfcrzburg MAR li"),
        ("脊椎".encode(), "脊椎 MAR li".encode()),
        (b"\x1b$B;3ED", b"\x1b$B;3ED\x1b(B MAR li"),
        (b"x" * 64, b"x" * 57 + b" MAR li"),
        (b"\xfc" * 20 + b" " + b"\xfc" * 43, b"\xfc" * 20 + b" MAR li"),
        (b"", b"CT MAR li"),
    ],
)
def test_a_description_is_continued_not_encoded_again(
    old: bytes, new: bytes, image: np.ndarray, tmp_path: Path
) -> None:
    dataset = ct_slice(image)
    size = len(old) + len(old) % 2
    dataset.SeriesDescription = "#" * size
    (tmp_path / "in").mkdir()
    write(dataset, tmp_path / "in" / "a.dcm")
    data = (tmp_path / "in" / "a.dcm").read_bytes()
    if old:
        data = data.replace(b"#" * size, old.ljust(size))
    (tmp_path / "in" / "a.dcm").write_bytes(data)
    (result,) = corrected(tmp_path / "in", tmp_path / "out")
    assert pydicom.dcmread(result).get_item("SeriesDescription").value.rstrip() == new


def test_a_text_is_shortened_between_characters() -> None:
    assert shortened(b"abcdef", 4) == b"abcd"
    assert shortened("äö üx".encode(), 6) == "äö".encode()
    assert shortened("äöü".encode(), 3) == b""


def test_lengths_that_are_left_open_stay_readable(image: np.ndarray, tmp_path: Path) -> None:
    """Sequences and items whose ends are marked, one of an unknown VR, in the middle of the file."""
    dataset = odd(ct_slice(image))
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.RequestAttributesSequence[0].is_undefined_length_sequence_item = True
    dataset.RequestAttributesSequence[0]["RequestedProcedureCodeSequence"].is_undefined_length = True
    (tmp_path / "in").mkdir()
    write(dataset, tmp_path / "in" / "a.dcm")
    with_texts(tmp_path / "in" / "a.dcm")
    path = tmp_path / "in" / "a.dcm"
    item = b"\x10\0\x10\0" + (4).to_bytes(4, "little") + b"\xc4bc "
    unknown_sequence = (
        b"\x09\0\x02\x10UN\0\0\xff\xff\xff\xff"
        + b"\xfe\xff\0\xe0"
        + len(item).to_bytes(4, "little")
        + item
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    at = path.read_bytes().index(b"\x10\0\x10\0PN")
    path.write_bytes(path.read_bytes()[:at] + unknown_sequence + path.read_bytes()[at:])
    (result,) = corrected(tmp_path / "in", tmp_path / "out")
    assert unknown_sequence in result.read_bytes()
    before, after = (leaves(pydicom.dcmread(one)) for one in (path, result))
    assert (PRIVATE + 2, 0, 0x00100010) in before
    assert before.items() <= after.items()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["UTF-8 declared", "no set declared", "several sets"])
def test_a_segmentation_has_the_patient_of_its_source(kind: str, image: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    dataset = ct_slice(image)
    dataset.PatientName, dataset.PatientID = "[name latin]", "[id latin]"
    dataset.PatientComments = "[inside]"
    KINDS[kind](dataset, 0)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.dcm"
    write(dataset, path)
    for place in (b"[name latin]", b"[id latin]", b"[inside]"):
        path.write_bytes(path.read_bytes().replace(place, TEXTS[place].ljust(len(place))))
    request = Request(also=("seg",))
    correct_file(tmp_path / "in", tmp_path / "out", lambda clipped: STORED["li"], request, lambda line: None)
    before, after = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "out" / "metal_seg.dcm")
    for name in ("PatientName", "PatientID", "PatientComments", "StudyInstanceUID", "StudyDescription"):
        assert after.get_item(name).value == before.get_item(name).value, name
    assert after.get("SpecificCharacterSet") == before.get("SpecificCharacterSet")
    assert after.pixel_array.any() and after.SegmentSequence[0].SegmentLabel == "Metal"
