"""``kill -9`` at any moment leaves nothing half-written, and a rerun completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked, and this system cannot")
def test_killed_twenty_times_at_random() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "tests.clinical.killed", "20"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert out.stdout.count("killed, output") >= 10 and "a rerun completes" in out.stdout
