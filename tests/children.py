"""Processes that tests start: each has a limit, and its signals as a terminal gives them.

A command of ctmar is forked from a process that has everything imported, where that is the same
(:mod:`tests.imported`); else, or with ``imported=False``, an interpreter starts.
"""

import atexit
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.imported.client import Imported, Server, connect, fits, possible

ROOT = Path(__file__).parents[1]
GIVEN_BACK = (signal.SIGINT, signal.SIGTERM)
Child = subprocess.Popen[str] | Imported
FROM_THE_START = dict(os.environ)
LEFT_BEHIND = (
    "HYDRA_FULL_ERROR", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR",
    "OMP_WAIT_POLICY", "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
)  # fmt: skip
"""What a command or a library that ran in this process may have set for itself: no child's business."""
_SERVERS: list[Server] = []


def start(
    command: Sequence[object],
    *,
    cwd: Path | None = None,
    limits: Mapping[int, tuple[int, int]] | None = None,
    output: int = subprocess.PIPE,
    imported: bool | None = None,
    **env: str,
) -> Child:
    """Starts a child in a process group of its own.

    Args:
        command: The program and its arguments.
        cwd: Its folder, if another.
        limits: Of its resources (:mod:`resource`), soft and hard.
        output: Where what it says goes.
        imported: Whether it is forked from a process with everything imported, where that is the same; None:
            if it is a file or ``-m ctmar``.
        **env: Variables that it has beside those of this process.
    """
    words = [str(part) for part in command]
    every = {**_always(os.environ), **env}
    with _signals_of_a_terminal():
        ours = words[1:3] == ["-m", "ctmar"] or not words[1:2] or not words[1].startswith("-")
        wanted = ours if imported is None else imported
        if (
            wanted
            and output == subprocess.PIPE
            and possible()
            and fits(words, every, _always(FROM_THE_START))
        ):
            return Imported(connect(server().path), words, str(cwd or Path.cwd()), every, limits=limits)
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=every,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            preexec_fn=(lambda: _limit(limits)) if limits else None,  # noqa: PLW1509 — the tests start no threads
        )


def _limit(limits: Mapping[int, tuple[int, int]]) -> None:
    for limit, pair in limits.items():
        resource.setrlimit(limit, pair)


def _always(env: Mapping[str, str]) -> dict[str, str]:
    """With what every child has; a name of ``LEFT_BEHIND`` as it was before anything ran here."""
    kept = {name: value for name, value in env.items() if name not in LEFT_BEHIND}
    before = {name: FROM_THE_START[name] for name in LEFT_BEHIND[1:] if name in FROM_THE_START}
    # A tutorial's reader draws into files too: the same here, lest no command of his be like the server.
    always = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "Agg"}
    return {**kept, **before, **always}


def server() -> Server:
    """This process's server, started when it is first wanted."""
    if not _SERVERS:
        _SERVERS.append(Server(Path(tempfile.mkdtemp(prefix="ctmar-")), _always(FROM_THE_START)))
        atexit.register(_end_server)
    return _SERVERS[0]


def on_path(folder: Path) -> dict[str, str]:
    """The path on which a shell finds ``ctmar``, forked from the server where that is the same.

    Args:
        folder: A new folder for the program that stands in for it.
    """
    installed = Path(sys.executable).parent
    places = [str(installed), os.environ["PATH"]]
    if possible():
        folder.mkdir()
        program = folder / "ctmar"
        command = f"stand_in({str(server().folder)!r}, [{str(installed / 'ctmar')!r}, *sys.argv[1:]])"
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys\n\nsys.path.append({str(ROOT)!r})\n"
            f"from tests.imported.client import stand_in\n\nsys.exit({command})\n",
            encoding="utf-8",
        )
        program.chmod(0o755)
        places.insert(0, str(folder))
    return {"PATH": os.pathsep.join(places)}


def _end_server() -> None:
    done = _SERVERS.pop()
    done.end()
    shutil.rmtree(done.folder)


def finish(child: Child, limit: float = 300) -> subprocess.CompletedProcess[str]:
    """Waits for a child; one that takes longer is ended with its own children, and fails the test."""
    try:
        out, said = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        out, said = end(child)
        raise AssertionError(f"still running after {limit} s: {child.args}\n{out}\n{said}") from None
    return subprocess.CompletedProcess(child.args, child.returncode or 0, out or "", said or "")


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
