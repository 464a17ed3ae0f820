"""What decides a case's content: settings, input files and the simulating code, each by its digest."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import ctmar

PACKAGES = ("anatomy", "completion", "implants", "operators", "physics", "scenes")
MODULES = ("geometry.py", "sample.py", "units.py", "data/segmentation.py", "data/simulate.py")
HASHED_BYTES = 1 << 30
"""Input up to this size is known by its content; a larger folder by its files' names and sizes."""


def fingerprint(settings: dict[str, Any]) -> str:
    """A name for all that decides what a case holds: settings and the simulating code.

    Args:
        settings: JSON-able settings of body, scenes, scanner, geometry and seed; input files by their digest.
    """
    return hashlib.sha256((json.dumps(settings, sort_keys=True) + code_digest()).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the code that simulates."""
    digest, root = hashlib.sha256(), Path(ctmar.__file__).parent
    sources = [root / name for name in MODULES]
    for package in PACKAGES:
        sources += sorted(path for kind in ("*.py", "*.csv") for path in (root / package).rglob(kind))
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def input_digest(path: str | Path) -> str | None:
    """Digest of an input file or folder, wherever it lies; None where there is nothing."""
    root = Path(path)
    files = sorted(part for part in root.rglob("*") if part.is_file()) if root.is_dir() else [root]
    if not all(file.is_file() for file in files):
        return None
    stats = [(file, file.stat()) for file in files]
    marks = tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
    return _digest(str(root), marks)


@lru_cache(maxsize=16)
def _digest(root: str, marks: tuple[tuple[str, int, int], ...]) -> str:
    """The digest of files; their size and time are arguments so that a changed file is read again."""
    digest, whole = hashlib.sha256(), sum(size for _, size, _ in marks) <= HASHED_BYTES
    for name, size, _ in marks:
        relative = Path(name).relative_to(root).as_posix() if name != root else ""
        digest.update(f"{relative} {size}\n".encode())
        for block in _blocks(name) if whole else ():
            digest.update(block)
    return digest.hexdigest()[:16]


def _blocks(name: str) -> Iterable[bytes]:
    with open(name, "rb") as file:
        while block := file.read(1 << 20):
            yield block
