import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_bound_of_the_geometry_holds() -> None:
    out = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_geometry.py")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert "MISSED" not in out.stdout and out.stdout.count("\n") > 40
