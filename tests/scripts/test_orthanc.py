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

from tests.children import finish, run, start
from tests.scans.dicom_maker import SERIES, STUDY, write_series

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
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
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
