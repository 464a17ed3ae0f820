"""The tutorials, run as a reader runs them: each page's blocks in order, in one empty folder."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(sh|python)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file that the block goes to, and text of each block that a reader is to use."""
    return BLOCK.findall(page)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # where ctmar is installed
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'work'}",
        "WANDB_MODE": "offline",
    }
    work = tmp_path / "work"
    work.mkdir()
    found = blocks(page.read_text(encoding="utf-8"))
    assert found
    for language, file, text in found:
        if file:
            (work / file).write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        out = run(command, limit=400, cwd=work, **env)
        assert out.returncode == 0, f"{text}\n{out.stdout}\n{out.stderr}"


def test_blocks_are_found_by_language_and_file() -> None:
    page = "a\n```sh\nls\n```\n```python file=x.py\ny = 1\n```\n```\nnot run\n```\n"
    assert blocks(page) == [("sh", "", "ls\n"), ("python", "x.py", "y = 1\n")]
