"""The command line: composes the config, runs the job, and turns bad input into one line.

Torch and Lightning are imported by the job alone, so that ``--help`` and a wrong option answer at once.
"""

import io
import logging
import os
import shutil
import sys
from collections.abc import Callable, Container, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ctmar.config.composing import config_dir, importable, searching
from ctmar.config.environment import drop_empty
from ctmar.config.moved import renamed
from ctmar.errors import CtmarError
from ctmar.jobs.mistakes import one_line
from ctmar.jobs.processes import relaunchable

JOBS = ("train", "evaluate", "simulate", "plan", "benchmark", "export")
COMMANDS = ("correct", "inspect", "compare", "study", "recipe", "calibrate", "convert", "new", "results")
"""Jobs with arguments of their own in place of a config: on scans, on runs, on several trainings."""
LEFT_BY_HYDRA = {".hydra", "ctmar.log"}
PLACES = ("hydra.run.dir", "hydra.sweep.dir", "paths.outputs", "paths.root")
"""Keys that name the folder in which Hydra makes a run's own, before a job is asked."""


def main(job: str | None = None) -> int:
    """Runs a job with the overrides in ``sys.argv``; returns the exit status.

    Args:
        job: One of :data:`JOBS` or :data:`COMMANDS`; None takes it from the first argument.
    """
    if job is None:
        completing = sys.argv[1:2] in (["-sc"], ["--shell-completion"])
        job = _completed_job() if completing else sys.argv.pop(1) if len(sys.argv) > 1 else ""
        if completing and not job:
            print(*JOBS, *COMMANDS)
            return 0
        if job not in (*JOBS, *COMMANDS):
            print(f"usage: ctmar {{{'|'.join(JOBS)}}} [--config-dir DIR] [OVERRIDE ...]", file=sys.stderr)
            print(f"       ctmar {{{'|'.join(COMMANDS)}}} --help", file=sys.stderr)
            return 0 if job in ("-h", "--help") else 2
    drop_empty()
    importable(Path.cwd())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a ± must not end a run on an ASCII terminal
    # Threads that spin while they wait make torch several times slower beside any other process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if job in COMMANDS:
        return _command(job)
    # Hydra finds its plugins by importing them; Optuna's has alembic tell of its own on the way.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Hydra then raises instead of printing; the line is ours to print.
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = renamed(sys.argv[1:])
    lines: list[str] = []
    try:
        _hydra_main(job, lines, _folders_there(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        line = one_line(error)
        if wants_traceback or line is None:
            raise
        _report(line, lines)
    return 2 if lines else 0


def _completed_job() -> str:
    """The job whose options a shell is to complete; none where it is the job's own name.

    A shell asks with its line in ``COMP_LINE``; the job is taken out of it, since Hydra knows a program and
    its overrides. The line that has a shell ask is the same for every job.
    """
    program, _, rest = os.environ.get("COMP_LINE", "ctmar train ").partition(" ")
    job, found, overrides = rest.lstrip().partition(" ")
    os.environ["COMP_LINE"] = f"{program} {overrides}"
    return job if found and job in JOBS else ""


def _command(name: str) -> int:
    """Runs a job with arguments of its own; bad input is one line."""
    arguments = import_module("ctmar.jobs.arguments").parse(name, sys.argv[1:])
    try:
        with searching(vars(arguments).get("config_dir", ())):
            import_module(f"ctmar.jobs.{name}").run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr, flush=True)
        return 2
    return 0


def _report(line: str, lines: list[str]) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    lines.append(line)


def _folders_there(overrides: Sequence[str]) -> set[Path]:
    """The current folder, and those that the overrides name and that there are: no run may delete them.

    Raises:
        CtmarError: A folder's name is empty, as of a variable that is not set: it would be the root.
    """
    there = {Path.cwd()}
    for override in overrides:
        key, given, value = override.partition("=")
        if not given or key.lstrip("+") not in PLACES:
            continue
        if not value.strip("'\""):
            raise CtmarError(f"{key} must name a folder, got nothing")
        if Path(value).is_dir():
            there.add(Path(value).resolve())
    return there


def _hydra_main(job: str, lines: list[str], there: Container[Path]) -> None:
    """Composes and runs; a job that a user's input fails adds its line, and a sweep goes on.

    Args:
        job: One of :data:`JOBS`.
        lines: Gets the line of each job that fails.
        there: Folders that a run has not made.
    """
    import hydra
    from omegaconf import DictConfig, open_dict

    started, home = os.getpid(), Path.cwd()

    def task(cfg: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig

        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        with open_dict(cfg):
            cfg.paths.output_dir = str(folder)
        try:
            found_by = [o for o in hydra_config.overrides.hydra if o.startswith("hydra.searchpath")]
            importable(home)  # here it may be a launcher's worker
            with relaunchable(job, hydra_config, folder), searching(_theirs(hydra_config)):
                return _job(job)(cfg, [*hydra_config.overrides.task, *found_by])
        except Exception as error:
            _remove_untouched(folder, there)
            line = one_line(error)
            if line is None:
                raise
            if os.getpid() != started:
                raise  # a launcher's job on another machine: the error travels, our list of lines does not
            _report(line, lines)
            return None

    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=job)(task)()


def _theirs(hydra_config: Any) -> list[str]:
    """Where options are looked for beside Hydra's and ctmar's own."""
    found = [source for source in hydra_config.runtime.config_sources if source.schema in ("file", "pkg")]
    return [
        f"{source.schema}://{source.path}" for source in found if source.provider not in ("hydra", "main")
    ]


def _job(name: str) -> Callable[..., Any]:
    job: Callable[..., Any] = import_module(f"ctmar.jobs.{name}").run
    return job


def _remove_untouched(folder: Path, there: Container[Path]) -> None:
    """Removes a run's folder in which there is nothing but what Hydra put there; of a user's, that alone."""
    if not folder.is_dir() or not {entry.name for entry in folder.iterdir()} <= LEFT_BY_HYDRA:
        return
    if folder.resolve() not in there:
        shutil.rmtree(folder)
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    (folder / "ctmar.log").unlink(missing_ok=True)
