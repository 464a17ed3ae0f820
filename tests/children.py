"""Processes that tests start: each has a limit, and its signals as a terminal gives them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GIVEN_BACK = (signal.SIGINT, signal.SIGTERM)
Child = subprocess.Popen[str]


def start(
    command: Sequence[object],
    *,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
    output: int = subprocess.PIPE,
    **env: str,
) -> Child:
    """Starts a child in a process group of its own; ``before`` runs in it first, ``env`` is added."""
    with _signals_of_a_terminal():
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**_inherited(), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 — the tests start no threads
        )


def _inherited() -> dict[str, str]:
    """This process's environment, without what a command that ran in it has set for itself."""
    return {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}


def finish(child: Child, limit: float = 300) -> subprocess.CompletedProcess[str]:
    """Waits for a child; one that takes longer is ended with its own children, and fails the test."""
    try:
        out, said = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        out, said = end(child)
        raise AssertionError(f"still running after {limit} s: {child.args}\n{out}\n{said}") from None
    return subprocess.CompletedProcess(child.args, child.returncode, out or "", said or "")


def end(child: Child) -> tuple[str, str]:
    """Kills what still runs of a child and its children; what it had said."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.stdout is not None and child.stdout.closed:
        child.wait(timeout=60)
        return "", ""
    return child.communicate(timeout=60)


def run(command: Sequence[object], limit: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Starts a child and waits for it; options as for :func:`start`."""
    return finish(start(command, **options), limit)


@contextlib.contextmanager
def _signals_of_a_terminal() -> Iterator[None]:
    """A shell's ``&`` and nohup have their jobs ignore Ctrl-C, or block it, and children inherit that."""
    ignored = [name for name in GIVEN_BACK if signal.getsignal(name) is signal.SIG_IGN]
    for name in ignored:
        signal.signal(name, signal.SIG_DFL)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, GIVEN_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name in ignored:
            signal.signal(name, signal.SIG_IGN)
