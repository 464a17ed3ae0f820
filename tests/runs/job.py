"""A training in a process of its own, which tests may kill, interrupt or starve."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.runs.conftest import SMALL_NETWORK, TINY

ROOT = Path(__file__).parents[2]
LONG = ["++callbacks.early_stopping=null", "evaluation.num_panels=0", "test=false", "extras.num_threads=1"]


def command(folder: Path, cache: Path, *overrides: str) -> list[str]:
    """A tiny training in ``folder``."""
    every = [*TINY, *SMALL_NETWORK, *LONG, f"hydra.run.dir={folder}", f"paths.outputs={folder.parent}"]
    return [sys.executable, str(ROOT / "train.py"), *every, f"paths.cache_dir={cache}", *overrides]


_STARTED: "list[subprocess.Popen[str]]" = []


def end_all() -> None:
    """Kills what still runs, with its children."""
    while _STARTED:
        job = _STARTED.pop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        if job.poll() is None:
            job.communicate()


def start(
    folder: Path, cache: Path, *overrides: str, before: Callable[[], None] | None = None, **env: str
) -> "subprocess.Popen[str]":
    """Starts it in a process group of its own; ``before`` runs in the child first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"} | env
    job = subprocess.Popen(
        command(folder, cache, *overrides),
        cwd=folder.parent,
        env=environment,
        start_new_session=True,
        preexec_fn=before,  # noqa: PLW1509 — the tests start no threads
        encoding="utf-8",
        **streams,
    )
    _STARTED.append(job)
    return job


def finish(job: "subprocess.Popen[str]", timeout: float = 900) -> tuple[int, str]:
    """Waits for it; its exit status and what it said on stderr."""
    _, said = job.communicate(timeout=timeout)
    return job.returncode, said


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
