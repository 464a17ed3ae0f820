"""The list of what can be a user's own: every part has a page that is there and a test from outside."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
OUTSIDE = ROOT / "tests" / "outside"
PARTS = {
    "completion method",
    "fill",
    "network",
    "discriminator",
    "loss",
    "term of the loss",
    "input channel",
    "scanner effect before the logarithm",
    "scanner effect after the logarithm",
    "material",
    "implant",
    "scene generator",
    "anatomy source",
    "paired images",
    "paired sinograms",
    "metric",
    "projector backend",
    "callback",
    "benchmark",
    "published set",
    "study",
}
NOT_IN_THE_PACKAGE = {"material"}
"""Groups of which ctmar has no option of its own."""
PRIVATE = re.compile(r"(?:from|import) ctmar\S*(?:\.| import (?:[\w, ]+, )?)_[a-z]")


def rows(text: str) -> list[list[str]]:
    """The cells of the table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


ROWS = rows(PAGE.read_text(encoding="utf-8"))


def test_the_list_has_every_part() -> None:
    assert {row[0] for row in ROWS} == PARTS and len(ROWS) == len(PARTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_part_has_its_group_its_page_and_its_test(row: list[str]) -> None:
    group = row[2].strip("`").partition("/")[0]
    assert group in NOT_IN_THE_PACKAGE or (ROOT / "configs" / group).is_dir()
    text = (OUTSIDE / row[5].strip("`")).read_text(encoding="utf-8")
    chosen = re.findall(r"`[+]?(?:ctmar )?([\w.@]+)", row[3])
    assert "def test_" in text and any(key in text for key in chosen)


@pytest.mark.parametrize("file", sorted(OUTSIDE.glob("*.py")), ids=lambda file: file.stem)
def test_what_a_user_writes_uses_public_names_alone(file: Path) -> None:
    assert not PRIVATE.search(file.read_text(encoding="utf-8"))


def test_a_private_name_is_found() -> None:
    assert PRIVATE.search("from ctmar.methods.base import _default")
    assert PRIVATE.search("from ctmar.methods.base import Method, _default")
    assert PRIVATE.search("import ctmar.methods._base")
    assert not PRIVATE.search("from ctmar.methods import Method")
