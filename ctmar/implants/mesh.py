"""Solids from triangle meshes (STL), as signed distances like every other.

``trimesh`` (MIT) reads the file. Inside and outside are found exactly, by counting the surfaces below each
point of a fine grid; near the surface the distance is that to the triangles, and between points of the grid
it is interpolated.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError
from ctmar.vectors import FloatArray, Vector, unit

PITCH_MM = 0.2
"""Grid of the distance."""
BAND_MM, EDGE_MM, NEIGHBOURS = 0.4, 0.5, 4
"""Within the first of the surface the distance is that to the triangles: each point's nearest few, which are
split until no edge is longer than the second."""
PAD_MM = 2.0
"""Grid kept around the mesh; beyond it the distance stays at this."""
MAX_EXTENT_MM, MAX_BYTES = 400.0, 200_000_000
"""A larger mesh is in other units, or no implant."""
HEAD_MM = 0.5
"""A screw's head is wider than its shaft by this."""
OFFSET = (0.000_37, 0.000_61)
"""Shift of the columns in mm: off the corners and edges of meshes with round numbers."""


class _Grid(NamedTuple):
    distance_mm: NDArray[np.float32]
    corner_mm: FloatArray
    low_mm: FloatArray
    high_mm: FloatArray
    volume_mm3: float
    shaft_mm: tuple[float, float]
    """Diameter and length of a screw's shaft."""


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh at a pose.

    Attributes:
        path: STL file, in mm.
        origin_mm: Where the mesh's own origin lies.
        axes: Where its x, y and z point: orthonormal rows.
    """

    path: str
    origin_mm: Vector = (0.0, 0.0, 0.0)
    axes: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __post_init__(self) -> None:
        _stored(self.path)

    @property
    def volume_mm3(self) -> float:
        """Volume that the triangles enclose."""
        return _stored(self.path).volume_mm3

    @property
    def own_bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner of the mesh in its own frame."""
        grid = _stored(self.path)
        return grid.low_mm, grid.high_mm

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        grid = _stored(self.path)
        own = (points_mm - np.asarray(self.origin_mm)) @ np.asarray(self.axes).T
        index = np.moveaxis((own - grid.corner_mm) / PITCH_MM, -1, 0)
        distance = ndimage.map_coordinates(grid.distance_mm, index, order=1, mode="constant", cval=PAD_MM)
        return distance.astype(float)

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        grid = _stored(self.path)
        middle, half = (grid.low_mm + grid.high_mm) / 2, (grid.high_mm - grid.low_mm) / 2
        axes = np.asarray(self.axes)
        center = np.asarray(self.origin_mm) + middle @ axes
        reach = half @ np.abs(axes)
        return center - reach, center + reach


def screw_mesh(path: str, tip_mm: FloatArray, direction: FloatArray) -> Mesh:
    """A screw's mesh (head at y = 0, tip towards -y) with its tip where a plan wants it."""
    low = _stored(path).low_mm
    y = -unit(direction)
    x = unit(np.cross(y, np.eye(3)[int(np.argmin(np.abs(y)))]))
    z = np.cross(x, y)
    origin = np.asarray(tip_mm) - low[1] * y
    rows = [(float(a[0]), float(a[1]), float(a[2])) for a in (x, y, z)]
    return Mesh(path, (float(origin[0]), float(origin[1]), float(origin[2])), (rows[0], rows[1], rows[2]))


def shaft_size_mm(path: str) -> tuple[float, float]:
    """Diameter over the thread, and length from the head's underside to the tip, of a screw's mesh.

    The diameter is the largest about the y axis over the half at the tip; the head begins where the mesh is
    wider than that by :data:`HEAD_MM`. A mesh without a head is as long as it is.
    """
    return _stored(path).shaft_mm


