"""What the name of a set of cases is made of."""

import ast
from pathlib import Path

import ctmar
from ctmar.data.fingerprint import simulating_code

ROOT = Path(ctmar.__file__).parent
NO_PART = {"errors.py", "files.py"}
"""What says that something is wrong, and what writes files: no case differs by them."""


def imported(source: Path) -> set[Path]:
    """The modules of this package that a module names in its imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ctmar."):
            place = ROOT.parent.joinpath(*str(node.module).split("."))
            module = place.with_suffix(".py")
            found.add(module if module.is_file() else place / "__init__.py")
    return found


def test_all_code_that_the_simulating_code_imports_is_part_of_it() -> None:
    known = set(simulating_code())
    needed = {one for source in known if source.suffix == ".py" for one in imported(source)}
    assert {path.relative_to(ROOT).as_posix() for path in needed - known} == NO_PART


def test_so_are_the_weights_that_tell_metal_from_streaks() -> None:
    from ctmar.networks.occupancy import WEIGHTS

    assert WEIGHTS in simulating_code() and all(path.is_file() for path in simulating_code())
