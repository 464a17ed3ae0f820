"""A training in a process of its own, which tests may kill, interrupt or starve."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from tests import children
from tests.children import Child
from tests.tiny_runs import SMALL_NETWORK, TINY

ROOT = Path(__file__).parents[2]
LONG = ["++callbacks.early_stopping=null", "evaluation.num_panels=0", "test=false", "extras.num_threads=1"]


def command(folder: Path, cache: Path, *overrides: str) -> list[str]:
    """A tiny training in ``folder``."""
    every = [*TINY, *SMALL_NETWORK, *LONG, f"hydra.run.dir={folder}", f"paths.outputs={folder.parent}"]
    return [sys.executable, str(ROOT / "train.py"), *every, f"paths.cache_dir={cache}", *overrides]


_STARTED: list[Child] = []


def end_all() -> None:
    """Kills what still runs, with its children."""
    while _STARTED:
        children.end(_STARTED.pop())


def start(
    folder: Path,
    cache: Path,
    *overrides: str,
    limits: Mapping[int, tuple[int, int]] | None = None,
    imported: bool | None = None,
    **env: str,
) -> Child:
    """Starts it in a process group of its own; options as for :func:`tests.children.start`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    every = {"WANDB_MODE": "offline", **env}
    job = children.start(
        command(folder, cache, *overrides), cwd=folder.parent, limits=limits, imported=imported, **every
    )
    _STARTED.append(job)
    return job


def finish(job: Child, timeout: float = 900) -> tuple[int, str]:
    """Waits for it; its exit status and what it said on stderr."""
    done = children.finish(job, timeout)
    return done.returncode, done.stderr


def error_line(said: str) -> str:
    """The one line that answers a fault; fails where there is a traceback or more than one of them."""
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and said.strip().splitlines()[-1] == lines[0], said
    return lines[0]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Its weights; whatever a fault left behind must load."""
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state
