"""Two tests that each import a module of one name from a folder of their own: neither meets the other's."""

import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize("value", [1, 2])
def test_a_name_may_be_used_twice(value: int, tmp_path: Path) -> None:
    (tmp_path / "a_name_of_mine.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
    sys.path.insert(0, str(tmp_path))  # as a job does with the current folder
    assert import_module("a_name_of_mine").VALUE == value
