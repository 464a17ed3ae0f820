"""``scripts/orthanc.py`` without a server: a series that is corrected, and one that cannot be."""

import shutil
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctmar.errors import CtmarError
from scripts import orthanc
from tests.scans.dicom_maker import write_series
from tests.stored_images import body

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_a_series_that_is_refused_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def correct(url: str, series: str, method: str) -> str:
        if series == "b":
            raise CtmarError("the input must hold one CT series")
        return "corrected"

    monkeypatch.setattr(orthanc, "uncorrected", lambda url: ["a", "b", "c"])
    monkeypatch.setattr(orthanc, "correct_series", correct)
    monkeypatch.setattr(sys, "argv", ["orthanc.py", "http://localhost:1", "new"])
    assert orthanc.main() == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["a: corrected", "c: corrected"]
    assert said.err == "error: b: the input must hold one CT series\n"


def test_a_series_comes_as_a_zip_is_corrected_and_stored(
    monkeypatch: pytest.MonkeyPatch,
    with_rods: Scan,
    tmp_path: Path,
) -> None:
    write_series(tmp_path / "in", np.stack([with_rods[0], body()]).clip(-1024, 3071))
    archive = shutil.make_archive(str(tmp_path / "series"), "zip", tmp_path / "in")
    sent: list[bytes] = []

    def store(url: str, files: list[Path]) -> int:
        sent.extend(path.read_bytes() for path in files)
        return len(files)

    monkeypatch.setattr(orthanc, "request", lambda url: Path(archive).read_bytes())
    monkeypatch.setattr(orthanc, "store", store)
    done = orthanc.correct_series("http://localhost:1", "a", "li")
    assert done == "1 of 2 slices corrected, 2 files stored"
    assert list(pydicom.dcmread(BytesIO(sent[0])).ImageType)[:2] == ["DERIVED", "SECONDARY"]
