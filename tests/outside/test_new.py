"""``ctmar new``: what it lays out does what its README says."""

import re
import sys
from pathlib import Path

import pytest

from tests.children import run
from tests.outside.project import ROOT, Project

COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_its_readme_pass(tmp_path: Path) -> None:
    project = Project(tmp_path / "home")
    assert "my_mar.py" in project.passes("new", "my_mar")
    folder = project.folder / "my_mar"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "mine" not in re.findall(r"\w+", readme.replace("my own", ""))
    block = COMMANDS.findall(readme)[0].replace(
        "ctmar ", f"{sys.executable} {ROOT / 'ctmar' / '__main__.py'} "
    )
    commands = (
        block.replace("\\\n", " ").replace("python -m pytest", f"{sys.executable} -m pytest").splitlines()
    )
    assert len(commands) == 3
    for command in commands:
        path = str(ROOT) if "pytest" in command else ""  # ctmar itself is installed for a user
        out = run(["bash", "-euc", command], cwd=folder, limit=400, PYTHONPATH=path)
        assert out.returncode == 0, f"{command}\n{out.stdout}\n{out.stderr}"
    assert (folder / "outputs" / "benchmark" / "evaluation" / "summary.json").is_file()
    assert (folder / "outputs" / "train" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full", "must be new or empty"),
        ("my-mar", "must be a name for a module of your own, such as my_mar, got 'my-mar'"),
        ("class", "must be a name for a module"),
        ("torch", "must be a name for a module"),
        ("json", "must be a name for a module"),
    ],
)
def test_a_folder_that_will_not_do_is_one_line_and_nothing_is_written(
    tmp_path: Path, name: str, message: str
) -> None:
    project = Project(tmp_path / "home")
    project.write("full/file", "here")
    assert message in project.refused("new", name)
    assert [path.name for path in project.folder.rglob("*") if path.is_file()] == ["file"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    project = Project(tmp_path / "home")
    (project.folder / "here").mkdir()
    project.passes("new", "here")
    assert "class Smoothed" in (project.folder / "here" / "here.py").read_text(encoding="utf-8")