def _stored(path: str) -> _Grid:
    file = Path(path)
    try:
        stat = file.stat()
    except OSError:
        raise CtmarError(f"a mesh must be an STL file, got {path}, which does not exist") from None
    if file.suffix.lower() != ".stl" or stat.st_size > MAX_BYTES:
        raise CtmarError(f"a mesh must be an STL file of at most {MAX_BYTES // 10**6} MB, got {path}")
    return _load(os.fspath(file.resolve()), stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _load(path: str, modified_ns: int) -> _Grid:
    """The distance grid of a file, made once; a file that was changed is read anew."""
    import trimesh

    try:
        mesh = trimesh.load_mesh(path, file_type="stl", process=True)
    except Exception as error:  # whatever a broken file makes the reader raise
        raise CtmarError(f"a mesh must be a readable STL file, got {path}: {error}") from error
    faces = np.asarray(getattr(mesh, "triangles", np.zeros((0, 3, 3))), dtype=float)
    if len(faces) < 4 or not np.isfinite(faces).all():
        raise CtmarError(f"a mesh must hold triangles, got {len(faces)} in {path}")
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    if not _closed(np.asarray(mesh.faces)):
        raise CtmarError(f"a mesh must be closed, got holes in {path}")
    if (high - low).max() > MAX_EXTENT_MM:
        raise CtmarError(f"a mesh must measure at most {MAX_EXTENT_MM:g} mm, got {(high - low).max():.0f} mm")
    corner = low - PAD_MM
    shape = np.ceil((high - low + 2 * PAD_MM) / PITCH_MM).astype(int) + 1
    inside = _inside(faces, corner, shape)
    outside_mm, inside_mm = (
        ndimage.distance_transform_edt(m, sampling=PITCH_MM).astype(np.float32) for m in (~inside, inside)
    )
    # Zero halfway between the last point inside and the first outside, slope 1.
    distance = np.where(inside, PITCH_MM / 2 - inside_mm, outside_mm - PITCH_MM / 2).astype(np.float32)
    near = np.argwhere(np.abs(distance) < BAND_MM)
    exact = _to_triangles(mesh, corner + near * PITCH_MM)
    k, j, i = near.T
    distance[k, j, i] = np.where(inside[k, j, i], -exact, exact)
    return _Grid(distance, corner, low, high, abs(float(mesh.volume)), _shaft(faces.reshape(-1, 3)))


def _shaft(corners: FloatArray) -> tuple[float, float]:
    """Diameter and length of a screw's shaft, from the corners of its triangles."""
    y, width = corners[:, 1], 2 * np.hypot(corners[:, 0], corners[:, 2])
    diameter = float(width[y < (y.min() + y.max()) / 2].max())
    head = y[width > diameter + HEAD_MM]
    return diameter, float((head.min() if head.size else y.max()) - y.min())


def _closed(faces: NDArray[np.intp]) -> bool:
    """Whether every edge is gone along as often one way as the other."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    number, count = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)[1], edges.max() + 1
    way = np.where(edges[:, 0] < edges[:, 1], 1, -1) * (edges[:, 0] != edges[:, 1])
    return bool(count and not np.bincount(number.ravel(), way).any())


def _to_triangles(mesh: Any, points: FloatArray) -> FloatArray:
    """Distance in mm of points ``(n, 3)`` near the surface to its triangles."""
    from scipy.spatial import cKDTree
    from trimesh.remesh import subdivide_to_size
    from trimesh.triangles import closest_point

    vertices, faces = subdivide_to_size(mesh.vertices, mesh.faces, EDGE_MM, max_iter=20)
    corners = np.asarray(vertices)[np.asarray(faces)]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    corners = corners[area > 1e-12]
    _, nearest = cKDTree(corners.mean(axis=1)).query(points, k=min(NEIGHBOURS, len(corners)), workers=1)
    distance = np.full(len(points), np.inf)
    for column in nearest.reshape(len(points), -1).T:
        away = np.linalg.norm(closest_point(corners[column], points) - points, axis=1)
        distance = np.minimum(distance, away)
    return distance


def _inside(faces: FloatArray, corner: FloatArray, shape: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which points of the grid ``(x, y, z)`` lie inside: an odd number of surfaces below them in z."""
    steps = (faces - corner - np.array([*OFFSET, 0.0])) / PITCH_MM
    first = np.ceil(steps[..., :2].min(axis=1)).astype(int)
    count = np.maximum(np.floor(steps[..., :2].max(axis=1)).astype(int) - first + 1, 0)
    pairs = count.prod(axis=1)
    face = np.repeat(np.arange(len(faces)), pairs)
    place = np.arange(len(face)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    column = first[face] + np.stack([place // count[face, 1], place % count[face, 1]], axis=1)
    a, b, c = np.moveaxis(steps[face], 1, 0)
    # Barycentric coordinates of the column in the triangle seen from above.
    twice = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = _cross(column - a[:, :2], c - a) / twice, _cross(b - a, column - a[:, :2]) / twice
        height = a[:, 2] + u * (b - a)[:, 2] + v * (c - a)[:, 2]
        hit = (u >= 0) & (v >= 0) & (u + v < 1) & (twice != 0)
    crossings = np.zeros(shape + np.array([0, 0, 1]), dtype=np.int16)
    above = np.clip(np.ceil(height[hit]).astype(int), 0, shape[2])
    np.add.at(crossings, (column[hit, 0], column[hit, 1], above), 1)
    return np.cumsum(crossings, axis=2)[..., :-1] % 2 == 1


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
