"""Surfaces of solids as triangles, for viewers and printers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctmar.implants.shapes import Part, Shape
from ctmar.vectors import FloatArray

STEP_MM = 0.4
"""Grid on which a surface is found: a thread of 2.5 mm pitch shows."""
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def triangles(shape: Shape, step_mm: float = STEP_MM) -> FloatArray:
    """The closed surface of a solid as triangles ``(n, 3, 3)`` in mm, corners in the order (x, y, z).

    Surface nets (Gibson, MICCAI 1998): one vertex in every cell that the surface cuts, at the mean of
    the crossings on its edges; normals point outwards.
    """
    low, high = shape.bounds_mm()
    axes = [np.arange(a - 2 * step_mm, b + 3 * step_mm, step_mm) for a, b in zip(low, high, strict=True)]
    # A value of exactly 0 would put two vertices on one another.
    value = shape.signed_distance(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    value = np.where(value == 0, 1e-9, value)
    origin = np.array([axis[0] for axis in axes])
    vertices, number = _vertices(value)
    faces = np.concatenate([_faces(value, number, axis) for axis in range(3)])
    return (origin + vertices * step_mm)[faces]


def _vertices(value: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """A vertex (in steps) of every cell that is cut, and its number on the cells, -1 elsewhere."""
    shape = np.array(value.shape) - 1
    total, count = np.zeros((*shape, 3)), np.zeros(shape)
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        first, second = (
            np.take(value, range(shape[axis]), axis),
            np.take(value, range(1, shape[axis] + 1), axis),
        )
        cut = (first < 0) != (second < 0)
        share = np.where(cut, first / np.where(cut, first - second, 1.0), 0.0)
        for i in (0, 1):
            for j in (0, 1):
                edge = [slice(None)] * 3
                edge[others[0]] = slice(i, i + shape[others[0]])
                edge[others[1]] = slice(j, j + shape[others[1]])
                at, here = share[tuple(edge)], cut[tuple(edge)]
                count += here
                total[..., axis] += at
                total[..., others[0]] += i * here
                total[..., others[1]] += j * here
    found = count > 0
    number = np.full(shape, -1)
    number[found] = np.arange(int(found.sum()))
    return np.argwhere(found) + total[found] / count[found][:, None], number


def _faces(value: FloatArray, number: NDArray[np.intp], axis: int) -> NDArray[np.intp]:
    """Two triangles across every grid edge along ``axis`` that the surface cuts."""
    moved, cells = np.moveaxis(value, axis, 0), np.moveaxis(number, axis, 0)
    first, second = moved[:-1, 1:-1, 1:-1], moved[1:, 1:-1, 1:-1]
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    # The two other axes stand in cyclic order for x and z alone.
    corners = corners if axis != 1 else corners[::-1]
    around = np.stack([cells[:, i : i + first.shape[1], j : j + first.shape[2]] for i, j in corners], axis=-1)
    leaving, entering = around[(first < 0) & (second >= 0)], around[(first >= 0) & (second < 0)][:, ::-1]
    quads = np.concatenate([leaving, entering])
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def write_stl(path: Path, corners: FloatArray, name: str = "") -> None:
    """Triangles ``(n, 3, 3)`` as a binary STL file whose header says that the axes are LPS."""
    facets = np.zeros(len(corners), _FACET)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facets["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    facets["corners"] = corners
    header = f"ctmar {name}; SPACE=LPS".encode("ascii", "replace")[:80].ljust(80)
    path.write_bytes(header + np.uint32(len(facets)).tobytes() + facets.tobytes())


def voxel_labels(
    parts: Sequence[Part], shape: tuple[int, ...], spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Which part fills each voxel's centre, ``(z, y, x)``: 1 for the first, 0 for none; earlier ones win."""
    labels = np.zeros(shape, np.uint8)
    for number, part in reversed(list(enumerate(parts, start=1))):
        ends = np.array([bound / np.asarray(spacing_mm) for bound in part.shape.bounds_mm()])
        first = np.maximum(np.floor(ends[0]).astype(int), 0)
        stop = np.minimum(np.ceil(ends[1]).astype(int) + 1, shape[::-1])
        if (first >= stop).any():
            continue
        x, y, z = (np.arange(a, b) * s for a, b, s in zip(first, stop, spacing_mm, strict=True))
        grid = np.meshgrid(z, y, x, indexing="ij")
        inside = part.shape.signed_distance(np.stack(grid[::-1], axis=-1)) < 0
        window = tuple(slice(int(a), int(b)) for a, b in zip(first[::-1], stop[::-1], strict=True))
        labels[window][inside] = min(number, 255)
    return labels
