"""Folders, zips and headers as they come: only what was chosen may refuse, and lines name the element."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ctmar.clinical.inspection import inspect
from ctmar.clinical.job import Request
from ctmar.errors import CtmarError
from ctmar.jobs.cli import main
from tests.scans.dicom_maker import pixels, write, write_series
from tests.scans.test_dicom import enhanced, refused, run, tilted
from tests.scans.test_dicom_series import both, setting, written
from tests.stored_images import body

Change = Callable[[Dataset, int], Any]


@pytest.fixture(scope="module")
def volume(with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Three slices that differ, metal in the second."""
    return np.stack([body(), with_rods[0], body() + 1]).clip(-1024, 3071)


def colour(dataset: Dataset, index: int) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = bytes(3 * dataset.Rows * dataset.Columns)


def of_another_series(dataset: Dataset, index: int) -> None:
    dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.77", 5
    dataset.SOPInstanceUID = f"1.2.77.{index}"


FAULTY: dict[str, tuple[Change, str]] = {
    "colours": (colour, "SamplesPerPixel must be 1, got 3"),
    "no rescaling": (lambda d, i: delattr(d, "RescaleSlope"), "RescaleSlope"),
    "no spacing": (lambda d, i: delattr(d, "PixelSpacing"), "PixelSpacing"),
    "no pixels": (lambda d, i: delattr(d, "PixelData"), ""),
    "another syntax": (lambda d, i: None, "JPEG XL"),
}


def in_syntax(data: bytes, syntax: str) -> bytes:
    """A file that says to be in another transfer syntax."""
    old, value = b"UI\x14\x001.2.840.10008.1.2.1\0", syntax.encode() + b"\0" * (len(syntax) % 2)
    assert old in data
    return data.replace(old, b"UI" + len(value).to_bytes(2, "little") + value)


def listed_by_inspect(source: Path) -> str:
    """All that is told before a series of it is refused."""
    said: list[str] = []
    with pytest.raises(CtmarError):
        inspect(source, Request(), tell=said.append)
    return "\n".join(said)


