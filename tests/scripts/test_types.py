"""Programs beside the package call what is there: an attribute that moved shows in their types."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[2]


def mypy(*files: Path) -> subprocess.CompletedProcess[str]:
    """Checks files, or else what the project names, with the cache of ``make types``."""
    return run([sys.executable, "-m", "mypy", *files], cwd=ROOT, limit=400)


@pytest.mark.slow
def test_package_and_scripts_fit_their_types() -> None:
    out = mypy()
    assert out.returncode == 0, out.stdout


@pytest.mark.slow
def test_an_attribute_that_is_not_there_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from ctmar.case import Case\n\n\ndef f(case: Case) -> object:\n    return case.measured\n",
        encoding="utf-8",
    )
    out = mypy(wrong)
    assert out.returncode == 1 and '"Case" has no attribute "measured"' in out.stdout
