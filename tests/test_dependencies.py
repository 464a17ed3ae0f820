"""The versions that are allowed, and the two sets of them that are tested."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
UNTESTED_LOWEST = {"torch"}
"""No build of the lowest torch runs beside the others without gigabytes of CUDA; another stands for it."""


def pins(name: str) -> dict[str, Version]:
    """The versions of a constraints file by canonical name."""
    lines = (ROOT / "constraints" / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def least(requirement: Requirement) -> Version:
    (bound,) = (Version(one.version) for one in requirement.specifier if one.operator == ">=")
    return bound


@pytest.mark.parametrize("name", ["tested.txt", "lowest.txt"])
def test_every_dependency_is_pinned_within_its_bounds(name: str) -> None:
    pinned = pins(name)
    for requirement in CORE:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_lowest_pins_are_the_lower_bounds() -> None:
    pinned = pins("lowest.txt")
    assert set(pinned) >= {canonicalize_name(requirement.name) for requirement in CORE}
    for requirement in CORE:
        if requirement.name not in UNTESTED_LOWEST:
            assert pinned[canonicalize_name(requirement.name)] == least(requirement), requirement


def test_caps_are_majors() -> None:
    for requirement in CORE:
        (cap,) = (Version(one.version) for one in requirement.specifier if one.operator == "<")
        assert cap.release == (cap.major,) and cap.major == max(least(requirement).major, 0) + 1, requirement
