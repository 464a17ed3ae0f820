"""Writing so that an output is there as a whole or not at all."""

import glob
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError

MARK = ".ctmar-"


def check_output(output: Path, source: Path, is_folder: bool, overwrite: bool) -> None:
    """Refuses an output that would overwrite the input, or something else without being asked to.

    Raises:
        CtmarError: With what is in the way.
    """
    there, given = output.resolve(), source.resolve()
    if there == given or (is_folder and (given.is_relative_to(there) or there.is_relative_to(given))):
        raise CtmarError("the output must lie apart from the input, got one that is or holds the other")
    if output.is_symlink():
        raise CtmarError("the output must not be a symbolic link, got one")
    if not output.parent.is_dir() and output.parent.exists():
        raise CtmarError(f"the output's folder {output.parent} must be a folder, got a file")
    if not output.exists():
        return
    if output.is_dir() != is_folder:
        wanted, found = ("a folder", "a file") if is_folder else ("a file", "a folder")
        raise CtmarError(f"the output must be {wanted}, got {found}, {output}")
    empty = is_folder and not any(output.iterdir())
    if not empty and not overwrite:
        what = "folder that is not empty" if is_folder else "file that exists"
        raise CtmarError(f"the output must be new (or give --overwrite), got a {what}: {output}")


@contextmanager
def whole(output: Path, is_folder: bool) -> Iterator[Path]:
    """A folder beside ``output`` to write into; what is in it becomes ``output`` at the end, in one step.

    A folder as a whole, with files of other names that were in the old one; for a file the one of its
    name, and others beside it. A run that fails leaves nothing, and one that is killed a folder whose name
    starts with a point, which the next run removes.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    _tidy(output)
    work = output.parent / f".{output.name}{MARK}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    # A terminated run should clean up like an interrupted one.
    before = _on_terminate()
    try:
        yield work
        if is_folder:
            _take_place(work, output)
        else:
            for path in sorted(work.iterdir(), key=lambda p: p.name == output.name):
                os.replace(path, output.parent / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _take_place(work: Path, output: Path) -> None:
    if not output.exists():
        os.replace(work, output)
        return
    for old in output.iterdir():
        if not (work / old.name).exists():
            _share(old, work / old.name)
    aside = work.with_name(work.name + ".old")
    os.replace(output, aside)
    os.replace(work, output)
    shutil.rmtree(aside, ignore_errors=True)


def _share(old: Path, new: Path) -> None:
    """A second name for the same file, or a copy where the file system knows none."""
    if old.is_symlink():
        os.symlink(os.readlink(old), new)
    elif old.is_dir():
        new.mkdir()
        for child in old.iterdir():
            _share(child, new / child.name)
    else:
        try:
            os.link(old, new)
        except OSError:
            shutil.copy2(old, new)


def _tidy(output: Path) -> None:
    """Removes what killed runs left; puts an output back that one had set aside and not yet replaced."""
    for left in sorted(output.parent.glob(f".{glob.escape(output.name)}{MARK}*")):
        owner = left.name.rpartition(MARK)[2].split("-")[0]
        if owner.isdigit() and _runs(int(owner)):
            continue
        if left.name.endswith(".old") and not output.exists():
            os.replace(left, output)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _on_terminate() -> Any:
    """Makes SIGTERM an interruption; returns the handler before, None where there can be none."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        return None
