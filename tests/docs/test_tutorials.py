"""The tutorials, run as a reader runs them: each page's blocks in order, in one empty folder."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(sh|python|yaml)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file that the block goes to, and text of each block that a reader is to use."""
    return BLOCK.findall(page)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # where ctmar is installed
        "PYTHONPATH": str(ROOT),  # ctmar, which is installed for a reader; nothing of the page's
        "WANDB_MODE": "offline",
    }
    work = tmp_path / "work"
    work.mkdir()
    found = blocks(page.read_text(encoding="utf-8"))
    assert found
    for language, file, text in found:
        if file:
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).write_text(text, encoding="utf-8")
            continue
        assert language != "yaml", f"a config must be written to a file: {text}"
        command = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        out = run(command, limit=400, cwd=work, **env)
        assert out.returncode == 0, f"{text}\n{out.stdout}\n{out.stderr}"


def test_blocks_are_found_by_language_and_file() -> None:
    page = "a\n```sh\nls\n```\n```python file=x.py\ny = 1\n```\n```\nnot run\n```\n"
    page += "```yaml file=a/b.yaml\nz: 1\n```\n"
    assert blocks(page) == [("sh", "", "ls\n"), ("python", "x.py", "y = 1\n"), ("yaml", "a/b.yaml", "z: 1\n")]
