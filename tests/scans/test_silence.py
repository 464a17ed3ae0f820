"""Not a word of the patient where others read it: a name that would be found is put into all texts."""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from ctmar.jobs import cli
from tests.scans.dicom_maker import write_series
from tests.stored_images import body, disk

SECRET = "Quincy"
TEXTS = (
    *(
        "PatientName",
        "PatientID",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientAddress",
    ),
    *("IssuerOfPatientID", "PatientComments", "AdditionalPatientHistory", "Occupation", "EthnicGroup"),
    *("AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments"),
    *("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy"),
    *(
        "InstitutionName",
        "InstitutionAddress",
        "StationName",
        "DerivationDescription",
        "PatientInsurancePlanCodeSequence",
    ),
    *("WindowCenterWidthExplanation", "RequestedProcedureDescription", "AdmittingDiagnosesDescription"),
    *("DeviceSerialNumber", "SoftwareVersions", "PatientState", "MedicalAlerts", "Allergies"),
)


def named(dataset: Dataset, index: int) -> None:
    """Puts the name into every attribute, a sequence, a private element and the names of codes."""
    for keyword in TEXTS:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        if dictionary_VR(tag) == "SQ":
            item = Dataset()
            item.CodeMeaning = item.PatientName = SECRET
            dataset.add_new(tag, "SQ", [item])
        else:
            dataset.add_new(tag, dictionary_VR(tag), SECRET)
    dataset.private_block(0x0029, SECRET, create=True).add_new(1, "LO", SECRET)
    equipment, series, image = Dataset(), Dataset(), Dataset()
    equipment.Manufacturer = equipment.InstitutionName = SECRET
    dataset.ContributingEquipmentSequence = [equipment]
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = "1.2.4", [image]
    dataset.ReferencedSeriesSequence = [series]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plain = body()
    write_series(tmp_path / "in", np.stack([plain, np.where(disk(30, 0, 6) > 0.5, 3000, plain)]), named)
    return tmp_path / "in"


def said(
    arguments: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> tuple[int, str]:
    """The exit status, and all that a run prints, logs or warns of."""
    monkeypatch.setattr(sys, "argv", ["ctmar", *map(str, arguments)])
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        status = cli.main()
    printed = capsys.readouterr()
    return status, printed.out + printed.err + caplog.text + "".join(str(one.message) for one in caught)


def test_a_run_says_nothing_of_the_patient(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("highdicom", reason="the seg extra is not installed")
    output = folder.parent / "out"
    status, looked = said(["inspect", folder], monkeypatch, capsys, caplog)
    assert status == 0 and "metal in 1 slices" in looked
    options = ["--method", "li", "--also", "seg,difference,uncertainty"]
    status, corrected = said(["correct", folder, output, *options], monkeypatch, capsys, caplog)
    assert status == 0 and "1 of 2 slices corrected" in corrected
    files = {path.name: path.read_bytes() for path in output.iterdir()}
    images = {name for name in files if name.endswith(".dcm")}
    assert {"ct_0001.dcm", "ct_0002.dcm", "metal_seg.dcm"} == images
    # It would be found: the images are the patient's.
    assert all(SECRET.encode() in files[name] for name in images)
    for text in (looked, corrected, *files, *(files[name].decode("latin-1") for name in {*files} - images)):
        assert SECRET.lower() not in text.lower()
    assert SECRET not in json.dumps(json.loads(files["correction.json"]))


def test_what_is_added_to_an_image_is_nothing_of_the_patient(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    said(["correct", folder, folder.parent / "out", "--method", "li"], monkeypatch, capsys, caplog)
    image = pydicom.dcmread(folder.parent / "out" / "ct_0001.dcm")
    own = image.ContributingEquipmentSequence[-1], image.ReferencedSeriesSequence[-1]
    codes = image.DerivationCodeSequence, image.SourceImageSequence, image.CodingSchemeIdentificationSequence
    assert image.ContributingEquipmentSequence[0].Manufacturer == SECRET
    for added in (*own, *(item for sequence in codes for item in sequence), image.DerivationDescription):
        assert str(added) and SECRET not in str(added)


BROKEN = {
    "a number": ("RescaleSlope", "Quincy", "RescaleSlope must be"),
    "a position": ("ImagePositionPatient", "Quincy", "ImagePositionPatient must be"),
    "a unit": ("RescaleType", "Quincy", "RescaleType"),
    "colours": ("PhotometricInterpretation", "QUINCY", "PhotometricInterpretation must be"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_refusal_says_nothing_of_what_stands_there(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    keyword, value, line = BROKEN[name]
    path = folder / "image_001.dcm"
    dataset = pydicom.dcmread(path)
    vr = dictionary_VR(keyword)
    dataset.add_new(keyword, "LO" if vr == "DS" else vr, value)
    dataset.save_as(path)
    data = path.read_bytes()
    tag = dataset[keyword].tag
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    path.write_bytes(data.replace(head + b"LO", head + vr.encode()))
    for arguments in (["inspect", folder], ["correct", folder, folder.parent / "out", "--method", "li"]):
        status, text = said(arguments, monkeypatch, capsys, caplog)
        assert status == 2 and line in text and SECRET.lower() not in text.lower()
    assert not (folder.parent / "out").exists()
