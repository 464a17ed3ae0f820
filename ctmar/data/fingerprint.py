"""What decides a case's content: settings, input files and the simulating code, each by its digest."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import ctmar

PACKAGES = (
    "anatomy",
    "geometry",
    "implants",
    "methods",
    "operators",
    "phantoms",
    "physics",
    "scenes",
    "stored",
)
MODULES = (
    "case.py",
    "units.py",
    "vectors.py",
    "data/scanning.py",
    "data/setup.py",
    "data/simulate.py",
    "data/source.py",
    "data/threads.py",
    # What tells metal from streaks in stored images, its weights too.
    "networks/occupancy.py",
    "networks/occupancy.safetensors",
    "networks/unet.py",
)
HASHED_BYTES = 1 << 30
"""A folder of up to this size is known by its content, as any file is; a larger one by its files' names,
sizes and ends."""
END_BYTES = 1 << 16
SETTLED_NS = 2_000_000_000
"""So long files must have rested for their digest to be kept: within a clock's tick contents look alike."""


def fingerprint(settings: dict[str, Any]) -> str:
    """A name for all that decides what a case holds: settings and the simulating code.

    Args:
        settings: JSON-able settings of body, scenes, scanner, geometry and seed; input files by their digest.
    """
    return hashlib.sha256((json.dumps(settings, sort_keys=True) + code_digest()).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the code that simulates."""
    digest = hashlib.sha256()
    for source in simulating_code():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def simulating_code() -> tuple[Path, ...]:
    """The files of this package that decide what a case holds."""
    root = Path(ctmar.__file__).parent
    sources = [root / name for name in MODULES]
    for package in PACKAGES:
        sources += sorted(path for kind in ("*.py", "*.csv") for path in (root / package).rglob(kind))
    return tuple(sources)


def input_digest(path: str | Path) -> str | None:
    """Digest of an input file or folder, wherever it lies; None where there is nothing."""
    root = str(path)
    files = sorted(_files(root), key=Path) if os.path.isdir(root) else [root]
    if not all(os.path.isfile(file) for file in files):
        return None
    marks = tuple((file, *_marks(os.stat(file))) for file in files)
    newest = max((max(mark[2:]) for mark in marks), default=0)
    settled = newest < time.time_ns() - SETTLED_NS
    return (_digest if settled else _digest.__wrapped__)(root, marks)


def _files(root: str) -> Iterator[str]:
    """Files below a folder, through links to folders too; not what Python compiles beside its sources."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            folders.clear()  # a link back up
            continue
        seen.add(place)
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (file for name in names if os.path.isfile(file := os.path.join(folder, name)))


def _marks(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=256)
def _digest(root: str, marks: tuple[tuple[str, int, int, int], ...]) -> str:
    """The digest of files; size and times are arguments so that a changed file is read again."""
    whole = len(marks) == 1 or sum(size for _, size, *_ in marks) <= HASHED_BYTES
    digest = hashlib.sha256()
    for name, size, *_ in marks:
        relative = Path(name).relative_to(root).as_posix() if name != root else ""
        digest.update(f"{relative} {size}\n".encode())
        for block in _blocks(name) if whole else _ends(name, size):
            digest.update(block)
    return digest.hexdigest()[:16]


def _blocks(name: str) -> Iterator[bytes]:
    with open(name, "rb") as file:
        while block := file.read(1 << 20):
            yield block


def _ends(name: str, size: int) -> Iterator[bytes]:
    """The beginning and the end, where headers and an archive's checksum are."""
    with open(name, "rb") as file:
        yield file.read(END_BYTES)
        file.seek(max(0, size - END_BYTES))
        yield file.read(END_BYTES)
