"""The benchmark and its independent simulation serve the tests too."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def benchmark() -> ModuleType:
    """``scripts/benchmark_physics.py`` as a module."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return import_module("benchmark_physics")
    finally:
        sys.path.remove(str(SCRIPTS))
