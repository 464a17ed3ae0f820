"""The Dockerfile without docker: its steps one by one, in folders that stand for those of an image."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest

from tests.scans.dicom_maker import write_series
from tests.stored_images import body, disk

ROOT = Path(__file__).parents[1]
NO_REGISTRY = ("No matching distribution", "Could not find a version", "ConnectionError", "Max retries")
"""What pip says where nothing can be fetched."""


class Step(NamedTuple):
    """An instruction and what follows it."""

    word: str
    rest: str


def steps() -> list[Step]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [Step(*line.split(None, 1)) for line in text.replace("\\\n", "").splitlines() if line.strip()]


def only(word: str) -> list[str]:
    return [step.rest for step in steps() if step.word == word]


def test_it_is_slim_without_rights_and_corrects() -> None:
    assert all(re.match(r"python:3\.\d+-slim( AS \w+)?$", image) for image in only("FROM"))
    (user,) = only("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    (entry,) = only("ENTRYPOINT")
    assert json.loads(entry) == ["ctmar", "correct"]
    assert {step.word for step in steps()} <= {
        *("FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "USER", "ENTRYPOINT", "CMD")
    }


def test_it_asks_for_the_torch_that_the_project_asks_for() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = [need for need in tomllib.load(file)["project"]["dependencies"] if need.startswith("torch>")]
    assert all(f'"{need}"' in " ".join(only("RUN")) for need in wanted) and len(wanted) == 1


def test_what_is_copied_is_what_is_sent_to_docker() -> None:
    sent = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {name for rest in only("COPY") if "--from" not in rest for name in rest.split()[:-1]}
    assert copied == sent and all((ROOT / name).exists() for name in sent)


class Image:
    """Folders for those of an image, and a virtual environment for its Python.

    Args:
        root: An empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.work = root / "image", root / "image"
        self.work.mkdir()
        python = root / "python"
        venv.create(python, with_pip=True)
        (site,) = python.glob("lib/python*/site-packages")
        # What is installed need not be fetched again; this checkout is not on that path.
        (site / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        kept = {name: os.environ[name] for name in os.environ if name.startswith("PIP_") or "proxy" in name}
        self.env = {**kept, "PATH": f"{python / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def place(self, path: str) -> str:
        """A place in the image, by its absolute path there."""
        return f"{self.root}{path}" if path.startswith("/") else path

    def carry_out(self, step: Step) -> None:
        if step.word == "WORKDIR":
            self.work = Path(self.place(step.rest))
            self.work.mkdir(parents=True, exist_ok=True)
        elif step.word in ("ARG", "ENV"):
            for pair in shlex.split(step.rest):
                name, value = pair.split("=", 1)
                self.env[name] = self.place(value)
            Path(self.env.get("HOME", self.root)).mkdir(exist_ok=True)
        elif step.word == "COPY" and "--from" not in step.rest:
            *names, target = step.rest.split()
            for name in names:
                self.copy(ROOT / name, self.work / target)
        elif step.word == "RUN":
            self.run(["sh", "-ec", re.sub(r"(?<=[\s/(])/(?=wheels|opt)", f"{self.root}/", step.rest)])

    def copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=300,
            check=False,
        )
        if any(word in done.stderr for word in NO_REGISTRY):
            pytest.skip("no package registry is at hand to build the wheel with")
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    made = Image(tmp_path_factory.mktemp("docker"))
    for step in steps():
        made.carry_out(step)
    yield made


@pytest.mark.slow
def test_its_steps_make_what_corrects_a_mounted_folder(image: Image) -> None:
    plain = body()
    write_series(image.work / "in", np.stack([plain, np.where(disk(30, 0, 6) > 0.5, 3000, plain)]))
    (entry,) = only("ENTRYPOINT")
    assert image.work.name == "data"
    done = image.run([*json.loads(entry), "in", "out", "--method", "li"])
    assert "1 of 2 slices corrected" in done.stderr
    results = sorted((image.work / "out").glob("*.dcm"))
    assert len(results) == 2 and pydicom.dcmread(results[0]).ImageType[0] == "DERIVED"
    where = image.run(["python", "-c", "import ctmar, highdicom; print(ctmar.__file__)"]).stdout
    assert Path(where.strip()).is_relative_to(image.root.parent / "python")


@pytest.mark.slow
def test_help_is_what_it_says_without_arguments(image: Image) -> None:
    (entry,), (usual,) = only("ENTRYPOINT"), only("CMD")
    assert "usage: ctmar correct" in image.run([*json.loads(entry), *json.loads(usual)]).stdout
