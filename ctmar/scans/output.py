"""Writing so that an output is there as a whole or not at all."""

import glob
import json
import os
import shutil
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError

MARK, READY = ".ctmar-", ".ready"
RECORD = "correction.json"
"""Names, under ``files``, all that a run wrote into a folder."""


def check_output(
    output: Path, source: Path, is_folder: bool, overwrite: bool, beside: Sequence[str] = ()
) -> None:
    """Refuses an output that would overwrite the input, or something else without being asked to.

    Args:
        output: A folder or a file.
        source: The input.
        is_folder: Which of both the output is.
        overwrite: Whether an earlier one may be replaced.
        beside: Names of further files that a file is written with.

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
    if is_folder:
        _check_folder(output, overwrite)
        return
    for path in (output, *(output.parent / name for name in beside)):
        if path.resolve() == given:
            raise CtmarError(f"the output must lie apart from the input, got one with {path.name}")
        if path.is_dir():
            raise CtmarError(f"the output must be a file, got a folder, {path}")
        if path.exists() and not overwrite:
            raise CtmarError(f"the output must be new (or give --overwrite), got a file that exists: {path}")
        if path.exists() and not output.exists():
            raise CtmarError(
                f"files of another scan must stay, got {path} and no {output.name} that it would be of; give"
                " another name or remove it"
            )


def _check_folder(output: Path, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise CtmarError(f"the output must be a folder, got a file, {output}")
    filled = output.is_dir() and any(not child.name.startswith(MARK) for child in output.iterdir())
    if filled and not overwrite:
        raise CtmarError(
            f"the output must be new (or give --overwrite), got a folder that is not empty: {output}"
        )


@contextmanager
def whole(output: Path, is_folder: bool) -> Iterator[Path]:
    """A folder to write into, whose content becomes ``output`` at the end; made at once, so that it can be.

    It lies beside the output and takes its place in one step. Where that cannot be, as where the output is
    another disk's or its parent is not ours, it lies inside, and its files are moved when all are there.
    Files of other names in an old output stay, but for those that its own record names. For a file the one of
    its name is moved last. A run that fails leaves nothing, and one that is killed a folder whose name starts
    with a point, which the next run completes or removes.

    Raises:
        CtmarError: A place that cannot be written to.
    """
    made = _make_parents(output.parent)
    try:
        _tidy(output)
        work = _work_folder(output, is_folder)
    except BaseException:
        _remove_empty(made)
        raise
    # A terminated run should clean up like an interrupted one.
    before, done = _on_terminate(), False
    try:
        yield work
        if is_folder and work.parent != output:
            _take_place(work, output)
        else:
            _move_in(work, output if is_folder else output.parent, output.name)
        done = True
    except OSError as error:
        # A full disk says so where the bytes are written, and there without a name.
        if error.errno is not None and error.filename is None:
            error.filename = str(output)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not done:
            _remove_empty(made)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def check_space(folder: Path, needed: int) -> None:
    """Refuses a disk that cannot hold what is to be written.

    Args:
        folder: On that disk.
        needed: Bytes.

    Raises:
        CtmarError: There are fewer.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CtmarError(
            f"the output's disk must have {needed / 1e6:.0f} MB free, got {free / 1e6:.0f}: {folder.parent}"
        )


def _make_parents(folder: Path) -> list[Path]:
    """Makes a folder; those that were made, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CtmarError(f"the output's folder {folder} must be made, got {error.strerror}") from None
    return missing


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _work_folder(output: Path, is_folder: bool) -> Path:
    """Beside the output where it can take its place, else inside."""
    name = f"{MARK}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    work, inside = output.parent / f".{output.name}{name}", output / name
    try:
        if not (is_folder and output.is_dir()):
            work.mkdir()
            return work
        inside.mkdir()
    except OSError as error:
        raise CtmarError(
            f"the output must lie where files can be written, got {error.strerror}: {output}"
        ) from None
    try:
        # What cannot leave the folder, a mount point or one in a parent of others, cannot be replaced.
        os.rename(inside, work)
    except OSError:
        return inside
    return work


def _take_place(work: Path, output: Path) -> None:
    if not output.exists():
        os.replace(work, output)
        return
    stale = _recorded(output)
    for old in output.iterdir():
        if not (work / old.name).exists() and old.name not in stale:
            _share(old, work / old.name)
    shutil.copymode(output, work)
    aside = work.with_name(work.name + ".old")
    os.replace(output, aside)
    os.replace(work, output)
    shutil.rmtree(aside, ignore_errors=True)


def _move_in(work: Path, folder: Path, last: str) -> None:
    """Moves what is written into a folder that is there, file by file, that of the name ``last`` last."""
    for path in work.iterdir():
        if (folder / path.name).is_dir():
            raise CtmarError(f"the output must be a file, got a folder, {folder / path.name}")
    ready = work.with_name(work.name + READY)
    os.replace(work, ready)
    _complete(ready, folder, last)


def _complete(ready: Path, folder: Path, last: str) -> None:
    """Moves the files of a finished run; a killed run's too, of which some are moved."""
    new = sorted((path.name for path in ready.iterdir()), key=lambda name: (name == RECORD, name == last))
    stale = _recorded(folder) - _recorded(ready) if RECORD in new else set()
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    for name in new:
        os.replace(ready / name, folder / name)
    ready.rmdir()


def _recorded(folder: Path) -> set[str]:
    """Files that an earlier run wrote into a folder, by its own record."""
    try:
        names = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return {name for name in map(str, names) if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


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
    """Removes what killed runs left, or completes it; puts back an output that one had only set aside."""
    left = [(path, output.parent) for path in output.parent.glob(f".{glob.escape(output.name)}{MARK}*")]
    left += [(path, output) for path in output.glob(f"{MARK}*")] if output.is_dir() else []
    for path, folder in sorted(left):
        owner = path.name.rpartition(MARK)[2].split("-")[0]
        if owner.isdigit() and _runs(int(owner)):
            continue
        if path.name.endswith(".old") and not output.exists():
            os.replace(path, output)
        elif path.name.endswith(READY):
            _complete(path, folder, output.name)
        else:
            shutil.rmtree(path, ignore_errors=True)


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
