import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_every_bound_of_the_geometry_holds() -> None:
    out = run([sys.executable, ROOT / "scripts" / "validation" / "check_geometry.py"])
    assert out.returncode == 0, out.stdout + out.stderr
    assert "MISSED" not in out.stdout and out.stdout.count("\n") > 40
