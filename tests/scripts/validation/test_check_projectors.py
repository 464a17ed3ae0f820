import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform
from tests.children import run

SCRIPT = Path(__file__).parents[3] / "scripts" / "validation" / "check_projectors.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_projectors", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_native_projector_holds_every_bound() -> None:
    out = run([sys.executable, SCRIPT, "--backends", "native"], limit=600)
    assert out.returncode == 0, out.stdout + out.stderr
    assert "MISSED" not in out.stdout and out.stdout.count("≤") > 30


@pytest.mark.slow
def test_a_detector_a_tenth_of_a_bin_off_is_missed() -> None:
    check = script()
    shifted = ParallelBeam(720, 729, 0.7, det_offset_mm=0.07)
    rows = list(check.projection_rows("native", RayTransform(check.GRID, shifted, "native")))
    assert not all(row.holds for row in rows)


def test_a_bound_holds_for_both_signs() -> None:
    row = script().Row("native", "mean", -0.2, "HU", 0.1)
    assert not row.holds and row._replace(value=-0.1).holds
