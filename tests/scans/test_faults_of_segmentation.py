"""``--also seg`` of headers with attributes that are missing or malformed; nothing of the patient is said."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ctmar.jobs.cli import main
from ctmar.scans.dicom.segmentation import BLANK
from tests.scans.dicom_maker import write, write_series
from tests.scans.test_dicom import enhanced, refused
from tests.scans.test_dicom_series import setting
from tests.stored_images import body

pytest.importorskip("highdicom", reason="highdicom is not installed")
Change = Callable[[Dataset, int], Any]
NAMES = ("SMITH", "Smith", "1970-13-77", "SECRET", "Nobody")
"""What must not be found in anything that is said."""


@pytest.fixture(scope="module")
def volume(with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack([body(), with_rods[0]]).clip(-1024, 3071)


def raw(keyword: str, value: bytes) -> Change:
    """An element as no library would write it."""

    def change(dataset: Dataset, index: int) -> None:
        tag = Tag(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        dataset[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


MALFORMED: dict[str, Change] = {
    **{f"no {keyword}": lambda d, i, k=keyword: d.pop(k, None) for keyword in BLANK},
    **{f"empty {keyword}": setting(**{keyword: ""}) for keyword in BLANK},
    "birth date": raw("PatientBirthDate", b"1970-13-77"),
    "study date": raw("StudyDate", b"SMITH 12"),
    "study time": raw("StudyTime", b"SECRET10"),
    "name without carets": raw("PatientName", b"SMITH JOHN"),
    "name of six parts": raw("PatientName", b"SMITH^A^B^C^D^E^F "),
    "long identifier": raw("PatientID", b"SECRET" * 20),
    "several identifiers": raw("PatientID", b"SECRET\\SMITH"),
    "sex": raw("PatientSex", b"SMITH "),
    "age": raw("PatientAge", b"SMITH "),
    "weight": raw("PatientWeight", b"SMITH "),
    "accession number": raw("AccessionNumber", b"SECRET" * 10),
    "physician": raw("ReferringPhysicianName", b"Smith Smith Smith\xff"),
    "study UID": raw("StudyInstanceUID", b"SECRET.1"),
    "series date": raw("SeriesDate", b"SMITH 12"),
    "character set": raw("SpecificCharacterSet", b"SMITH "),
    "software": raw("SoftwareVersions", b"SMITH " * 20),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MALFORMED)
def test_whatever_is_malformed_there_is_a_segmentation(
    name: str,
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, which writes it for us
        write_series(tmp_path / "in", volume, MALFORMED[name])
    words = ["correct", tmp_path / "in", tmp_path / "out", "--method", "li", "--also", "seg"]
    monkeypatch.setattr("sys.argv", ["ctmar", *map(str, words)])
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        assert main() == 0
    said = capfd.readouterr()
    everything = said.out + said.err + caplog.text + "".join(str(one.message) for one in caught)
    for file in ("report.html", "correction.json"):
        everything += (tmp_path / "out" / file).read_text(encoding="utf-8")
    assert not any(name in everything for name in NAMES), everything[-2000:]
    source = pydicom.dcmread(tmp_path / "in" / "image_001.dcm")
    result = pydicom.dcmread(tmp_path / "out" / "metal_seg.dcm")
    for keyword in BLANK:
        if keyword in source:
            assert result.get_item(keyword).value == source.get_item(keyword).value, keyword
        else:
            assert keyword in result and not result[keyword].value, keyword
    derived = pydicom.dcmread(tmp_path / "out" / "ct_0002.dcm")
    (series,) = result.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == derived.SeriesInstanceUID
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence] == [
        derived.SOPInstanceUID
    ]
    assert result.pixel_array.any() and result.FrameOfReferenceUID == derived.FrameOfReferenceUID
    groups = result.PerFrameFunctionalGroupsSequence
    assert groups[0].PlanePositionSequence[0].ImagePositionPatient == derived.ImagePositionPatient


def multi_frame(folder: Path, volume: np.ndarray) -> str:
    write(enhanced(volume), folder / "e.dcm")
    return "e.dcm: seg needs a series of single slices, got a multi-frame file"


def legacy(folder: Path, volume: np.ndarray) -> str:
    dataset = enhanced(volume)
    kind = "1.2.840.10008.5.1.4.1.1.2.2"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    write(dataset, folder / "l.dcm")
    return "l.dcm: seg needs a series of single slices"


def without_a_place(folder: Path, volume: np.ndarray) -> str:
    write_series(folder, volume, lambda d, i: delattr(d, "ImagePositionPatient"))
    return "image_000.dcm: seg needs ImagePositionPatient, got none"


def twice_at_one_place(folder: Path, volume: np.ndarray) -> str:
    write_series(folder, volume, setting(ImagePositionPatient=[-100, -100, 0]))
    return "image_001.dcm: seg needs slices at places of their own, got that of image_000.dcm"


@pytest.mark.parametrize("make", [multi_frame, legacy, without_a_place, twice_at_one_place])
def test_what_cannot_be_segmented_is_refused_before_the_work(
    make: Callable[[Path, np.ndarray], str],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctmar.clinical.job.survey", lambda *args: pytest.fail("read"))
    (tmp_path / "in").mkdir()
    message = make(tmp_path / "in", volume)
    line = refused(tmp_path / "in", tmp_path / "out", also=("seg",))
    assert line.startswith(message) and line.endswith("leave out --also seg")
