"""The same geometry in a smaller world."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from ctmar.geometry.fan import FanBeam
from ctmar.geometry.grid import ImageGrid
from ctmar.geometry.parallel import ParallelBeam

T = TypeVar("T", ImageGrid, ParallelBeam, FanBeam)


def smaller(geometry: T, factor: float) -> T:
    """A grid or beam whose every length is ``factor`` times smaller; the same counts and angles."""
    if factor == 1.0:
        return geometry
    scaled: dict[str, Any] = {}
    for name in (field.name for field in fields(geometry) if field.name.endswith("_mm")):
        value = getattr(geometry, name)
        scaled[name] = tuple(x / factor for x in value) if isinstance(value, tuple) else value / factor
    return replace(geometry, **scaled)
