"""``ctmar inspect`` in large studies: each header once, pixels of one series, no library without need."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ctmar.clinical.inspection import inspect
from ctmar.clinical.request import Request
from ctmar.clinical.survey import survey
from ctmar.errors import CtmarError
from ctmar.scans.dicom import headers, images
from ctmar.scans.opening import opened
from tests.children import run
from tests.scans.dicom_maker import ct_slice, write, write_series
from tests.stored_images import body, disk

MOST_MEMORY_MB = 300


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two series of four slices; metal in the third slice of the first."""
    plain = body()
    volume = np.stack([plain, plain + 1, np.where(disk(30, 0, 6) > 0.5, 3000, plain), plain + 2])

    def other(dataset: Dataset, index: int) -> None:
        dataset.SeriesNumber, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = 4, "1.2.4", f"1.2.4.{index}"

    write_series(tmp_path / "in" / "a", volume)
    write_series(tmp_path / "in" / "b", volume, other)
    return tmp_path / "in"


def test_each_header_is_read_once_and_pixels_of_the_chosen_series_alone(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, decoded = Counter[Path](), Counter[Path]()
    read, read_pixels = headers.read_dataset, images.read_dataset

    def counted(path: Path) -> Any:
        seen[path] += 1
        return read(path)

    def counted_pixels(path: Path, with_pixels: bool) -> Any:
        decoded[path] += 1
        return read_pixels(path, with_pixels)

    monkeypatch.setattr(headers, "read_dataset", counted)
    monkeypatch.setattr(images, "read_dataset", counted_pixels)
    lines = inspect(study, Request(series="4"))
    assert {"CT series 3: 4 slices, kernel B40", "CT series 4: 4 slices, kernel B40"} <= set(lines)
    assert any("metal in 1 slices, 3 to 3" in line for line in lines)
    assert len(seen) == 8 and set(seen.values()) == {1}
    assert {path.parent.name for path in decoded} == {"b"} and max(decoded.values()) <= 2


def inspected(source: Path, series: str) -> tuple[str, list[str], int]:
    """What the command prints, the heavy libraries that it imported, and its memory at most, in MB."""
    code = (
        "import sys; from pathlib import Path; from ctmar.jobs.cli import main; status = main('inspect');"
        " print(*({'torch', 'matplotlib', 'SimpleITK'} & set(sys.modules)));"
        " (peak,) = (l for l in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in l);"
        " print(peak.split()[1]); sys.exit(status)"
    )
    done = run([sys.executable, "-c", code, source, "--series", series])
    assert done.returncode == 0, done.stderr
    *said, heavy, peak = done.stdout.splitlines()
    return "\n".join(said), heavy.split(), int(peak) // 1024


def test_it_needs_no_torch_and_little_memory(study: Path) -> None:
    said, heavy, peak = inspected(study, "3")
    assert "metal in 1 slices, 3 to 3" in said and heavy == [] and peak <= MOST_MEMORY_MB


def test_a_slice_that_cannot_be_read_ends_the_look_in_its_line(study: Path) -> None:
    with opened(study, "3") as scan:
        files = sorted((study / "a").iterdir())
        files[2].write_bytes(files[2].read_bytes()[:-100])
        with pytest.raises(CtmarError, match=r"^a/image_002\.dcm: pixels must be 112 x 112, got fewer"):
            survey(scan)


@pytest.mark.slow
def test_a_study_of_1500_slices_fits_into_memory(tmp_path: Path) -> None:
    c = np.arange(512) - 255.5
    radius = np.hypot(c[:, None], c[None])
    plain = np.where(radius < 190, 40.0, -1000.0) + np.random.default_rng(0).normal(0, 15, (512, 512))
    dataset = ct_slice(plain)
    for series in range(5):
        (tmp_path / str(series)).mkdir()
        dataset.SeriesNumber, dataset.SeriesInstanceUID = series, f"1.2.{series}"
        for index in range(300):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{series}.{index}"
            dataset.ImagePositionPatient, dataset.InstanceNumber = [-180, -180, index], index + 1
            write(dataset, tmp_path / str(series) / f"{index:03d}")
    said, heavy, peak = inspected(tmp_path, "4")
    assert said.count("300 slices, kernel B40") == 5 and "no metal" in said
    assert heavy == [] and peak <= MOST_MEMORY_MB
