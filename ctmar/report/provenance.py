"""By what a figure was made: command, date, version, machine, and which cases."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import ctmar

CPU_FLAGS = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""Of Linux's list: what a processor is told by, the widest first."""
SOURCES = ("ctmar", "configs", "scripts")


@dataclass(frozen=True)
class Made:
    """How figures came about.

    Attributes:
        command: What was typed.
        date: Year, month and day, UTC.
        version: Of ctmar.
        commit: Of its checkout, ``+`` behind it where sources were changed since; empty without a checkout.
        machine: Cores and processor in words, no names.
        cases: What was measured on, in words.
        hash: Of these cases, or of all that decides them; empty where none is known.
    """

    command: str
    date: str
    version: str
    commit: str
    machine: str
    cases: str
    hash: str


def made_now(command: str, cases: str, hash: str = "") -> Made:
    """What is being made here and now."""
    today = datetime.now(UTC).date().isoformat()
    return Made(command, today, ctmar.__version__, commit(), machine(), cases, hash)


def command_line() -> str:
    """What this program was started with: its place in the checkout, or its name, and the arguments."""
    program = Path(sys.argv[0])
    root = Path(ctmar.__file__).parents[1]
    place = program.resolve()
    name = place.relative_to(root).as_posix() if place.is_relative_to(root) else program.name
    start = f"python {name}" if program.suffix == ".py" else program.name
    return " ".join([start, *sys.argv[1:]])


def commit() -> str:
    """The short hash of the checkout that ctmar is imported from, ``+`` where its sources were changed."""
    root = Path(ctmar.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    head = _git(root, "rev-parse", "--short", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", *SOURCES)
    return head + ("+" if head and changed else "")


def _git(root: Path, *words: str) -> str:
    try:
        told = subprocess.run(["git", "-C", str(root), *words], check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def machine() -> str:
    """Cores that this process may use, and the family of the processor."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    family = platform.machine() or "a processor of unknown family"
    known = Path("/proc/cpuinfo")
    flags = known.read_text(encoding="utf-8").split() if known.is_file() else []
    wide = next((word for flag, word in CPU_FLAGS.items() if flag in flags), "")
    cores = "1 core" if count == 1 else f"{count} cores"
    return f"{cores}, {family}" + (f" with {wide}" if wide else "")
