"""The benchmark's independent simulation serves the tests too."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def benchmark() -> ModuleType:
    """``scripts/benchmark_physics.py`` as a module."""
    file = Path(__file__).parents[2] / "scripts" / "benchmark_physics.py"
    spec = importlib.util.spec_from_file_location("benchmark_physics", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
