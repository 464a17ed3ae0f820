"""Which slices are one series, what is a copy of a slice, and what comes of UIDs that are not unique."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from ctmar.clinical.inspection import inspect
from ctmar.clinical.job import Request
from ctmar.errors import CtmarError
from ctmar.scans.dicom import copies
from ctmar.scans.dicom.files import find_files, named
from ctmar.scans.dicom.series import read_all
from tests.scans.dicom_maker import ct_slice, pixels, write, write_series
from tests.scans.test_dicom import SAGITTAL, enhanced, refused, run, transcoded, without_position
from tests.stored_images import body

Change = Callable[[Dataset, int], Any]


@pytest.fixture(scope="module")
def volume(with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Four slices that differ, metal in the second and third."""
    plain = body()
    return np.stack([plain, with_rods[0], with_rods[0] + 1, plain + 1]).clip(-1024, 3071)


def setting(**values: Any) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def with_copy(folder: Path, hu: np.ndarray, change: Change, index: int = 1) -> None:
    """Adds a file that is, but for a change, the slice of that index."""
    dataset = ct_slice(hu, index)
    change(dataset, index)
    write(dataset, folder / "z_copy.dcm")


def written(output: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(output.glob("ct*.dcm"))]


@pytest.mark.parametrize("also", [(), ("seg",)])
def test_slices_that_share_a_uid_are_all_kept(
    also: tuple[str, ...], volume: np.ndarray, tmp_path: Path
) -> None:
    if also:
        pytest.importorskip("highdicom", reason="highdicom is not installed")
    write_series(tmp_path / "in", volume, setting(SOPInstanceUID="1.2.3.4.5"))
    record, said = run(tmp_path / "in", tmp_path / "out", also=also)
    assert record["slices"] == 4
    assert any("4 slices share a SOPInstanceUID" in line and "all are kept" in line for line in said)
    results = written(tmp_path / "out")
    assert [float(one.ImagePositionPatient[2]) for one in results] == [0, 2, 4, 6]
    assert len({one.SOPInstanceUID for one in results}) == 4
    assert {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in results} == {"1.2.3.4.5"}
    assert np.array_equal(results[3].pixel_array, pixels(tmp_path / "in" / "image_003.dcm"))
    if also:
        segmentation = pydicom.dcmread(tmp_path / "out" / "metal_seg.dcm")
        (listed,) = segmentation.ReferencedSeriesSequence
        found = {one.ReferencedSOPInstanceUID for one in listed.ReferencedInstanceSequence}
        assert found == {one.SOPInstanceUID for one in results[1:3]}


