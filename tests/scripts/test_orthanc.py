"""A real Orthanc: a series in by C-STORE, the corrected one back by DICOMweb."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from scripts import orthanc
from tests.children import finish, run, start
from tests.scans.dicom_maker import SERIES, STUDY, write_series
from tests.stored_images import body

ROOT = Path(__file__).parents[2]
ORTHANC, STORESCU = shutil.which("Orthanc"), shutil.which("storescu")
PLUGIN = next(
    (path for path in Path("/usr").glob("*/orthanc/plugins/libOrthancDicomWeb.so")),
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
)
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        ORTHANC is None or STORESCU is None or not PLUGIN.exists(),
        reason="no server to try: Debian's orthanc, orthanc-dicomweb and dcmtk are not installed",
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A server of its own in a temporary folder, on this machine alone; its address and DICOM port."""
    http, dicom = free_port(), free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(tmp_path / "store"),
        "IndexDirectory": str(tmp_path / "store"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    assert ORTHANC is not None
    process = start([ORTHANC, tmp_path / "orthanc.json"], output=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{http}"
    try:
        for _ in range(150):
            try:
                get(f"{url}/system")
                break
            except OSError:
                assert process.poll() is None, "Orthanc ended"
                time.sleep(0.2)
        yield url, dicom
    finally:
        process.terminate()
        finish(process, limit=30)


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        body: bytes = answer.read()
        return body


def correct(url: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, ROOT / "scripts" / "orthanc.py", url, "new"])


def test_in_by_c_store_and_back_by_dicomweb(
    server: tuple[str, int],
    with_rods: Scan,
    tmp_path: Path,
) -> None:
    url, dicom = server
    sources = write_series(tmp_path / "in", np.repeat(with_rods[0][None], 3, 0).clip(-1024, 3071))
    assert STORESCU is not None
    assert run([STORESCU, "127.0.0.1", dicom, *sources], limit=60).returncode == 0
    done = correct(url)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 slices corrected, 3 files stored" in done.stdout
    found = json.loads(get(f"{url}/dicom-web/studies/{STUDY}/series", Accept="application/dicom+json"))
    uids = {one["0020000E"]["Value"][0] for one in found}
    assert SERIES in uids and len(uids) == 2
    (derived,) = uids - {SERIES}
    listed = json.loads(
        get(f"{url}/dicom-web/studies/{STUDY}/series/{derived}/instances", Accept="application/dicom+json")
    )
    assert len(listed) == 3
    (identifier,) = (
        one
        for one in json.loads(get(f"{url}/instances"))
        if json.loads(get(f"{url}/instances/{one}"))["IndexInSeries"] == 1
        and json.loads(get(f"{url}/instances/{one}/simplified-tags"))["SeriesInstanceUID"] == derived
    )
    path = tmp_path / "back.dcm"
    path.write_bytes(get(f"{url}/instances/{identifier}/file"))
    back = pydicom.dcmread(path)
    assert list(back.ImageType)[:2] == ["DERIVED", "SECONDARY"] and back.PatientID == "SECRET-ID-123"
    assert not np.array_equal(back.pixel_array, pydicom.dcmread(sources[0]).pixel_array)
    again = correct(url)
    assert again.returncode == 0 and again.stdout == ""


def sent(folder: Path, volume: np.ndarray, dicom: int, number: int = 3, description: str = "") -> None:
    """A series by C-STORE."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = f"1.2.{number}", number
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{index + 1}"
        dataset.SeriesDescription = description

    files = write_series(folder, volume, change)
    assert STORESCU is not None
    assert run([STORESCU, "127.0.0.1", dicom, *files], limit=60).returncode == 0


def counts(url: str) -> list[int]:
    """How many images each series of the server has."""
    return sorted(len(one["Instances"]) for one in json.loads(get(f"{url}/series?expand")))


@pytest.fixture
def volume(with_rods: Scan) -> np.ndarray:
    """Three slices that differ, metal in all."""
    return np.stack([with_rods[0], with_rods[0] + 1, with_rods[0] + 2]).clip(-1024, 3071)


def new(url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A run over all series, in this process."""
    monkeypatch.setattr(sys, "argv", ["orthanc.py", url, "new", "--method", "li"])
    return orthanc.main()


@pytest.mark.parametrize("length", [0, 59, 60, 64])
def test_a_series_is_corrected_once_whatever_its_description(
    length: int,
    server: tuple[str, int],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, dicom = server
    text = "A long description of a spine, of which two differ at the end alone"[:length]
    for number in (3, 4):
        sent(tmp_path / str(number), volume, dicom, number, text[:-1] + str(number) if text else "")
    for _ in range(3):
        assert new(url, monkeypatch) == 0
    assert counts(url) == [3, 3, 3, 3]
    assert capsys.readouterr().out.count("3 files stored") == 2


def test_an_interrupted_run_is_completed(
    server: tuple[str, int],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, dicom = server
    sent(tmp_path / "in", volume, dicom)
    store = orthanc.store

    def interrupted(url: str, files: list[Path]) -> int:
        store(url, files[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(orthanc, "store", interrupted)
        new(url, patch)
    assert counts(url) == [1, 3]
    assert new(url, monkeypatch) == 0 and "3 files stored" in capsys.readouterr().out
    assert counts(url) == [3, 3]
    assert new(url, monkeypatch) == 0 and not capsys.readouterr().out


def test_two_runs_at_a_time_store_one_series(
    server: tuple[str, int], volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, dicom = server
    sent(tmp_path / "in", volume, dicom)
    store = orthanc.store

    def other_first(url: str, files: list[Path]) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(orthanc, "store", store)
            assert new(url, patch) == 0
        return store(url, files)

    with monkeypatch.context() as patch:
        patch.setattr(orthanc, "store", other_first)
        assert new(url, patch) == 0
    assert counts(url) == [3, 3]


def test_a_series_that_grew_is_corrected_anew(
    server: tuple[str, int],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, dicom = server
    sent(tmp_path / "in", volume[:2], dicom)
    assert new(url, monkeypatch) == 0
    sent(tmp_path / "more", volume, dicom)
    assert counts(url) == [2, 3]
    assert new(url, monkeypatch) == 0
    assert counts(url) == [3, 3]


def test_a_series_without_metal_is_looked_at_once(
    server: tuple[str, int],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, dicom = server
    sent(tmp_path / "in", np.stack([body(), body() + 1]), dicom)
    assert new(url, monkeypatch) == 0 and "no metal: nothing stored" in capsys.readouterr().out
    assert new(url, monkeypatch) == 0 and not capsys.readouterr().out
    sent(tmp_path / "more", volume, dicom)
    assert new(url, monkeypatch) == 0 and "3 files stored" in capsys.readouterr().out
    assert counts(url) == [3, 3]


def test_a_derived_series_that_was_deleted_is_made_again(
    server: tuple[str, int],
    volume: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, dicom = server
    sent(tmp_path / "in", volume, dicom)
    assert new(url, monkeypatch) == 0
    for series in json.loads(get(f"{url}/series?expand")):
        if series["MainDicomTags"]["SeriesInstanceUID"] != "1.2.3":
            orthanc.request(f"{url}/series/{series['ID']}", None, "DELETE")
    assert counts(url) == [3]
    assert new(url, monkeypatch) == 0
    assert counts(url) == [3, 3]
