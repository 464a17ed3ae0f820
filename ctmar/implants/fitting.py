"""Screws of a plan taken from STL files, each from the one that fits: no thicker, and about as long."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.implants.mesh import shaft_size_mm
from ctmar.implants.plan import Plan, ScrewPlan

LENGTH_TOLERANCE_MM = 5.0
"""One step of the standard lengths."""
MEASURED_MM = 0.05
"""A mesh is measured to this."""

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""STL files, folders of them, or one of either."""


def mesh_files(paths: Paths) -> tuple[str, ...]:
    """The STL files that are named, those in a folder in the order of their names.

    Raises:
        CtmarError: A folder without one.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return tuple(file for path in given for file in _files(Path(path)))


def _files(path: Path) -> Iterable[str]:
    if not path.is_dir():
        return [str(path)]
    found = sorted(str(file) for file in path.iterdir() if file.suffix.lower() == ".stl")
    if not found:
        raise CtmarError(f"screw_meshes must name STL files or a folder of them, got none in {path}")
    return found


def with_meshes(plan: Plan, paths: Paths, length_tolerance_mm: float = LENGTH_TOLERANCE_MM) -> Plan:
    """The plan with each screw's shaft taken from the mesh that fits; where none does it stays parametric.

    A mesh fits that is no thicker than planned and whose shaft is as long within the tolerance; both are
    measured from the mesh (:func:`ctmar.implants.mesh.shaft_size_mm`). Of several the thickest is taken, of
    equally thick ones the nearest in length. Tips stay where they were planned.

    Args:
        plan: The plan.
        paths: STL files (mm, head at y = 0, tip towards -y), or folders of them.
        length_tolerance_mm: By how much a mesh may be longer or shorter.

    Raises:
        CtmarError: A file that is no closed mesh, or a tolerance below 0.
    """
    if not isinstance(length_tolerance_mm, (int, float)) or not length_tolerance_mm >= 0:
        raise CtmarError(f"mesh_length_tolerance_mm must be 0 or more, got {length_tolerance_mm!r}")
    sizes = {path: shaft_size_mm(path) for path in mesh_files(paths)}
    return replace(plan, screws=tuple(_fitted(screw, sizes, length_tolerance_mm) for screw in plan.screws))


def _fitted(screw: ScrewPlan, sizes: dict[str, tuple[float, float]], tolerance_mm: float) -> ScrewPlan:
    """The screw of the mesh that fits it; itself where there is none."""
    fitting = [
        (-round(diameter, 1), abs(length - screw.length_mm), path)
        for path, (diameter, length) in sizes.items()
        if diameter <= screw.diameter_mm + MEASURED_MM
        and abs(length - screw.length_mm) <= tolerance_mm + 2 * MEASURED_MM
    ]
    if not fitting:
        return screw
    path = min(fitting)[-1]
    return replace(screw, mesh=path, diameter_mm=round(sizes[path][0], 2))


def parametric(plan: Plan, paths: Paths) -> tuple[str, ...]:
    """A line for each screw of the plan that none of the meshes fitted, with their sizes."""
    sizes = [f"{Path(path).name} {_size(*shaft_size_mm(path))}" for path in mesh_files(paths)]
    return tuple(
        f"{screw.level} {screw.side} screw {_size(screw.diameter_mm, screw.length_mm)} stays parametric:"
        f" no mesh fits ({', '.join(sizes)})"
        for screw in plan.screws
        if screw.mesh is None
    )


def _size(diameter_mm: float, length_mm: float) -> str:
    return f"{diameter_mm:.1f} × {length_mm:.0f} mm"
