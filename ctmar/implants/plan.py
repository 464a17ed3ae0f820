"""A plan as plain data: printable, kept as YAML, replayed bit for bit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ctmar.errors import CtmarError, flat
from ctmar.vectors import FloatArray, Vector, vector

SEAT_MM = 8.0
"""From the bone at the entry to the rod's axis: the tulip stands on the bone."""


@dataclass(frozen=True)
class ScrewPlan:
    """One screw: where it enters, where it goes, its size and metal (mm, order (x, y, z))."""

    level: str
    side: str
    entry_mm: Vector
    direction: Vector
    diameter_mm: float
    length_mm: float
    material: str
    proud_mm: float = 0.0
    """How far the head stands off the bone, for a smoother rod; below 0 it is sunk into the facet."""
    core_taper: float = 0.0
    """Share by which the thread's root narrows from head to tip: 0 is a cylindrical core."""
    bore_mm: float = 0.0
    """Diameter of the cannulation; 0 where there is none."""
    monoaxial: bool = False
    """Whether the head stands along the screw instead of turning with the rod."""
    mesh: str | None = None
    """STL file (mm, head at y = 0, tip towards -y) in place of the parametric shaft."""

    @property
    def rod_center_mm(self) -> FloatArray:
        """Where the rod passes through the head."""
        return np.asarray(self.entry_mm) - (SEAT_MM + self.proud_mm) * np.asarray(self.direction)

    @property
    def tip_mm(self) -> FloatArray:
        """Where it ends, in the vertebral body."""
        return np.asarray(self.entry_mm) + self.length_mm * np.asarray(self.direction)


@dataclass(frozen=True)
class RodPlan:
    """One rod: the points it passes, its thickness, overhang and metal."""

    side: str
    centers_mm: tuple[Vector, ...]
    diameter_mm: float
    overhang_mm: float
    material: str


@dataclass(frozen=True)
class Device:
    """One more solid of a construct, or one change of the body (``ctmar.implants.construct``).

    Attributes:
        kind: Its shape, one of ``kinds.SOLIDS``.
        name: What reports call it.
        material: A name that the scanner knows, or one of ``construct.BODY_HU``: that is anatomy, there with
            and without metal.
        numbers: The shape's arguments by name, in mm.
    """

    kind: str
    name: str
    material: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A construct as plain data."""

    screws: tuple[ScrewPlan, ...]
    rods: tuple[RodPlan, ...]
    devices: tuple[Device, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Lists, numbers and words only, for JSON or YAML."""
        return {name: [_plain(asdict(item)) for item in getattr(self, name)] for name in _PIECES}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The plan that ``to_dict`` wrote."""
        try:
            screws = tuple(
                ScrewPlan(**{**s, "entry_mm": vector(s["entry_mm"]), "direction": vector(s["direction"])})
                for s in data["screws"]
            )
            rods = tuple(
                RodPlan(**{**r, "centers_mm": tuple(vector(point) for point in r["centers_mm"])})
                for r in data["rods"]
            )
            devices = tuple(Device(**device) for device in data.get("devices", ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise CtmarError(f"a plan must hold screws and rods with their sizes, got {error}") from None
        return cls(screws, rods, devices)

    def save(self, path: Path) -> None:
        """Writes the plan as YAML, every number to its last bit."""
        import yaml

        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The plan in a YAML file.

        Raises:
            CtmarError: No such file, no YAML, or no plan in it.
        """
        import yaml

        try:
            data = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CtmarError(f"a plan must be a readable YAML file, got {path}: {flat(error)}") from None
        if not isinstance(data, Mapping):
            raise CtmarError(f"a plan must hold screws and rods, got {path} without them")
        return cls.from_dict(data)

    def __str__(self) -> str:
        """One line a piece, for people."""
        lines = [
            f"{s.level:>3} {s.side:<5} screw {s.diameter_mm:.1f} × {s.length_mm:.0f} mm  {s.material}"
            f"  entry {_point(s.entry_mm)}  tip {_point(s.tip_mm)}"
            f"{f'  mesh {Path(s.mesh).name}' if s.mesh else ''}"
            for s in self.screws
        ]
        lines += [
            f"    {r.side:<5} rod   {r.diameter_mm:.2f} mm through {self._heads(r.side)}  {r.material}"
            for r in self.rods
        ]
        return "\n".join([*lines, *(f"    {d.name}  {d.material}" for d in self.devices)])

    def _heads(self, side: str) -> str:
        """How many screws of a side its rod runs through: a rod of one head has two points all the same."""
        count = sum(screw.side == side for screw in self.screws)
        return f"{count} head{'' if count == 1 else 's'}"

    def materials(self) -> tuple[str, ...]:
        """The names of what its pieces are made of, each once."""
        return tuple(dict.fromkeys(item.material for name in _PIECES for item in getattr(self, name)))


_PIECES = ("screws", "rods", "devices")


def _point(values: Vector | FloatArray) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in values) + ")"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