COPIES: dict[str, Change] = {
    "the same file": setting(),
    "another UID": setting(SOPInstanceUID="1.2.3.4.5"),
    "another number": setting(InstanceNumber=77),
    "compressed": transcoded(RLELossless),
    "a decimal more": setting(ImagePositionPatient=[-100.0, -100.0, 2.00000001]),
    "another rescaling of the same HU": lambda d, i: (
        setattr(d, "RescaleIntercept", -1023),
        setattr(d, "PixelData", (np.frombuffer(d.PixelData, "<u2") - 1).astype("<u2").tobytes()),
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_has_the_same_place_and_pixels(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume.clip(-1023, None))
    with_copy(tmp_path / "in", volume[1].clip(-1023, None), COPIES[name])
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 4 and "1 copies of slices left out" in said


NO_COPIES: dict[str, tuple[Change, str]] = {
    "other pixels": (setting(), "2 slices share a SOPInstanceUID"),
    "other pixels and another UID": (setting(SOPInstanceUID="1.2.3.4.5"), "1 slices lie where another lies"),
    "another place": (setting(ImagePositionPatient=[-100.0, -100.0, 8.0]), "2 slices share"),
}


@pytest.mark.parametrize("name", NO_COPIES)
def test_what_is_no_copy_is_kept(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    change, note = NO_COPIES[name]
    write_series(tmp_path / "in", volume)
    with_copy(tmp_path / "in", volume[0] if "pixels" in name else volume[1], change)
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 5 and any(note in line for line in said)
    assert not any("copies of slices" in line for line in said)
    assert len({one.SOPInstanceUID for one in written(tmp_path / "out")}) == 5


@pytest.mark.parametrize(("uid", "kept"), [("1.2.3.4.5", 4), ("", 4)])
def test_without_positions_equal_slices_of_other_numbers_are_kept(
    uid: str, kept: int, volume: np.ndarray, tmp_path: Path
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        without_position(dataset, index)
        dataset.SOPInstanceUID = uid

    write_series(tmp_path / "in", volume[[0, 1, 1, 0]], change)
    shutil.copy(tmp_path / "in" / "image_001.dcm", tmp_path / "in" / "z.dcm")
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == kept and "1 copies of slices left out" in said


def test_pixels_are_compared_only_where_the_rest_coincides(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume, setting(SOPInstanceUID="1.2.3.4.5"))
    headers, _, _ = read_all(named(find_files(tmp_path / "in"), tmp_path / "in"))
    kept, _ = copies.without_copies(headers, lambda header: pytest.fail("read"))
    assert kept == headers


def test_a_copy_of_an_enhanced_file_is_left_out_whole(volume: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        dataset = enhanced(volume)
        if name == "b":
            dataset.compress(RLELossless)
        write(dataset, tmp_path / "in" / name)
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 4 and "4 copies of slices left out" in said
    assert written(tmp_path / "out")[0].NumberOfFrames == 4


def test_equal_frames_of_one_file_are_kept(volume: np.ndarray, tmp_path: Path) -> None:
    dataset = enhanced(volume[[0, 1, 1]])
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[2].PlanePositionSequence[0].ImagePositionPatient = [-100, -100, -2.0]
    write(dataset, tmp_path / "in.dcm")
    assert run(tmp_path / "in.dcm", tmp_path / "out")[0]["slices"] == 3
    assert written(tmp_path / "out")[0].NumberOfFrames == 3


BLANK = setting(StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID="")


def both(first: Change, second: Change) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        first(dataset, index)
        second(dataset, index)

    return change


TWO: dict[str, tuple[Change, str]] = {
    "blank UIDs": (both(BLANK, setting(PatientID="SECRET-2", PatientName="Other^Secret")), "patient"),
    "blank UIDs, names alone": (both(BLANK, setting(PatientName="Other^Secret")), "patient"),
    "blank UIDs, no identifier": (both(BLANK, setting(PatientID="")), "patient"),
    "blank UIDs, other births": (both(BLANK, setting(PatientBirthDate="19810203")), "patient"),
    "equal UIDs": (setting(PatientID="SECRET-2"), "patient"),
    "no identifier at all": (lambda dataset, index: delattr(dataset, "PatientID"), "patient"),
    "another case": (setting(PatientName="NOBODY^SECRET"), "patient"),
    "issuers": (setting(IssuerOfPatientID="SECRET hospital"), "patient"),
    "studies": (setting(StudyInstanceUID="1.2.3"), "study"),
    "studies without UIDs": (both(BLANK, setting(AccessionNumber="SECRET-77")), "study"),
    "frames of reference": (setting(FrameOfReferenceUID="1.2.3"), "frame of reference"),
    "kernels": (setting(ConvolutionKernel="B70"), "kernel"),
    "descriptions without UIDs": (both(BLANK, setting(SeriesDescription="Arterial")), "series description"),
    "series": (setting(SeriesInstanceUID="1.2.3"), "SeriesInstanceUID"),
}


@pytest.mark.parametrize("name", TWO)
def test_a_series_is_of_one_patient_study_and_kernel(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    change, why = TWO[name]
    blank = BLANK if "without UIDs" in name or "blank" in name else setting()
    for folder, first, others in (("a", blank, 0.0), ("b", change, 1.0)):

        def placed(dataset: Dataset, index: int, first: Change = first, others: float = others) -> None:
            first(dataset, index)
            dataset.ImagePositionPatient = [-100.0, -100.0, 2.0 * index + others]
            dataset.SOPInstanceUID = dataset.SOPInstanceUID and f"1.2.{int(others)}.{index}"

        write_series(tmp_path / "in" / folder, volume[: 4 - int(others)], placed)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert "one CT series (see --series), got numbers 3.1 (4 slices), 3.2 (3 slices)" in line
    assert line.endswith(f"those of number 3 differ in {why}")
    assert line == refused(tmp_path / "in", tmp_path / "out", series="3").replace(
        " of that number or UID", ""
    )
    with pytest.raises(CtmarError, match=r"3\.1 \(4 slices\), 3\.2 \(3 slices\)"):
        inspect(tmp_path / "in", Request())
    for part, folder, count in (("3.1", "a", 4), ("3.2", "b", 3)):
        said = "\n".join(inspect(tmp_path / "in", Request(series=part)))
        assert f"CT series {part}: {count} slices, kernel" in said and f"{count} slices over" in said
        assert "SECRET" not in said.upper()
        record, said_too = run(tmp_path / "in", tmp_path / f"out {part}", series=part)
        assert record["slices"] == count and "SECRET" not in "".join(said_too).upper()
        results = written(tmp_path / f"out {part}")
        original = pydicom.dcmread(tmp_path / "in" / folder / "image_000.dcm")
        assert len({one.StudyInstanceUID for one in results}) == 1
        for one in results:
            assert one.get("PatientID") == original.get("PatientID")
            assert one.PatientName == original.PatientName
            assert one.StudyInstanceUID == original.StudyInstanceUID or not original.StudyInstanceUID


def test_padding_does_not_make_another_patient(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if index % 2:
            dataset.PatientName, dataset.PatientID = "Nobody^Secret    ", " SECRET-ID-123  "

    write_series(tmp_path / "in", volume, change)
    assert run(tmp_path / "in", tmp_path / "out")[0]["slices"] == 4


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (setting(PixelSpacing=[1.9, 1.9]), "pixel spacing"),
        (setting(ImageOrientationPatient=SAGITTAL), "orientation"),
    ],
)
def test_another_geometry_is_named_and_the_rest_can_be_chosen(
    change: Change, what: str, volume: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "in", volume, lambda d, i: change(d, i) if i == 3 else None)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert line.startswith(f"image_003.dcm: slices of a series must have one {what}, ")
    assert line.endswith("--series takes one of 3.1 (3 slices), 3.2 (1 slices)")
    assert run(tmp_path / "in", tmp_path / "out", series="3.1")[0]["slices"] == 3


def test_an_orientation_may_differ_by_its_rounding(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0.00049 + 2e-5 * index]

    write_series(tmp_path / "in", volume, change)
    assert run(tmp_path / "in", tmp_path / "out")[0]["slices"] == 4


def test_slices_with_a_series_uid_each_are_listed_in_one_line(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = f"1.2.{index + 1}"

    write_series(tmp_path / "in", volume, change)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert "3.1 (1 slices), 3.2 (1 slices), 3.3 (1 slices), 3.4 (1 slices)" in line
    assert line.endswith("SeriesInstanceUID, one for each slice: --series 3.all takes them as one")
    write_series(tmp_path / "in", np.repeat(volume[:1], 12, axis=0), change)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert "got numbers 3.1 to 3.12 (12 series of 1 slices each)" in line


def test_a_series_without_a_number_has_a_name(volume: np.ndarray, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        change = both(BLANK, setting(SeriesNumber=None, PatientID=f"SECRET {folder}"))
        write_series(tmp_path / "in" / folder, volume[:2], change)
    assert "got numbers none.1 (2 slices), none.2 (2 slices)" in refused(tmp_path / "in", tmp_path / "out")
    run(tmp_path / "in", tmp_path / "out", series="none.2")
    assert {one.PatientID for one in written(tmp_path / "out")} == {"SECRET b"}


def test_enhanced_files_of_two_patients_are_two_series(volume: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        dataset = enhanced(volume)
        dataset.PatientID = f"SECRET {name}"
        write(dataset, tmp_path / "in" / name)
    assert "3.1 (4 slices), 3.2 (4 slices)" in refused(tmp_path / "in", tmp_path / "out")
    run(tmp_path / "in", tmp_path / "out", series="3.2")
    assert written(tmp_path / "out")[0].PatientID == "SECRET b"


@pytest.mark.parametrize("wanted", [None, "3.1"])
def test_an_enhanced_file_of_two_kernels_is_refused(
    wanted: str | None, volume: np.ndarray, tmp_path: Path
) -> None:
    dataset = enhanced(volume)
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.CTReconstructionSequence = [Dataset()]
        group.CTReconstructionSequence[0].ConvolutionKernel = "B30" if index < 2 else "B70"
    write(dataset, tmp_path / "in.dcm")
    with pytest.raises(CtmarError, match=r"in\.dcm: frames of a multi-frame file must have one kernel"):
        run(tmp_path / "in.dcm", tmp_path / "out", series=wanted)
