"""Sacrum and ilia of a procedural body, below L5: what S1, S2AI and iliac screws need.

The sacrum is five fused bodies along a curve with wings, canal and foramina; each ilium a plate between the
bar from its posterior to its anterior inferior spine and its crest. Sizes: plausible figures of our own, set
against the one abdomen at hand (its bar: 25° out, 30° down, 100 mm long); a picture, and no morphometry.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy import labels as ids
from ctmar.phantoms.implicit import (
    FAR,
    Array,
    Box,
    Canvas,
    Frame,
    Grid,
    capsule,
    ellipse,
    smooth_max,
    smooth_min,
)
from ctmar.phantoms.morphometry import VertebraSize
from ctmar.phantoms.spine import paint_bone, rotation
from ctmar.phantoms.vertebra import VertebraField

DEPTH_MM = 78.0
"""How far below L5's lower endplate a volume with the pelvis goes: past the tips of screws in the ilium."""
# Width, depth, height and backward tilt to L5's, a row a segment.
SEGMENTS = (
    (50.0, 31.0, 30.0, -18.0),
    (40.0, 23.0, 25.0, -20.0),
    (32.0, 18.0, 21.0, -10.0),
    (26.0, 14.0, 18.0, 8.0),
    (20.0, 11.0, 16.0, 28.0),
)
WINGS = ((54.0, 17.0, 15.0), (52.0, 24.0, 15.0), (42.0, 20.0, 11.0))
"""How far out, how far back and how thick (mm) the wings of the upper three segments are at their ends."""
BAR = ((42.0, 62.0, 4.0), (82.0, -24.0, -52.0))
CREST = (BAR[0], (70.0, 44.0, 34.0), (103.0, 4.0, 46.0), (114.0, -32.0, 20.0), (98.0, -56.0, -32.0))
SOCKET = (80.0, -14.0, -84.0)
"""Left ilium (u out, v back, w up) from the middle of S1, upright: bar, crest, roof of the socket."""
PLATE_MM = 4.5
"""Half its thickness between bar and crest."""
JOINT_MM = 2.5


@dataclass(frozen=True)
class Pelvis:
    """Where sacrum and ilia stand: a frame a segment from S1 down, and the scale of the person."""

    frames: tuple[Frame, ...]
    scale: float


def place_pelvis(last: Frame, size: VertebraSize) -> Pelvis:
    """The pelvis under L5, fully given by L5's frame and size."""
    scale = size.body_width / 54.0
    tilt = np.degrees(np.arctan2(last.axes[1, 2], last.axes[2, 2]))
    frames: list[Frame] = []
    top, above = last.point(0, 0, -size.body_height / 2), size.disc_below
    for _, _, height, lean in SEGMENTS:
        axes = rotation(np.radians(tilt + lean), 0.0, 0.0)
        center = top - axes[:, 2] * (above + height * scale / 2)
        frames.append(Frame(center, axes))
        top, above = center - axes[:, 2] * height * scale / 2, 0.0
    return Pelvis(tuple(frames), scale)


def paint_pelvis(canvas: Canvas, pelvis: Pelvis, trabecular_hu: float, texture: Array) -> None:
    """Sacrum (S1's body under its own label) and ilia, before the vertebrae are painted over."""
    grid = canvas.grid
    box = grid.around([frame.center for frame in pelvis.frames], 70.0 * pelvis.scale)
    sacrum, first = _sacrum(grid, box, pelvis)
    paint_bone(canvas, VertebraField(box, sacrum, sacrum), ids.SACRUM, trabecular_hu, texture)
    canvas.labels[box][(first < 0) & (sacrum < 0)] = ids.LEVEL_TO_ID["S1"]
    everywhere = np.full(grid.shape, FAR, np.float32)
    everywhere[box] = sacrum
    for sign, label in ((1.0, ids.HIP_LEFT), (-1.0, ids.HIP_RIGHT)):
        corners = [_placed(pelvis, sign, point) for point in (*BAR, *CREST, SOCKET)]
        around = grid.around(corners, 26.0)
        if min(s.stop - s.start for s in around) == 0:
            continue
        hip = _ilium(grid.axes(around), [corners[:2], corners[2:-1], corners[-1:]])
        hip = np.maximum(hip, np.float32(JOINT_MM) - everywhere[around])
        paint_bone(canvas, VertebraField(around, hip, hip + 3.0), label, trabecular_hu, texture)


def _placed(pelvis: Pelvis, sign: float, point: tuple[float, float, float]) -> NDArray[np.float64]:
    """A point of the left or right ilium in the volume's frame."""
    return pelvis.frames[0].center + np.asarray(point) * (sign, 1.0, 1.0) * pelvis.scale