@pytest.mark.parametrize("name", FAULTY)
def test_only_the_series_that_is_chosen_may_refuse(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    change, message = FAULTY[name]
    write_series(tmp_path / "in" / "a", volume)
    write_series(tmp_path / "in" / "b" / "c", volume[:1], both(of_another_series, change))
    if name == "another syntax":
        path = tmp_path / "in" / "b" / "c" / "image_000.dcm"
        path.write_bytes(in_syntax(path.read_bytes(), "1.2.840.10008.1.2.4.110"))
    line = refused(tmp_path / "in", tmp_path / "out")
    assert "got numbers 3 (3 slices), 5 (" in line
    listed = listed_by_inspect(tmp_path / "in")
    assert "CT series 3: 3 slices, kernel B40" in listed and "CT series 5: " in listed
    if message:
        assert message in listed and "b/c/image_000.dcm: " in listed
        assert message in line and "b/c/image_000.dcm: " in line
    assert run(tmp_path / "in", tmp_path / "out", series="3")[0]["slices"] == 3
    assert "metal in 1 slices" in "\n".join(inspect(tmp_path / "in", Request(series="3")))
    assert "b/c/image_000.dcm: " in refused(tmp_path / "in", tmp_path / "other", series="5")


def test_a_colour_image_within_a_series_is_named_with_the_way_out(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    write_series(tmp_path / "in" / "deep", volume[:1], both(setting(InstanceNumber=51), colour))
    for series in (None, "3"):
        line = refused(tmp_path / "in", tmp_path / "out", series=series)
        assert line == (
            "deep/image_000.dcm: SamplesPerPixel must be 1, got 3; --series takes 3.1 (3 slices) without it"
        )
    assert run(tmp_path / "in", tmp_path / "out", series="3.1")[0]["slices"] == 3


@pytest.mark.parametrize("kept", [340, 420])
def test_a_file_that_is_cut_refuses_unless_a_series_is_named(
    kept: int, volume: np.ndarray, tmp_path: Path
) -> None:
    data = write_series(tmp_path / "in", volume)[0].read_bytes()
    (tmp_path / "in" / "z.dcm").write_bytes(data[:kept])
    line = refused(tmp_path / "in", tmp_path / "out")
    assert line.startswith("z.dcm: Modality must be CT, got none: the file may be cut; --series takes 3 (")
    record, said = run(tmp_path / "in", tmp_path / "out", series="3")
    assert record["slices"] == 3 and any("1 files left out: cannot be read" in line for line in said)


def test_inspect_lists_everything_before_it_refuses(
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_series(tmp_path / "in" / "a", volume)
    write_series(tmp_path / "in" / "b", volume, of_another_series)
    monkeypatch.setattr("sys.argv", ["ctmar", "inspect", str(tmp_path / "in")])
    assert main() == 2
    said = capfd.readouterr()
    assert "CT series 3: 3 slices" in said.out and "CT series 5: 3 slices" in said.out
    assert said.err.count("\n") == 1 and "see --series" in said.err


def test_folders_behind_symbolic_links_are_searched_once(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere" / "series", volume)
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "link")
    os.symlink(tmp_path / "elsewhere" / "series", tmp_path / "in" / "same")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "series" / "back")
    os.symlink(tmp_path / "gone", tmp_path / "in" / "nowhere")
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 3
    assert "1 symbolic links left out: they lead nowhere" in said
    assert not any("copies" in line for line in said)


def zipped(path: Path, files: list[Path], names: Callable[[Path], str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.writestr(names(file), file.read_bytes())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_all_taken(volume: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", volume)
    zipped(tmp_path / "a.zip", files, lambda file: "IM")
    assert run(tmp_path / "a.zip", tmp_path / "out")[0]["slices"] == 3
    assert [float(one.ImagePositionPatient[2]) for one in written(tmp_path / "out")] == [0, 2, 4]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bad_member_is_named(volume: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", volume, lambda d, i: colour(d, i) if i == 2 else None)
    zipped(tmp_path / "a.zip", files, lambda file: "CT/IM")
    with pytest.raises(CtmarError, match=r"^CT/IM \(3\): SamplesPerPixel"):
        run(tmp_path / "a.zip", tmp_path / "out")


def test_a_long_member_name_is_no_obstacle(volume: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", volume)
    zipped(tmp_path / "a.zip", files, lambda file: "x" * 300 + file.name)
    assert run(tmp_path / "a.zip", tmp_path / "out")[0]["slices"] == 3


def locked(data: bytes) -> bytes:
    """Marked as encrypted: the flag of each member, in its own header and in the directory."""
    for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        parts = data.split(sign)
        data = sign.join([parts[0], *(p[: at - 4] + b"\1" + p[at - 3 :] for p in parts[1:])])
    return data


def damaged(data: bytes) -> bytes:
    middle = data.index(b"PK\3\4") + 20000
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


ZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a password": (locked, "must be without a password"),
    "damage": (damaged, "image_000.dcm must be whole"),
    "no end": (lambda data: data[:-60], "must be a readable zip"),
    "nothing": (lambda data: b"", "must be a readable zip"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_cannot_be_unpacked_is_refused_in_a_line(
    name: str, volume: np.ndarray, tmp_path: Path
) -> None:
    change, message = ZIPS[name]
    zipped(tmp_path / "a.zip", write_series(tmp_path / "in", volume), lambda file: file.name)
    (tmp_path / "a.zip").write_bytes(change((tmp_path / "a.zip").read_bytes()))
    archive = tmp_path / "a.zip"
    for call in (lambda: run(archive, tmp_path / "out"), lambda: inspect(archive, Request())):
        with pytest.raises(CtmarError, match=message) as caught:
            call()
        assert str(caught.value).startswith("a.zip: ")
    assert not (tmp_path / "out").exists()


def raw_text(element: bytes, value: bytes) -> Callable[[Path], None]:
    """Puts another value of the same length into a file, as no library would write it."""

    def change(path: Path) -> None:
        data = path.read_bytes()
        at = data.index(element)
        size = int.from_bytes(data[at + 6 : at + 8], "little")
        path.write_bytes(data[: at + 8] + value.ljust(size)[:size] + data[at + 8 + size :])

    return change


INSTANCE_NUMBER, SERIES_NUMBER = b"\x20\0\x13\0IS", b"\x20\0\x11\0IS"
PIXEL_SPACING, FRAMES = b"\x28\0\x30\0DS", b"\x28\0\x08\0IS"


@pytest.mark.parametrize("text", [b"A1", b"1A", b"..", b"1,"])
@pytest.mark.parametrize("element", [INSTANCE_NUMBER, SERIES_NUMBER])
def test_numbers_that_are_none_are_no_obstacle_where_nothing_rests_on_them(
    element: bytes, text: bytes, volume: np.ndarray, tmp_path: Path
) -> None:
    for path in write_series(tmp_path / "in", volume, setting(SeriesNumber=33, InstanceNumber=44)):
        raw_text(element, text)(path)
    record, _ = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 3
    assert [float(one.ImagePositionPatient[2]) for one in written(tmp_path / "out")] == [0, 2, 4]
    kept = pydicom.dcmread(tmp_path / "out" / "ct_0001.dcm").get_item("InstanceNumber").value
    assert kept.strip() == (text if element == INSTANCE_NUMBER else b"44")


def test_numbers_that_alone_order_slices_are_named(volume: np.ndarray, tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", volume, lambda d, i: delattr(d, "ImagePositionPatient"))
    raw_text(INSTANCE_NUMBER, b"x")(paths[1])
    line = refused(tmp_path / "in", tmp_path / "out")
    assert line.startswith("image_001.dcm: InstanceNumber must be a whole number")


def test_a_spacing_that_is_no_number_is_named(volume: np.ndarray, tmp_path: Path) -> None:
    for path in write_series(tmp_path / "in", volume):
        raw_text(PIXEL_SPACING, b"wide")(path)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert line.startswith("image_000.dcm: PixelSpacing must be") and "wide" not in line
    assert "(and 2 further files)" in line


@pytest.mark.parametrize(("number", "derived"), [(2**31 - 1, 1000), (-5, 995), (2**31 - 1001, 2**31 - 1)])
def test_the_number_of_a_derived_series_fits(
    number: int, derived: int, volume: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "in", volume[:1], setting(SeriesNumber=number))
    run(tmp_path / "in", tmp_path / "out")
    assert written(tmp_path / "out")[0].SeriesNumber == derived


def without_syntax(data: bytes) -> bytes:
    """Without the element that states how the rest is encoded."""
    at = data.index(b"\2\0\x10\0UI")
    size = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[:at] + data[at + 8 + size :]


def without_preamble(data: bytes) -> bytes:
    return data[132:]


def without_meta(data: bytes) -> bytes:
    at = 132
    while data[at : at + 2] == b"\2\0":
        long = data[at + 4 : at + 6] == b"OB"
        size = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        at += (12 if long else 8) + size
    return data[at:]


BARE: dict[str, Callable[[bytes], bytes]] = {
    "no transfer syntax": without_syntax,
    "no preamble": without_preamble,
    "no meta information": without_meta,
    "zeros behind": lambda data: data + bytes(512),
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", BARE)
def test_bare_files_are_read_as_what_they_are(
    name: str, syntax: Any, volume: np.ndarray, tmp_path: Path
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax

    whole = write_series(tmp_path / "whole", volume, change)
    (tmp_path / "in").mkdir()
    for path in whole:
        (tmp_path / "in" / path.name).write_bytes(BARE[name](path.read_bytes()))
    record, _ = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 3 and record["slices_corrected"] == 1
    for n in (1, 3):
        assert np.array_equal(pixels(tmp_path / "out" / f"ct_000{n}.dcm"), pixels(whole[n - 1]))
    assert {one.PatientID for one in written(tmp_path / "out")} == {"SECRET-ID-123"}


def test_text_is_no_file_without_a_preamble(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    (tmp_path / "in" / "a").write_bytes(b"\2\0\1\0 some binary file that begins alike" * 20)
    (tmp_path / "in" / "b").write_bytes(b"\x08\0")
    (tmp_path / "in" / "c").write_bytes(b"")
    _, said = run(tmp_path / "in", tmp_path / "out")
    assert "3 files left out: no DICOM" in said


SYNTAXES = {
    "1.2.840.113619.5.2": "a private one",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.4.100": "an unknown one",
    "1.2.3": "a private one",
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_transfer_syntax_that_is_not_read_is_named(syntax: str, volume: np.ndarray, tmp_path: Path) -> None:
    for path in write_series(tmp_path / "in", volume):
        path.write_bytes(in_syntax(path.read_bytes(), syntax))
    line = refused(tmp_path / "in", tmp_path / "out")
    assert line.startswith("image_000.dcm: TransferSyntaxUID must be one that is read here")
    assert f"got {SYNTAXES[syntax]}, {syntax}; a copy written uncompressed can be read" in line
    with pytest.raises(CtmarError, match="TransferSyntaxUID"):
        inspect(tmp_path / "in", Request())


def with_private_groups(dataset: Dataset) -> None:
    """A vendor's sequence that holds what the standard's own do, with other values."""
    for frame in (*dataset.PerFrameFunctionalGroupsSequence, *dataset.SharedFunctionalGroupsSequence):
        theirs = Dataset()
        theirs.PixelSpacing, theirs.RescaleSlope, theirs.RescaleIntercept = [1, 1], 0.5, 0
        theirs.ImagePositionPatient, theirs.ConvolutionKernel = [0, 0, 0], "OTHER"
        frame.private_block(0x2005, "Vendor", create=True).add_new(0x0F, "SQ", Sequence([theirs]))
        frame.ReferencedImageSequence = Sequence([theirs])


def test_frames_are_described_by_the_groups_of_the_standard(volume: np.ndarray, tmp_path: Path) -> None:
    for name in ("plain", "private"):
        dataset = enhanced(volume)
        if name == "private":
            with_private_groups(dataset)
        write(dataset, tmp_path / f"{name}.dcm")
        run(tmp_path / f"{name}.dcm", tmp_path / name)
    results = [pydicom.dcmread(tmp_path / name / "ct.dcm") for name in ("plain", "private")]
    assert np.array_equal(results[0].pixel_array, results[1].pixel_array)
    frame = results[1].PerFrameFunctionalGroupsSequence[0]
    assert frame[0x2005, 0x100F].value[0].RescaleSlope == 0.5


def test_slices_with_a_series_uid_each_are_taken_as_one_on_request(
    volume: np.ndarray, tmp_path: Path
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = f"1.2.{index + 1}"

    write_series(tmp_path / "in", volume, change)
    assert refused(tmp_path / "in", tmp_path / "out").endswith("--series 3.all takes them as one")
    record, said = run(tmp_path / "in", tmp_path / "out", series="3.all")
    assert record["slices"] == 3 and record["slices_corrected"] == 1
    assert any("taken as one series" in line for line in said)
    assert len({one.SeriesInstanceUID for one in written(tmp_path / "out")}) == 1


@pytest.mark.parametrize(
    ("other", "what"),
    [("PatientID", "patient"), ("StudyInstanceUID", "study"), ("ConvolutionKernel", "kernel")],
)
def test_what_differs_in_more_is_never_taken_as_one(
    other: str, what: str, volume: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "in" / "a", volume)
    write_series(tmp_path / "in" / "b", volume, setting(**{other: "1.2.3", "SeriesInstanceUID": "1.2.4"}))
    assert f"alone, got others in {what}" in refused(tmp_path / "in", tmp_path / "out", series="3.all")


STEPS = {
    "4 mm, then 7": ([4.0] * 5 + [7.0] * 5, "slices are 4 to 7 mm apart"),
    "4 mm, then 8": ([4.0] * 5 + [8.0] * 5, "slices are 4 to 8 mm apart"),
    "one of ten missing": ([2.0] * 4 + [4.0] + [2.0] * 4, "1 slices missing (a gap of 4 mm)"),
    "two and three": ([2.0, 2, 2, 6, 2, 2, 2, 4, 2, 2, 2], "3 slices missing (a gap of 6 mm)"),
    "two of thick ones": ([4.0] * 4 + [7.0] * 3 + [21.0] + [7.0] * 3, "2 slices missing (a gap of 21 mm)"),
    "uneven": ([2.0, 2, 3.5, 2, 2], "slices are 2 to 3.5 mm apart"),
}


@pytest.mark.parametrize("name", STEPS)
def test_missing_slices_are_told_from_steps_by_design(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    steps, note = STEPS[name]
    places = np.cumsum([0, *steps])

    def change(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [-100, -100, float(places[index])]

    write_series(tmp_path / "in", np.repeat(volume[:1], len(places), axis=0), change)
    _, said = run(tmp_path / "in", tmp_path / "out")
    assert any(note in line for line in said), said
    assert ("missing" in note) == any("missing" in line for line in said)


ASTRAY: dict[str, Change] = {
    "a tilted gantry": tilted,
    "a gap": lambda d, i: setattr(d, "ImagePositionPatient", [-100, -100, (0, 2, 6)[i]]),
    "a shift": lambda d, i: setattr(d, "ImagePositionPatient", [-100 + 0.5 * i, -100, 2 * i]),
}


@pytest.mark.parametrize("also", ["difference", "uncertainty"])
@pytest.mark.parametrize("name", ASTRAY)
def test_no_volume_is_made_of_slices_that_lie_on_no_grid(
    name: str, also: str, volume: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "in", volume, ASTRAY[name])
    line = refused(tmp_path / "in", tmp_path / "out", also=(also,))
    assert line.endswith(f"leave out --also {also}")
    assert run(tmp_path / "in", tmp_path / "out")[0]["slices_corrected"] == 1


def test_a_slice_rounded_otherwise_is_still_a_copy(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume, setting(ImagePositionPatient=[-100, -100, 2.0005]))
    for path in sorted((tmp_path / "in").iterdir())[1:]:
        path.unlink()
    write_series(tmp_path / "in" / "b", volume[:1], setting(ImagePositionPatient=[-100, -100, 2.0004999]))
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices"] == 1 and "1 copies of slices left out" in said


def test_a_folder_that_may_not_be_read_is_named(
    volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in" / "a", volume)
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CtmarError, match="must be readable, got Permission denied"):
        inspect(tmp_path / "in", Request())
