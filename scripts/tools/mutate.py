"""Do the fast tests see a fault? ``scripts/tools/mutate.py [--mutants 150] [--seed 0] [--jobs 2]``.

Seeded faults, one at a time, in a copy of the package: signs, comparisons, and/or, constants, in operators,
metrics and the composition. A mutant is killed where a fast test fails, or does not end. Those that live are
listed with their line, to be looked at: some change nothing that can be seen.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).parents[2]
TARGETS = {
    "ctmar/operators": ("tests/operators", "tests/contracts"),
    "ctmar/metrics": ("tests/metrics", "tests/evaluation"),
    "ctmar/methods": ("tests/methods",),
    "ctmar/inputs": ("tests/inputs",),
}
"""Sources, and the tests that are to see their faults."""
LEFT_OUT = ("triton", "torch_radon", "astra", "__init__")
"""Code for CUDA or for packages that the tests' environment lacks."""
SECONDS = 240
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        path: The source, from the root.
        place: Number of the node among those that can be changed.
        line: Its line.
        what: Before and after, in words.
    """

    path: str
    place: int
    line: int
    what: str


class _Faults(ast.NodeTransformer):
    """Numbers the nodes that can be changed, and changes one of them."""

    def __init__(self, wanted: int = -1) -> None:
        self.wanted = wanted
        self.found: list[tuple[int, str]] = []

    def visit(self, node: ast.AST) -> Any:
        """Leaves out what is no arithmetic: annotations, defaults, decorators, messages."""
        if isinstance(node, (ast.Raise, ast.JoinedStr)):
            return node
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                node.value = self.visit(node.value)
            return node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [self.visit(part) for part in node.body]
            return node
        changed = self._changed(node)
        return changed if changed is not None else self.generic_visit(node)

    def _changed(self, node: ast.AST) -> ast.AST | None:
        """What takes the node's place; None where it stays, its operator changed or not."""
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.Compare)):
            operator = node.ops[0] if isinstance(node, ast.Compare) else node.op
            swapped = SWAPS.get(type(operator))
            text = isinstance(node, ast.BinOp) and isinstance(node.left, ast.JoinedStr)
            if swapped is None or text:
                return None
            if not self._here(node, f"{type(operator).__name__} to {swapped.__name__}"):
                return None
            if isinstance(node, ast.Compare):
                node.ops[0] = swapped()
            else:
                node.op = swapped()
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
            if self._here(node, f"{type(node.op).__name__} left out"):
                return node.operand
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            other = not node.value if isinstance(node.value, bool) else node.value + 1
            if self._here(node, f"{node.value} to {other}"):
                return ast.copy_location(ast.Constant(other), node)
        return None

    def _here(self, node: ast.expr, what: str) -> bool:
        self.found.append((node.lineno, what))
        return len(self.found) - 1 == self.wanted


def candidates() -> list[Mutant]:
    """Every fault that can be made, in the order of the files."""
    found = []
    for path in _sources():
        faults = _Faults()
        faults.visit(ast.parse(path.read_text(encoding="utf-8")))
        name = path.relative_to(ROOT).as_posix()
        found += [Mutant(name, place, line, what) for place, (line, what) in enumerate(faults.found)]
    return found


def _sources() -> Iterator[Path]:
    for target in TARGETS:
        where = ROOT / target
        for path in sorted(where.rglob("*.py")) if where.is_dir() else [where]:
            if not any(name in path.name for name in LEFT_OUT):
                yield path


def mutated(source: str, place: int) -> str:
    """The source with one fault."""
    tree = _Faults(place).visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def tests_of(path: str) -> list[str]:
    """The tests that are to see a fault of a source, those of its own name first."""
    folders = next(tests for target, tests in TARGETS.items() if path.startswith(target))
    own = [p for folder in folders for p in sorted((ROOT / folder).glob(f"test_{Path(path).stem}*.py"))]
    rest = [p for folder in folders for p in sorted((ROOT / folder).glob("test_*.py")) if p not in own]
    return [p.relative_to(ROOT).as_posix() for p in (*own, *rest)]


def survives(tree: Path, mutant: Mutant) -> bool:
    """Whether the fast tests pass in ``tree`` with the fault in it; the tree is as before afterwards."""
    file = tree / mutant.path
    whole = file.read_text(encoding="utf-8")
    file.write_text(mutated(whole, mutant.place), encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        ended = subprocess.run(
            [*run, *tests_of(mutant.path)],
            cwd=tree,
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        return ended.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(whole, encoding="utf-8")


def main() -> int:
    """Prints each mutant's end and the share that was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the list goes; one that is there is gone on with")
    given = parser.parse_args()
    every = candidates()
    chosen = random.Random(given.seed).sample(every, min(given.mutants, len(every)))
    known = json.loads(given.json.read_text(encoding="utf-8")) if given.json and given.json.is_file() else {}
    trees: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        for job in range(given.jobs):
            tree = Path(folder) / str(job)
            for part in ("ctmar", "tests", "configs", "scripts"):
                shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
            for part in ("pyproject.toml", "train.py"):
                shutil.copy(ROOT / part, tree / part)
            trees.put(tree)

        def one(mutant: Mutant) -> bool:
            key = f"{mutant.path}:{mutant.line}: {mutant.what} ({mutant.place})"
            if key not in known:
                tree, start = trees.get(), time.monotonic()
                known[key] = survives(tree, mutant)
                trees.put(tree)
                print(
                    f"{'LIVES' if known[key] else 'killed'} {key}, {time.monotonic() - start:.0f} s",
                    flush=True,
                )
                if given.json:
                    given.json.write_text(json.dumps(known, indent=1), encoding="utf-8")
            return bool(known[key])

        living = sum(pool.map(one, chosen))
    share = 1 - living / len(chosen)
    print(f"{len(chosen) - living} of {len(chosen)} killed ({share:.1%}), {len(every)} possible")
    return 0


if __name__ == "__main__":
    sys.exit(main())
