"""DICOM in and out: what a folder can hold, what is refused, what the derived series keeps and says."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import find_files
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.opening import opened
from ctmar.stored.methods import STORED
from tests import children
from tests.scans.dicom_maker import ct_slice, pixels, write, write_series
from tests.stored_images import SPACING_MM, body

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def volume(with_rods: Scan) -> np.ndarray:
    """Four slices, metal in the second and third."""
    plain = body()
    return np.stack([plain, with_rods[0], with_rods[0], plain]).clip(-1024, 3071)


def run(source: Path, output: Path, **request: Any) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    record = correct_file(source, output, lambda clipped: STORED["nmar"], Request(**request), said.append)
    return record, said


def refused(source: Path, output: Path, **request: Any) -> str:
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    with pytest.raises(CtmarError) as caught:
        run(source, output, **request)
    assert not output.exists() and not list(output.parent.glob(".*"))
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    line = str(caught.value)
    assert "\n" not in line and "Secret" not in line and "SECRET" not in line
    return line


def test_the_derived_series_keeps_whose_it_is_and_says_what_it_is(volume: np.ndarray, tmp_path: Path) -> None:
    sources = write_series(tmp_path / "in", volume)
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices_corrected"] == 2
    results = sorted((tmp_path / "out").glob("*.dcm"))
    assert len(results) == 4 and (tmp_path / "out" / "report.html").is_file()
    old, new = ([pydicom.dcmread(path) for path in paths] for paths in (sources, results))
    kept = "PatientName PatientID StudyInstanceUID FrameOfReferenceUID ImagePositionPatient PixelSpacing Rows"
    kept += " ImageOrientationPatient RescaleSlope RescaleIntercept BitsStored PixelRepresentation"
    for name in kept.split():
        assert [a.get(name) for a in old] == [b.get(name) for b in new], name
    assert len({b.SeriesInstanceUID for b in new}) == 1
    assert not {a.SOPInstanceUID for a in old} & {b.SOPInstanceUID for b in new}
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID
    for a, b in zip(old, new, strict=True):
        assert list(b.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert b.SourceImageSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID
        assert "nmar" in b.DerivationDescription and b.DerivationCodeSequence[0].CodeValue == "113042"
        assert b.ContributingEquipmentSequence[-1].ManufacturerModelName == "ctmar"
    same = [np.array_equal(a.pixel_array, b.pixel_array) for a, b in zip(old, new, strict=True)]
    assert same == [True, False, False, True]
    everything = " ".join(said) + (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Secret" not in everything and "SECRET" not in everything


def transcoded(syntax: Any) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        if syntax.is_encapsulated:
            dataset.compress(syntax, encoding_plugin="" if syntax == RLELossless else "pyjpegls")
        dataset.file_meta.TransferSyntaxUID = syntax

    return change


def signed(dataset: Dataset, index: int) -> None:
    """16 bits with a sign, no intercept, and padding of -3024 in the corners: an extended scale."""
    hu = np.frombuffer(dataset.PixelData, "<u2").astype(np.int16).reshape(dataset.Rows, -1) - 1024
    hu[:10, :10] = hu[-10:, -10:] = -3024
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    dataset.RescaleIntercept = 0
    dataset.add_new("PixelPaddingValue", "SS", -3024)
    dataset.PixelData = hu.astype("<i2").tobytes()


def eight_bits(dataset: Dataset, index: int) -> None:
    values = np.frombuffer(dataset.PixelData, "<u2") // 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.RescaleSlope = 7, 16
    dataset.PixelData = values.astype("u1").tobytes()
    dataset["PixelData"].VR = "OB"


def blank(dataset: Dataset, index: int) -> None:
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.SOPInstanceUID = dataset.SOPClassUID = ""


def tilted(dataset: Dataset, index: int) -> None:
    angle = np.radians(15)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle))]


def moved(*z: float) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [-100, -100, z[index]]

    return change


def without_position(dataset: Dataset, index: int) -> None:
    del dataset.ImagePositionPatient


HANDLED: dict[str, tuple[Callable[[Dataset, int], Any], str]] = {
    "implicit": (transcoded(ImplicitVRLittleEndian), ""),
    "big endian": (transcoded(ExplicitVRBigEndian), ""),
    "deflated": (transcoded(DeflatedExplicitVRLittleEndian), ""),
    "RLE": (transcoded(RLELossless), ""),
    "JPEG-LS": (transcoded(JPEGLSLossless), ""),
    "signed, extended, padded": (signed, ""),
    "8 bits": (eight_bits, ""),
    "blank UIDs": (blank, "no SeriesInstanceUID"),
    "tilted gantry": (tilted, "gantry tilted by 15.0°"),
    "missing slice": (moved(0, 2, 4, 8), "1 slices missing"),
    "variable spacing": (moved(0, 2, 3.8, 5.6), "1.8 to 2 mm apart"),
    "unsorted names": (moved(6, 0, 4, 2), "sorted by position"),
    "two at one place": (moved(0, 2, 2, 4), "1 slices lie where another lies"),
    "no position": (without_position, "instance numbers"),
}


@pytest.mark.parametrize("name", HANDLED)
def test_what_is_handled_is_said_and_gives_the_same_pixels(
    name: str, volume: np.ndarray, tmp_path: Path
) -> None:
    if name == "JPEG-LS":
        pytest.importorskip("jpeg_ls", reason="pyjpegls, which would write JPEG-LS, is not installed")
    change, note = HANDLED[name]
    sources = write_series(tmp_path / "in", volume, change)
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert any(note in line for line in said)
    assert record["slices_corrected"] == 2
    by_place = {}
    for path in sorted((tmp_path / "out").glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        reference = dataset.SourceImageSequence[0].ReferencedSOPInstanceUID
        by_place[reference] = dataset.pixel_array
    assert len(by_place) == 4
    for index, path in enumerate(sources):
        source = pydicom.dcmread(path)
        instance = source.SOPInstanceUID or source.file_meta.MediaStorageSOPInstanceUID
        stored = pixels(path)
        assert np.array_equal(by_place[instance], stored) == (index in (0, 3)), index
        assert by_place[instance].dtype.kind == stored.dtype.kind


def test_every_encoding_gives_the_same_correction(volume: np.ndarray, tmp_path: Path) -> None:
    results = []
    for name in ("implicit", "big endian", "RLE"):
        write_series(tmp_path / name / "in", volume, HANDLED[name][0])
        run(tmp_path / name / "in", tmp_path / name / "out")
        results.append(pixels(tmp_path / name / "out" / "ct_0002.dcm"))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_other_objects_of_a_folder_are_left_out_and_counted(volume: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_series(folder, volume)
    (folder / "readme.txt").write_text("not DICOM", encoding="utf-8")
    capture, localizer, copy = (ct_slice(volume[1], n) for n in (7, 8, 1))
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    (folder / "deeper").mkdir()
    for dataset, name in ((capture, "capture"), (localizer, "scout"), (copy, "copy")):
        write(dataset, folder / "deeper" / name)
    record, said = run(folder, tmp_path / "out")
    assert record["slices"] == 4
    for note in ("1 files left out: no DICOM", "1 files left out: secondary capture", "1 copies"):
        assert any(note in line for line in said), note


def test_one_of_several_series_is_asked_for_by_its_number(volume: np.ndarray, tmp_path: Path) -> None:
    def other(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(entropy_srcs=["other"]), 4
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[f"other {index}"])

    write_series(tmp_path / "in" / "a", volume)
    write_series(tmp_path / "in" / "b", volume[:3], other)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert "one CT series" in line and "3 (4 slices), 4 (3 slices)" in line
    assert run(tmp_path / "in", tmp_path / "out", series="4")[0]["slices"] == 3


def setting(**values: Any) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        if index == 1:
            for name, value in values.items():
                setattr(dataset, name, value)

    return change


def dropping(name: str) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        if index == 1:
            delattr(dataset, name)

    return change


SAGITTAL = [0, 1, 0, 0, 0, -1]
REFUSED: dict[str, tuple[Callable[[Dataset, int], Any], str]] = {
    "no rescaling": (dropping("RescaleIntercept"), "RescaleSlope and RescaleIntercept"),
    "slope of zero": (setting(RescaleSlope=0), "RescaleSlope must not be 0"),
    "no spacing": (dropping("PixelSpacing"), "PixelSpacing must be 2 finite"),
    "negative spacing": (setting(PixelSpacing=[-1, 1]), "PixelSpacing must be positive"),
    "colours": (setting(SamplesPerPixel=3), "SamplesPerPixel must be 1, got 3"),
    "inverted grey": (setting(PhotometricInterpretation="MONOCHROME1"), "PhotometricInterpretation"),
    "no pixels": (dropping("PixelData"), "PixelData must be there"),
    "too few pixels": (setting(PixelData=b"\0" * 100), "got fewer"),
    "other bits": (setting(BitsStored=40), "BitsStored"),
    "not HU": (setting(RescaleType="Z_EFF"), "must be in HU"),
    "other size": (setting(Rows=56), "must have one rows and columns"),
    "other orientation": (setting(ImageOrientationPatient=SAGITTAL), "one orientation"),
    "more than the stored bits": (setting(BitsStored=10, HighBit=9), "must fit into BitsStored"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_handled_is_refused_with_the_files_name(
    name: str, volume: np.ndarray, tmp_path: Path
) -> None:
    change, message = REFUSED[name]
    write_series(tmp_path / "in", volume, change)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert message in line and line.startswith("image_001.dcm: ")


def test_a_reformat_is_refused(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume, lambda d, i: setattr(d, "ImageOrientationPatient", SAGITTAL))
    assert "must lie across the patient" in refused(tmp_path / "in", tmp_path / "out")


def test_a_folder_without_a_scan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("nothing", encoding="utf-8")
    assert "must hold a CT series, got 1 no DICOM" in refused(tmp_path / "in", tmp_path / "out")


def test_another_scale_than_hu_is_refused(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume, lambda d, i: setattr(d, "RescaleIntercept", 0))
    assert "must be in HU, with air near -1000" in refused(tmp_path / "in", tmp_path / "out")


def test_a_zip_is_read_like_its_folder(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in (tmp_path / "in").iterdir():
            archive.write(path, f"DICOM/{path.name}")
    run(tmp_path / "in", tmp_path / "a")
    run(tmp_path / "scan.zip", tmp_path / "b")
    for name in ("ct_0001.dcm", "ct_0002.dcm"):
        assert np.array_equal(pixels(tmp_path / "a" / name), pixels(tmp_path / "b" / name))


def test_a_zip_cannot_write_outside_of_itself(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../escaped.dcm", b"x")
    with pytest.raises(CtmarError, match="must lie inside"), opened(tmp_path / "bad.zip"):
        pass


def enhanced(volume: np.ndarray) -> Dataset:
    """An enhanced multi-frame image with its frames out of order."""
    dataset = ct_slice(volume[0])
    kind = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(dataset, name)
    del dataset.RescaleIntercept, dataset.RescaleType
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared, values, measures, turned, frame_type = (Dataset() for _ in range(5))
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    measures.PixelSpacing, measures.SliceThickness = [SPACING_MM, SPACING_MM], 2.0
    turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared.PixelValueTransformationSequence = Sequence([values])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.CTImageFrameTypeSequence = Sequence([frame_type])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for index in range(len(volume)):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-100, -100, -2.0 * index]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(volume)
    dataset.PixelData = np.rint(volume + 1024).astype("<u2").tobytes()
    return dataset


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_an_enhanced_file_comes_back_as_one(syntax: Any, volume: np.ndarray, tmp_path: Path) -> None:
    source, output = tmp_path / "in.dcm", tmp_path / "out"
    dataset = enhanced(volume)
    if syntax is not None:
        dataset.compress(syntax)
    write(dataset, source)
    record, _ = run(source, output)
    result = pydicom.dcmread(output / "ct.dcm")
    before, after = pixels(source), result.pixel_array
    assert record["slices_corrected"] == 2 and after.shape == before.shape
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, False, True]
    assert list(result.ImageType)[:1] == ["DERIVED"]
    assert result.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
    frame = result.PerFrameFunctionalGroupsSequence[2]
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 3
    assert frame.PlanePositionSequence[0].ImagePositionPatient == [-100, -100, -4]


def test_the_metal_as_a_segmentation(volume: np.ndarray, with_rods: Scan, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    write_series(tmp_path / "in", volume)
    run(tmp_path / "in", tmp_path / "out", also=("seg",))
    segmentation = pydicom.dcmread(tmp_path / "out" / "metal_seg.dcm")
    metal = with_rods[2] > 0.99
    assert segmentation.NumberOfFrames == 2
    assert (segmentation.pixel_array[0].astype(bool) & metal).sum() == metal.sum() > 10
    assert segmentation.PatientID == "SECRET-ID-123"


def test_the_real_series_with_blank_uids(data_dir: Path, tmp_path: Path) -> None:
    """JPEG 2000, unsigned, 12 bits, no UIDs; two rods put into one slice so that there is metal."""
    folder = data_dir / "dicom_series" / "ct"
    with opened(folder) as scan:
        assert isinstance(scan, DicomScan)
        assert len(scan.places_mm) == 20 and "no SeriesInstanceUID: taken as one series" in scan.notes
        assert scan.read(3).min() >= -1024 and scan.shape == (512, 512)


VALIDATOR = shutil.which("dciodvfy")


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize("name", ["plain", "enhanced", *HANDLED])
def test_the_output_has_no_error_that_the_input_had_not(
    name: str, volume: np.ndarray, tmp_path: Path
) -> None:
    # What it cannot read, deflated or without a class, has the errors that it would have had else.
    before = set(errors_of(write_series(tmp_path / "plain", volume)[0]))
    source = tmp_path / "in"
    if name == "enhanced":
        source = source.with_suffix(".dcm")
        write(enhanced(volume), source)
        before |= set(errors_of(source))
    else:
        before |= set(
            errors_of(write_series(source, volume, HANDLED[name][0] if name in HANDLED else None)[0])
        )
    run(source, tmp_path / "out")
    assert not set(errors_of(min((tmp_path / "out").glob("*.dcm")))) - before


def errors_of(path: Path) -> Iterator[str]:
    assert VALIDATOR is not None
    out = children.run([VALIDATOR, path])
    return (line for line in out.stderr.splitlines() if line.startswith("Error"))


def test_files_are_found_in_folders_of_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").touch()
    assert find_files(tmp_path) == [tmp_path / "a" / "b" / "x"]
