"""``kill -9`` at any moment: nothing half-written, the input as it was, and a rerun that completes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.clinical.dicom_maker import pixels, write_series

ROOT = Path(__file__).parents[2]
SLICES = 24
CODE = "from ctmar.runs.cli import main; raise SystemExit(main())"
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def start(source: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "correct", str(source), str(output), "--threads", "1", *more],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_ten_times_at_random_nothing_is_half_written(
    overwrite: bool, with_rods: Scan, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_series(source, np.repeat(with_rods[0][None], SLICES, 0).clip(-1024, 3071))
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    began = time.monotonic()
    assert start(source, output).wait() == 0
    duration = time.monotonic() - began
    good = pixels(output / "ct_0003.dcm")
    names = {path.name for path in output.iterdir()}
    generator = np.random.default_rng(int(overwrite))
    whole = 0
    for _ in range(10):
        if not overwrite and output.exists():
            output.rename(tmp_path / f"done-{whole}")
        process = start(source, output, *(["--overwrite"] if overwrite else []))
        # Most of a run is over before its first slice; kill where there is something to lose.
        time.sleep(duration * float(generator.uniform(0.4, 1.1)))
        process.kill()
        process.wait()
        if output.exists():
            whole += 1
            assert {path.name for path in output.iterdir()} == names
            assert np.array_equal(pixels(output / "ct_0003.dcm"), good)
        assert before == {path.name: path.read_bytes() for path in source.iterdir()}
    if output.exists() and not overwrite:
        output.rename(tmp_path / "done")
    assert start(source, output, *(["--overwrite"] if overwrite else [])).wait() == 0
    assert {path.name for path in output.iterdir()} == names
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
