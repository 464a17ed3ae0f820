"""Processes that a job starts: what runs a job again, and the processes of a distributed training."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ctmar
from ctmar.config.composing import searchpath

OF_A_TRAINING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
"""Variables in which Lightning tells processes of one another."""


def _command(job: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(Path(ctmar.__file__).with_name("__main__.py")), job, *arguments]


def job_command(job: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command that runs a job in a process of its own, wherever the package lies.

    It finds a user's options where this process does.
    """
    return _command(job, [*arguments, *searchpath()])


@contextmanager
def relaunchable(job: str, hydra_config: Any, folder: Path) -> Iterator[None]:
    """Has the processes that Lightning adds to a distributed training run this job, in this folder.

    It starts them by what ``sys.argv`` and ``__main__`` say, and those may be a program without its job
    (``ctmar``), a whole sweep in place of one of its jobs, or a launcher's worker. Afterwards nothing is left
    of them, so that a sweep's next job starts its own.

    Args:
        job: Its name.
        hydra_config: Of the running job.
        folder: Its output folder.
    """
    from omegaconf import read_write

    main = sys.modules["__main__"]
    program, environment = (sys.argv, main.__spec__), {name: os.environ.get(name) for name in OF_A_TRAINING}
    sys.argv, main.__spec__ = _command(job, _arguments(hydra_config))[1:], None
    with read_write(hydra_config):
        hydra_config.run.dir = str(folder)
    try:
        yield
    finally:
        sys.argv, main.__spec__ = program
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _leave_group()


def _arguments(hydra_config: Any) -> list[str]:
    """What composes a job's config again: of a sweep its one job's."""
    own = [source.path for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    return [
        f"--config-name={hydra_config.job.config_name}",
        *(f"--config-dir={path}" for path in own),
        *hydra_config.overrides.hydra,
        *hydra_config.overrides.task,
        "hydra.mode=RUN",
    ]


def _leave_group() -> None:
    """Ends this process's part in a training of several, which Lightning leaves open."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
