"""``kill -9`` at any moment leaves nothing half-written, and a rerun completes."""

import os
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked, and this system cannot")
def test_killed_twenty_times_at_random() -> None:
    out = run([sys.executable, "-m", "tests.clinical.killed", "20"], limit=600, cwd=ROOT)
    assert out.returncode == 0, out.stdout + out.stderr
    assert out.stdout.count("killed, output") >= 10 and "a rerun completes" in out.stdout
