"""The page for Python has every public object, once, and each has a docstring."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import ctmar

PAGE = Path(ctmar.__file__).parents[1] / "docs" / "api.md"
BLOCK = re.compile(r"^\.\. automodule:: (\S+)\n((?:   .*\n)*)", re.MULTILINE)
PARTS = {
    "ctmar.config",
    "ctmar.jobs",
    "ctmar.learned",
    "ctmar.networks",
    "ctmar.report",
    "ctmar.scans",
    "ctmar.training",
}
"""Packages that list nothing for others."""


def blocks(page: str) -> dict[str, set[str]]:
    """The modules of the page, and what each leaves out."""
    found = {}
    for module, options in BLOCK.findall(page):
        _, _, names = options.partition(":exclude-members: ")
        found[module] = {name.strip() for name in names.partition("\n")[0].split(",")} - {""}
    return found


def public(module: ModuleType) -> dict[str, object]:
    """What a module lists; all of its own without an underscore where it has no list."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return {name: getattr(module, name) for name in names}
    found = vars(module).items()
    return {
        n: o for n, o in found if not n.startswith("_") and getattr(o, "__module__", "") == module.__name__
    }


BLOCKS = blocks(PAGE.read_text(encoding="utf-8"))
MODULES = {name: importlib.import_module(name) for name in BLOCKS}


def listed() -> list[tuple[str, object]]:
    """Every object on the page."""
    return [
        (f"{name}.{key}", value)
        for name, module in MODULES.items()
        for key, value in public(module).items()
        if key not in BLOCKS[name]
    ]


def test_every_package_is_on_the_page() -> None:
    packages = {f"ctmar.{path.parent.name}" for path in Path(ctmar.__file__).parent.glob("*/__init__.py")}
    assert packages - PARTS <= set(BLOCKS)
    assert all(not public(importlib.import_module(name)) for name in PARTS)


def test_what_one_station_leaves_out_another_has() -> None:
    there = [value for _, value in listed()]
    for name, module in MODULES.items():
        for key in BLOCKS[name]:
            assert any(value is getattr(module, key) for value in there), f"{name}.{key}"


def test_every_public_class_and_function_has_a_docstring() -> None:
    called = [
        (name, value) for name, value in listed() if inspect.isclass(value) or inspect.isfunction(value)
    ]
    assert len(called) > 100
    assert [name for name, value in called if not inspect.getdoc(value)] == []


def test_each_stands_there_once() -> None:
    called = [value for _, value in listed() if inspect.isclass(value) or inspect.isfunction(value)]
    assert len(called) == len({id(value) for value in called})
