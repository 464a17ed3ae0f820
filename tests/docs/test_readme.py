"""The README: short, in short sentences, and what it tells a reader to run runs."""

import shlex
import sys
from pathlib import Path

import pytest

from scripts.validation.follow_readme import commands
from scripts.validation.follow_tutorials import blocks, reader
from tests.children import run
from tests.docs.words import figures, sentences

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MOST_LINES, MEDIAN_WORDS = 120, 20
SMALL = ("geometry=tiny", "anatomy=procedural_small", "evaluation.lesions=false")
LESS = {
    "train.py": (*SMALL, "data.num_cases={train: 4, val: 2, test: 2}", "trainer.max_epochs=1"),
    "scripts/evaluate.py": (*SMALL, "data.num_cases.test=2"),
    "scripts/benchmark_mar.py": ("geometry=small", "num_cases=2"),
}
"""What makes each command a short one; all else of it stays."""
CALL = """
import numpy
assert corrected_hu.shape == tuple(volume_hu.shape) == (3, 128, 128)
assert numpy.isfinite(corrected_hu).all() and abs(corrected_hu - volume_hu.numpy()).max() > 100
"""


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES
    assert figures([README])[1] <= MEDIAN_WORDS


def test_its_python_is_ten_lines() -> None:
    ((language, file, code),) = blocks(TEXT)
    assert (language, file) == ("python", "") and len([line for line in code.splitlines() if line]) == 10


def test_the_essay_is_told_of_once() -> None:
    assert TEXT.count("essay") == 1


def test_three_commands_are_found() -> None:
    assert [shlex.split(command)[1] for command in commands(TEXT)] == list(LESS)


@pytest.mark.slow
def test_its_python_corrects_an_array(tmp_path: Path) -> None:
    ((_, _, code),) = blocks(TEXT)
    out = run([sys.executable, "-c", code + CALL], limit=400, cwd=tmp_path, **reader())
    assert out.returncode == 0, out.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(TEXT), ids=lambda command: shlex.split(command)[1])
def test_its_commands_run(command: str, tmp_path: Path) -> None:
    _, script, *given = shlex.split(command)
    less = [*given, *LESS[script], f"paths.root={tmp_path}"]
    out = run([sys.executable, ROOT / script, *less], limit=400, cwd=tmp_path, **reader())
    assert out.returncode == 0, out.stderr
    assert list(tmp_path.rglob("evaluation/summary.json"))


def test_sentences_are_told_apart() -> None:
    page = (
        "# Not this\nOne, `two three` $x y$. Four [five](six.md)!\n\n```\nnone\n```\n| no | no |\n|---|---|\n"
    )
    assert sentences(page + "- An item, e.g. this\n") == ["One, X X.", "Four five!", "An item, e.g this"]
