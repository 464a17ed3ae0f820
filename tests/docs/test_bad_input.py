"""The page of bad input tells what comes, for every key."""

import re
from pathlib import Path

import pytest

from tests.config.test_config_fuzz import keys
from tests.jobs.building import answer

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
ROW = re.compile(r"^\| `([^`]+)` \| (.+) \|$", re.MULTILINE)
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = [row for row in ROW.findall(TEXT) if "=" in row[0] and "ckpt_path=RUN" not in row[0]]
ELSEWHERE = set(re.findall(r"`([\w.]+)`", TEXT.partition("## Any value")[2]))


def holds(overrides: str, message: str, folder: Path) -> bool:
    """Whether the answer to a command line holds the message."""
    return message in (answer(folder, *overrides.split(" ")) or "")


@pytest.mark.parametrize("overrides,message", ROWS[::12], ids=lambda text: text[:40])
def test_some_rows_are_answered_as_the_page_says(overrides: str, message: str, tmp_path: Path) -> None:
    assert holds(overrides, message, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("overrides,message", ROWS, ids=lambda text: text[:40])
def test_every_row_is_answered_as_the_page_says(overrides: str, message: str, tmp_path: Path) -> None:
    assert holds(overrides, message, tmp_path)


def test_another_answer_is_told_from_the_pages(tmp_path: Path) -> None:
    assert not holds("seed=-1", "seed must be a whole number from 1 on", tmp_path)
    assert not holds("seed=1", "seed must be", tmp_path)


def test_every_key_of_the_default_config_is_on_the_page() -> None:
    told = {part.partition("=")[0].lstrip("+") for overrides, _ in ROWS for part in overrides.split(" ")}
    absent = [
        key
        for key in dict.fromkeys([*keys(), *keys("model=cgan")])
        if key not in told and not any(key == name or key.startswith(f"{name}.") for name in ELSEWHERE)
    ]
    assert len(told) > 80 and not absent
