"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real CT volumes: ``CTMAR_DATA``, else ``shared/data`` beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CTMAR_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real CT data: neither CTMAR_DATA nor {default.name} beside the repository exists")
    return folder
