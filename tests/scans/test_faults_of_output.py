"""Places that an output cannot take in one step, disks that are full, and what lies there already."""

import errno
import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ctmar.errors import CtmarError
from ctmar.jobs.mistakes import one_line
from ctmar.scans.output import MARK, check_output, whole
from tests.children import run as run_child
from tests.scans.dicom_maker import pixels, write_series
from tests.scans.test_dicom import refused
from tests.scans.test_dicom import run as run_dicom
from tests.scans.test_volume import image_of, run
from tests.stored_images import body

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def volume(with_rods: Scan) -> np.ndarray:
    """Three slices, metal in the second."""
    return np.stack([body(), with_rods[0], body()]).clip(-1024, 3071)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


SERIES = {"ct_0001.dcm", "ct_0002.dcm", "ct_0003.dcm", "report.html", "correction.json"}


@pytest.fixture(params=["mount point", "unwritable parent"])
def fixed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nothing can be moved out of, as one of ``docker -v``, or whose parent takes no file."""
    folder = tmp_path / "parent" / "out"
    folder.mkdir(parents=True)
    rename, replace, mkdir = os.rename, os.replace, Path.mkdir
    number = errno.EXDEV if request.param == "mount point" else errno.EACCES

    def crosses(old: object, new: object) -> bool:
        return len({Path(str(one)).resolve().is_relative_to(folder) for one in (old, new)}) == 2

    def move(old: object, new: object, how: object = rename) -> None:
        if crosses(old, new) or folder in (Path(str(old)), Path(str(new))):
            raise OSError(number, os.strerror(number), str(old))
        (rename if how is rename else replace)(old, new)  # type: ignore[arg-type]

    def make(self: Path, *args: object, **options: object) -> None:
        if self.parent == folder.parent and not self.exists():
            raise OSError(number, os.strerror(number), str(self))
        mkdir(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", move)
    monkeypatch.setattr(os, "replace", lambda old, new: move(old, new, replace))
    if number == errno.EACCES:
        monkeypatch.setattr(Path, "mkdir", make)
    return folder


def test_a_folder_that_cannot_be_replaced_is_filled(fixed: Path, volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    run_dicom(tmp_path / "in", fixed)
    assert names(fixed) == SERIES and names(fixed.parent) == {"out"}
    (fixed / "notes.txt").write_text("mine", encoding="utf-8")
    write_series(tmp_path / "fewer", volume[:2])
    run_dicom(tmp_path / "fewer", fixed, overwrite=True)
    assert names(fixed) == SERIES - {"ct_0003.dcm"} | {"notes.txt"}
    assert json.loads((fixed / "correction.json").read_text(encoding="utf-8"))["slices"] == 2


def test_a_run_that_fails_in_it_leaves_it_as_it_was(fixed: Path) -> None:
    with pytest.raises(RuntimeError), whole(fixed, True) as work:
        (work / "half").write_text("half", encoding="utf-8")
        assert work.parent == fixed
        raise RuntimeError
    assert not names(fixed)


def test_a_killed_run_in_it_is_completed_or_removed_by_the_next(fixed: Path) -> None:
    pid = int(run_child([sys.executable, "-c", "import os; print(os.getpid())"]).stdout)
    (fixed / "a").write_text("old", encoding="utf-8")
    for name, files in ((f"{MARK}{pid}-0a", "x"), (f"{MARK}{pid}-0b.ready", "ab")):
        (fixed / name).mkdir()
        for file in files:
            (fixed / name / file).write_text("new", encoding="utf-8")
    check_output(fixed, fixed.parent / "in", True, overwrite=True)
    with pytest.raises(RuntimeError), whole(fixed, True):
        assert {p.name: p.read_text(encoding="utf-8") for p in fixed.iterdir() if p.is_file()} == {
            "a": "new",
            "b": "new",
        }
        raise RuntimeError
    assert names(fixed) == {"a", "b"}


def test_what_a_killed_run_left_does_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / f"{MARK}1-0a").mkdir(parents=True)
    check_output(tmp_path / "out", tmp_path / "in", True, overwrite=False)


def test_slices_of_an_earlier_and_longer_series_do_not_stay(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    run_dicom(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "ct_mine.dcm").write_text("mine", encoding="utf-8")
    write_series(tmp_path / "fewer", volume[:2])
    run_dicom(tmp_path / "fewer", tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == SERIES - {"ct_0003.dcm"} | {"ct_mine.dcm"}


def no_folder(self: Path, *args: object, **options: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(self))


@pytest.mark.parametrize("out", ["out", "new/deep/out"])
def test_an_unwritable_place_is_named_before_the_work(
    out: str, volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", volume)
    monkeypatch.setattr("ctmar.clinical.job.survey", lambda *args: pytest.fail("read"))
    monkeypatch.setattr(Path, "mkdir", no_folder)
    assert "Permission denied" in refused(tmp_path / "in", tmp_path / out)
    assert names(tmp_path) == {"in"}


def test_folders_made_for_an_output_go_with_a_run_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(tmp_path / "in", tmp_path / "new" / "deep" / "out")
    assert names(tmp_path) == {"in"}


def test_too_small_a_disk_is_named_before_the_work(
    volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", volume)
    monkeypatch.setattr("ctmar.clinical.job.survey", lambda *args: pytest.fail("read"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 10))
    assert "MB free, got 0" in refused(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("kind", ["series", "in.nii", "in.nii.gz", "in.nrrd", "in.mha"])
def test_a_disk_that_fills_up_is_named_as_such(
    kind: str, volume: np.ndarray, with_rods: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / kind, tmp_path / "out" / kind
    if kind == "series":
        write_series(source, volume)
    else:
        sitk.WriteImage(image_of(with_rods), str(source))
    real = open

    class Full:
        """A file of a disk without room."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        writelines = write

    def full(path: object, mode: str = "r", *args: object, **options: object) -> object:
        file = real(path, mode, *args, **options)  # type: ignore[call-overload]
        return Full(file) if "w" in mode and MARK in str(path) else file

    monkeypatch.setattr("builtins.open", full)
    monkeypatch.setattr("io.open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        (run_dicom if kind == "series" else run)(source, output)
    line = one_line(caught.value)
    assert line is not None and line.startswith("No space left on device: ") and "out" in line
    assert names(tmp_path) == {kind}


def test_another_file_on_the_same_path_is_read_anew(volume: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume)
    run_dicom(tmp_path / "in", tmp_path / "a")
    write_series(tmp_path / "in", volume + 7)
    run_dicom(tmp_path / "in", tmp_path / "b")
    for n in (1, 3):
        path = f"ct_000{n}.dcm"
        assert np.array_equal(pixels(tmp_path / "b" / path), pixels(tmp_path / "in" / f"image_00{n - 1}.dcm"))


def test_reports_are_named_like_the_whole_output(with_rods: Scan, tmp_path: Path) -> None:
    sitk.WriteImage(image_of(with_rods), str(tmp_path / "in.nii.gz"))
    for name in ("1.3.6.1", "1.3.6.2"):
        run(tmp_path / "in.nii.gz", tmp_path / f"{name}.nii.gz", also=("difference",))
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.nii.gz",
        *(f"1.3.6.{n}.{what}" for n in "12" for what in ("nii.gz", "report.html", "correction.json")),
        *(f"1.3.6.{n}.difference.mha" for n in "12"),
    }


@pytest.mark.parametrize("beside", ["out.report.html", "out.correction.json"])
def test_reports_of_another_scan_stay(beside: str, with_rods: Scan, tmp_path: Path) -> None:
    sitk.WriteImage(image_of(with_rods), str(tmp_path / "in.nii"))
    sitk.WriteImage(image_of(with_rods), str(tmp_path / "in.nrrd"))
    (tmp_path / beside).write_text("theirs", encoding="utf-8")
    with pytest.raises(CtmarError, match="file that exists"):
        run(tmp_path / "in.nii", tmp_path / "out.nii")
    with pytest.raises(CtmarError, match="files of another scan must stay"):
        run(tmp_path / "in.nii", tmp_path / "out.nii", overwrite=True)
    (tmp_path / beside).unlink()
    run(tmp_path / "in.nii", tmp_path / "out.nii")
    (tmp_path / "out.nrrd").write_bytes((tmp_path / "in.nrrd").read_bytes())
    with pytest.raises(CtmarError, match=r"got those of out\.nii beside it"):
        run(tmp_path / "in.nrrd", tmp_path / "out.nrrd", overwrite=True)
