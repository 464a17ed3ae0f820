"""The tutorials, run as a reader runs them: each page's blocks in order, in one empty folder."""

import ast
import json
import sys
from pathlib import Path

import pytest

from scripts.validation.follow_tutorials import PAGES, blocks, cells, commands, measured, reader, tables
from tests.children import finish, on_path, run, start
from tests.imported.client import fits

STARTED = ("first-run",)
"""Here an interpreter starts for each command, as for a reader; else one with everything imported forks."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    env = reader() if page.stem in STARTED else reader() | on_path(tmp_path / "bin")
    text = page.read_text(encoding="utf-8")
    assert blocks(text)
    for command in commands(text, work):
        out = run(command, limit=400, cwd=work, **env)
        assert out.returncode == 0, f"{command[-1]}\n{out.stdout}\n{out.stderr}"


def test_what_a_reader_types_is_forked_from_a_process_that_has_everything_imported() -> None:
    given = start([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"], **reader())
    env, servers = json.loads(finish(given).stdout), json.loads(finish(start(given.args)).stdout)
    command = [str(Path(sys.executable).parent / "ctmar"), "evaluate"]
    assert fits(command, env, servers)
    assert not fits(command, env | {"OMP_NUM_THREADS": "77"}, servers)


@pytest.mark.parametrize("name", ["first-look", "train-a-little"])
def test_a_notebook_is_plain_python_without_outputs(name: str) -> None:
    (page,) = [page for page in PAGES if page.name == f"{name}.ipynb"]
    notebook = json.loads(page.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    ast.parse("\n".join(cells(page.read_text(encoding="utf-8"))))  # no magic, no shell


def test_what_a_notebook_measured_is_tabled(tmp_path: Path) -> None:
    (tmp_path / "near_rmse_hu.json").write_text('{"nmar": 50.25}', encoding="utf-8")
    near, times = tables(measured("first-look", tmp_path), {"first-look": 90.0})
    assert near.rows == [["first-look", "cells", "nmar", 50.25]]
    assert times.rows == [["first-look", 1.5]]


def test_what_runs_of_a_tutorial_measured_is_tabled(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "mine" / "evaluation"
    folder.mkdir(parents=True)
    metrics = {"rmse_hu_near": {"mean": 50.25}, "ssim_soft": {"mean": 0.8}, "bias_hu_near": {"mean": None}}
    summary = {"methods": {"nmar": metrics | {"p95": {"mean": 190.0}}}, "own_metrics": ["p95"]}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    near, others = tables(measured("page", tmp_path))
    assert near.rows == [["page", "mine", "nmar", 50.25]]
    assert others.rows == [["page", "mine", "SSIM soft", "nmar", 0.8], ["page", "mine", "p95", "nmar", 190.0]]


def test_blocks_are_found_by_language_and_file() -> None:
    page = "a\n```sh\nls\n```\n```python file=x.py\ny = 1\n```\n```\nnot run\n```\n"
    page += "```yaml file=a/b.yaml\nz: 1\n```\n"
    assert blocks(page) == [("sh", "", "ls\n"), ("python", "x.py", "y = 1\n"), ("yaml", "a/b.yaml", "z: 1\n")]
