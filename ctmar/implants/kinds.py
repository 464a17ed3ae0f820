"""Shapes of devices by name: from plain numbers, as a plan keeps them, to solids."""

from collections.abc import Callable, Mapping
from typing import Any

from ctmar.errors import CtmarError
from ctmar.implants.mesh import Mesh
from ctmar.implants.random_metal import Blob
from ctmar.implants.shapes import Cylinder, Ellipsoid, Shape, Sphere, Tube
from ctmar.implants.solids import UPRIGHT, Axes, Box, Difference, HalfSpace
from ctmar.vectors import vector


def _axes(rows: Any) -> Axes:
    first, second, third = (vector(row) for row in rows)
    return first, second, third


def _box(n: Mapping[str, Any]) -> Box:
    axes = _axes(n.get("axes", UPRIGHT))
    return Box(vector(n["center_mm"]), vector(n["size_mm"]), axes, float(n.get("rounding_mm", 0.0)))


def _cage(n: Mapping[str, Any]) -> Difference:
    """A block with one window from top to bottom for bone graft, its walls ``wall_mm`` thick."""
    block = _box(n)
    width, depth, height = block.size_mm
    wall = float(n["wall_mm"])
    inner = (width - 2 * wall, depth - 2 * wall, 2 * height)
    return Difference(block, (Box(block.center_mm, inner, block.axes),))


def _tube(n: Mapping[str, Any]) -> Tube:
    return Tube(tuple(vector(point) for point in n["points_mm"]), float(n["radius_mm"]))


def _cylinder(n: Mapping[str, Any]) -> Cylinder:
    end = n.get("end_radius_mm")
    radius = float(n["radius_mm"])
    return Cylinder(vector(n["start_mm"]), vector(n["end_mm"]), radius, None if end is None else float(end))


def _shell(n: Mapping[str, Any]) -> Difference:
    """Half a hollow ball, open along ``normal``: the cup of a hip."""
    center, radius = vector(n["center_mm"]), float(n["radius_mm"])
    opening = HalfSpace(center, vector([-v for v in n["normal"]]))
    return Difference(Sphere(center, radius), (Sphere(center, radius - float(n["wall_mm"])), opening))


def _blob(n: Mapping[str, Any]) -> Blob:
    waves = tuple(vector(wave) for wave in n["waves"])
    amplitudes, phases = (tuple(map(float, n[key])) for key in ("amplitudes", "phases"))
    return Blob(vector(n["center_mm"]), float(n["radius_mm"]), waves, amplitudes, phases)


SOLIDS: dict[str, Callable[[Mapping[str, Any]], Shape]] = {
    "sphere": lambda n: Sphere(vector(n["center_mm"]), float(n["radius_mm"])),
    "ellipsoid": lambda n: Ellipsoid(
        vector(n["center_mm"]), vector(n["radii_mm"]), _axes(n.get("axes", UPRIGHT))
    ),
    "cylinder": _cylinder,
    "tube": _tube,
    "box": _box,
    "cage": _cage,
    "shell": _shell,
    "blob": _blob,
    "mesh": lambda n: Mesh(str(n["path"]), vector(n["origin_mm"]), _axes(n.get("axes", UPRIGHT))),
}
"""What a device's ``kind`` may be, and how its numbers become a solid."""


def solid(kind: str, numbers: Mapping[str, Any]) -> Shape:
    """The solid of a kind.

    Raises:
        CtmarError: An unknown kind, or numbers that are missing or not numbers.
    """
    if kind not in SOLIDS:
        raise CtmarError(f"kind must be one of {', '.join(SOLIDS)}, got {kind!r}")
    try:
        return SOLIDS[kind](numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise CtmarError(f"a {kind} must have its numbers, got {error!r}") from None