def _sacrum(grid: Grid, box: Box, pelvis: Pelvis) -> tuple[Array, Array]:
    """Distance to the sacrum in a box, and to its first body."""
    fields: list[Array] = []
    wings = holes = np.asarray(FAR)
    for number, (frame, row) in enumerate(zip(pelvis.frames, SEGMENTS, strict=True)):
        width, depth, height = (value * pelvis.scale for value in row[:3])
        points = grid.local(box, frame)
        side = ellipse(points[0], points[1], (width / 2, depth / 2))
        fields.append(smooth_max(side, np.abs(points[2]) - np.float32(height / 2 + 0.5), 3.0))
        for sign in (-1.0, 1.0):
            for part in _segment_parts(number, sign, depth, height, pelvis.scale):
                wings = smooth_min(wings, capsule(points, *part), 4.0)
            hole = ((sign * 16, -depth, -height / 2), (sign * 19, depth + 20, -height / 2), (4.0, 4.0))
            holes = np.minimum(holes, capsule(points, *hole))
        canal = ((0.0, depth / 2 + 6, height / 2 + 2), (0.0, depth / 2 + 6, -height / 2 - 2))
        radius = 8.5 - 1.3 * number
        holes = np.minimum(holes, capsule(points, *canal, (radius, radius - 1.0)))
    bodies = fields[0]
    for field in fields[1:]:
        bodies = smooth_min(bodies, field, 3.0)
    return smooth_max(smooth_min(bodies, wings, 4.0), -holes, 1.0), fields[0]


def _segment_parts(
    number: int, sign: float, depth: float, height: float, scale: float
) -> list[tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float]]]:
    """Wing, back wall and, on S1, upper facet of one side: start, end, radii."""
    back = depth / 2 + 15.0
    parts = [((sign * 17.0, depth / 2 + 9, 0.0), (0.0, back, 0.0), (4.5, 4.0))]
    if number < len(WINGS):
        out, behind, thick = (value * scale for value in WINGS[number])
        parts.append(((sign * 14.0, 3.0, 0.0), (sign * (out - thick), behind, 0.0), (0.9 * thick, thick)))
        parts.append(((sign * 20.0, depth / 2 + 6, 0.0), (sign * (out - thick), behind, 0.0), (6.0, thick)))
    if number == 0:
        parts.append(
            (
                (sign * 19.0, depth / 2 + 9, height / 2 - 8),
                (sign * 21.0, depth / 2 + 9, height / 2 + 7),
                (6.0, 5.0),
            )
        )
    return parts


def _ilium(points: tuple[Array, Array, Array], lines: list[list[NDArray[np.float64]]]) -> Array:
    """Distance to an ilium of given bar, crest and socket: two bars, a rim, and triangles between them."""
    bar, crest, (socket,) = lines
    bone = capsule(points, bar[0], bar[1], (9.5, 10.5))
    bone = smooth_min(bone, capsule(points, bar[1], socket, (11.0, 22.0)), 6.0)
    for a, b in zip(crest, crest[1:], strict=False):
        bone = np.minimum(bone, capsule(points, a, b, (6.0, 6.0)))
    along = [bar[0] + t * (bar[1] - bar[0]) for t in np.linspace(0.0, 1.0, len(crest))]
    for n in range(len(crest) - 1):
        bone = smooth_min(bone, _triangle(points, along[n + 1], crest[n + 1], crest[n]) - PLATE_MM, 3.0)
        if n:
            bone = smooth_min(bone, _triangle(points, along[n], along[n + 1], crest[n]) - PLATE_MM, 3.0)
    return bone


def _triangle(points: tuple[Array, Array, Array], *corners: NDArray[np.float64]) -> Array:
    """Distance to a triangle in space; exact."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal = normal / np.linalg.norm(normal)
    x, y, z = (np.float32(c) for c in normal)
    height = x * points[0] + y * points[1] + z * points[2] - np.float32(normal @ corners[0])
    inside: NDArray[np.bool_] = np.ones(height.shape, bool)
    edges = np.asarray(FAR)
    for a, b in zip(corners, (*corners[1:], corners[0]), strict=True):
        x, y, z = (np.float32(c) for c in np.cross(normal, b - a))
        inside &= x * points[0] + y * points[1] + z * points[2] >= np.float32(np.cross(normal, b - a) @ a)
        edges = np.minimum(edges, capsule(points, a, b, (0.0, 0.0)))
    return np.where(inside, np.abs(height), edges)
