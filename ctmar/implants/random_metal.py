"""Metal of random shape at random places: the common alternative to hardware placed as a surgeon would."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError
from ctmar.implants.shapes import Cylinder, Ellipsoid, Part, Shape, positive
from ctmar.physics.materials import METALS
from ctmar.vectors import FloatArray, Vector, vector

PIECES = ("ellipsoid", "bar", "blob")


@dataclass(frozen=True)
class Blob:
    """A ball whose radius waves with direction; first order.

    Attributes:
        center_mm: Its centre.
        radius_mm: Mean radius.
        waves: Wave vectors (x, y, z) in radians over the unit sphere.
        amplitudes: Height of each wave as a share of the radius; together below 0.6.
        phases: Phase of each wave in rad.
    """

    center_mm: Vector
    radius_mm: float
    waves: tuple[Vector, ...]
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]

    def __post_init__(self) -> None:
        positive("radius_mm", self.radius_mm)
        if not len(self.waves) == len(self.amplitudes) == len(self.phases):
            raise CtmarError(
                f"a blob needs as many amplitudes and phases as waves, got {len(self.waves)} waves"
            )
        if sum(map(abs, self.amplitudes)) >= 0.6:
            raise CtmarError(
                f"amplitudes must sum to less than 0.6, got {sum(map(abs, self.amplitudes)):.2f}"
            )

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        offset = points_mm - np.asarray(self.center_mm)
        distance = np.linalg.norm(offset, axis=-1)
        toward = offset / np.maximum(distance, 1e-9)[..., None]
        radius, slope = np.ones_like(distance), np.zeros_like(toward)
        for wave, amplitude, phase in zip(self.waves, self.amplitudes, self.phases, strict=True):
            angle = toward @ np.asarray(wave) + phase
            radius += amplitude * np.cos(angle)
            slope -= amplitude * np.sin(angle)[..., None] * np.asarray(wave)
        slope -= np.einsum("...i,...i->...", slope, toward)[..., None] * toward
        steep = np.sqrt(1 + np.einsum("...i,...i->...", slope, slope))
        return (distance - self.radius_mm * radius) / steep

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        reach = self.radius_mm * (1 + sum(map(abs, self.amplitudes)))
        return np.asarray(self.center_mm) - reach, np.asarray(self.center_mm) + reach


@dataclass(frozen=True)
class Piece:
    """One piece: ``kind`` of ``PIECES``, its metal, and its numbers by the name of the shape's arguments."""

    kind: str
    material: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class RandomPlan:
    """Random metal as plain data."""

    pieces: tuple[Piece, ...]

    def to_dict(self) -> dict[str, Any]:
        """Lists, numbers and words only, for JSON or YAML."""
        return {"pieces": [asdict(piece) for piece in self.pieces]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The plan that ``to_dict`` wrote."""
        try:
            return cls(tuple(Piece(**piece) for piece in data["pieces"]))
        except (KeyError, TypeError) as error:
            raise CtmarError(
                f"a random plan must hold pieces of kind, material and numbers, got {error}"
            ) from None


def sample_random_metal(
    body: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    slice_index: int,
    rng: np.random.Generator,
    *,
    pieces: tuple[int, int] = (1, 6),
    sizes_mm: tuple[float, float] = (3.0, 30.0),
    materials: tuple[str, ...] = METALS,
) -> RandomPlan:
    """Pieces that each meet a slice inside the body, half their length or more from the skin.

    Args:
        body: Bool ``(row, column)``, where the slice is body.
        spacing_mm: Voxel size in the order (x, y, z).
        slice_index: The slice, z in voxels.
        rng: Source of everything that is sampled.
        pieces: Fewest and most.
        sizes_mm: Smallest and largest length of a piece; small ones are likelier (log-uniform).
        materials: What the metal is drawn from.

    Raises:
        CtmarError: Where the slice holds no body.
    """
    if not 1 <= pieces[0] <= pieces[1]:
        raise CtmarError(f"pieces must be (fewest, most) with 1 ≤ fewest ≤ most, got {pieces!r}")
    if not 0 < sizes_mm[0] <= sizes_mm[1]:
        raise CtmarError(
            f"sizes_mm must be (smallest, largest) with 0 < smallest ≤ largest, got {sizes_mm!r}"
        )
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=spacing_mm[1::-1])[1:-1, 1:-1]
    if not body.any():
        raise CtmarError(f"random metal needs body in slice {slice_index}, got none")
    chosen = []
    for _ in range(int(rng.integers(pieces[0], pieces[1] + 1))):
        length = float(np.exp(rng.uniform(*np.log(sizes_mm))))
        places = np.argwhere(depth >= min(length / 2, float(depth.max())))
        row, column = places[int(rng.integers(len(places)))]
        center = np.array([column, row, slice_index]) * np.asarray(spacing_mm)
        chosen.append(_sample_piece(center, length, materials, rng))
    return RandomPlan(tuple(chosen))


def _sample_piece(
    center: FloatArray, length: float, materials: tuple[str, ...], rng: np.random.Generator
) -> Piece:
    material, kind = str(rng.choice(list(materials))), str(rng.choice(list(PIECES)))
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    if kind == "ellipsoid":
        radii = length / 2 * np.array([1.0, *rng.uniform(0.3, 1.0, 2)])
        return Piece(
            kind, material, {"center_mm": _list(center), "radii_mm": _list(radii), "axes": axes.tolist()}
        )
    if kind == "bar":
        radius = float(np.clip(length * rng.uniform(0.08, 0.25), 1.0, 5.0))
        ends = {
            "start_mm": _list(center - axes[0] * length / 2),
            "end_mm": _list(center + axes[0] * length / 2),
        }
        return Piece(kind, material, {**ends, "radius_mm": radius})
    radius = min(length / 2, 10.0)
    amplitudes = rng.dirichlet(np.ones(3)) * rng.uniform(0.1, 0.4)
    waves, phases = rng.normal(0.0, 2.0, (3, 3)), rng.uniform(0.0, 2 * np.pi, 3)
    numbers = {"center_mm": _list(center), "radius_mm": radius, "waves": waves.tolist()}
    return Piece(kind, material, {**numbers, "amplitudes": _list(amplitudes), "phases": _list(phases)})


def _list(values: FloatArray) -> list[float]:
    return [float(value) for value in values]


def build_random_metal(plan: RandomPlan) -> tuple[Part, ...]:
    """The pieces of a plan; the same plan, the same pieces."""
    return tuple(Part(f"{p.kind} {n}", p.material, _shape(p)) for n, p in enumerate(plan.pieces))


def _shape(piece: Piece) -> Shape:
    numbers = dict(piece.numbers)
    if piece.kind == "ellipsoid":
        first, second, third = (vector(axis) for axis in numbers["axes"])
        return Ellipsoid(vector(numbers["center_mm"]), vector(numbers["radii_mm"]), (first, second, third))
    if piece.kind == "bar":
        return Cylinder(vector(numbers["start_mm"]), vector(numbers["end_mm"]), float(numbers["radius_mm"]))
    if piece.kind == "blob":
        waves = tuple(vector(wave) for wave in numbers["waves"])
        shares = tuple(map(float, numbers["amplitudes"])), tuple(map(float, numbers["phases"]))
        return Blob(vector(numbers["center_mm"]), float(numbers["radius_mm"]), waves, *shares)
    raise CtmarError(f"kind must be one of {', '.join(PIECES)}, got {piece.kind!r}")
