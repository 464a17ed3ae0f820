"""Text files have an encoding of their own: without one, each machine's locale would choose."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for part in ("ctmar", "scripts", "tests") for file in (ROOT / part).rglob("*.py"))
NOT_TEXT = {"Image", "tarfile", "zipfile", "gzip", "bundle", "tar"}
"""Modules whose ``open`` opens no text file."""


def by_locale(source: str) -> list[str]:
    """Calls that read or write text in the encoding of the machine's locale, as written."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if _by_locale(call)]


def _by_locale(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    words = {word.arg for word in call.keywords}
    if "encoding" in words or None in words:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        # The package's own write_text(path, text) is always UTF-8.
        return isinstance(call.func, ast.Attribute) and len(call.args) < 2
    if name != "open" or (isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in NOT_TEXT):
        return False
    return "b" not in _mode(call) and len(call.args) + len(words) < 4


def _mode(call: ast.Call) -> str:
    """The mode a file is opened with; that of a method is its first argument, that of ``open`` its second."""
    given = [word.value for word in call.keywords if word.arg == "mode"]
    given += call.args[0 if isinstance(call.func, ast.Attribute) else 1 :][:1]
    return ast.unparse(given[0]) if given else "r"


def test_no_text_is_read_by_the_locale() -> None:
    found = {file: by_locale(file.read_text(encoding="utf-8")) for file in FILES}
    assert not {str(file.relative_to(ROOT)): calls for file, calls in found.items() if calls}


@pytest.mark.parametrize(
    "source",
    ["(a / 'b').read_text()", "path.write_text(text)", "open(p)", "open(p, 'w')", "p.open()", "p.open('a')"],
)
def test_what_would_be_is_found(source: str) -> None:
    assert by_locale(source)


@pytest.mark.parametrize(
    "source",
    [
        "p.read_text(encoding='utf-8')",
        "p.read_text('utf-8')",
        "p.write_text(text, 'utf-8')",
        "write_text(path, text)",
        "open(p, 'rb')",
        "p.open('wb')",
        "Image.open(p)",
        "p.open(newline='', encoding='utf-8')",
    ],
)
def test_what_is_not_is_let_through(source: str) -> None:
    assert not by_locale(source)
