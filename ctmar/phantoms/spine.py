"""The spine of a procedural body: where each vertebra stands, and bone, discs and canal painted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy import labels as ids
from ctmar.phantoms.implicit import FAR, Array, Box, Canvas, Frame, Grid, coverage, ellipse, smooth_max
from ctmar.phantoms.morphometry import BUILT_LEVELS, VertebraSize
from ctmar.phantoms.vertebra import VertebraField, body_outline, posterior_wall, vertebra_field

# HU at about 70 keV without iodine; trabecular bone is sampled (Schreiber et al. 2011: 150 to 250 in
# healthy adults). Cortical bone of a millimetre reads lower once averaged over a voxel.
CORTICAL_HU, BODY_SHELL_HU = 1050.0, 780.0
DISC_HU, ANNULUS_HU = 75.0, 105.0
CSF_HU, CORD_HU, EPIDURAL_FAT_HU, LIGAMENT_HU = 12.0, 38.0, -75.0, 65.0
BODY_SHELL_MM, ENDPLATE_MM, ARCH_SHELL_MM = 0.7, 1.0, 1.7
JOINT_GAP_MM = 1.4


def chain(sizes: tuple[VertebraSize, ...], angles: tuple[tuple[float, float, float], ...]) -> list[Frame]:
    """Frames of T1–L5, the lowest body's centre at the origin; each disc takes the mean direction."""
    frames: list[Frame] = []
    for size, angle in zip(reversed(sizes), reversed(angles), strict=True):
        axes = rotation(*np.radians(angle))
        center = np.zeros(3)
        if frames:
            below, lower = frames[-1], sizes[len(sizes) - len(frames)]
            between = below.axes[:, 2] + axes[:, 2]
            center = below.point(0, 0, lower.body_height / 2) + axes[:, 2] * size.body_height / 2
            center = center + between / np.linalg.norm(between) * size.disc_below
        frames.append(Frame(center, axes))
    return frames[::-1]


def rotation(tilt: float, side: float, turn: float) -> NDArray[np.float64]:
    """Axes of a vertebra that leans back by ``tilt``, to the left by ``side``, turned by ``turn`` (rad)."""
    ct, st, cs, ss, cu, su = (f(a) for a in (tilt, side, turn) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, ct, st], [0, -st, ct]])
    about_y = np.array([[cs, 0, ss], [0, 1, 0], [-ss, 0, cs]])
    about_z = np.array([[cu, -su, 0], [su, cu, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


@dataclass(frozen=True)
class SpinePath:
    """Per slice: the middle of the posterior wall, the canal's half-axes and the bodies' (mm)."""

    x: Array
    y: Array
    canal_width: Array
    canal_depth: Array
    body_width: Array
    body_depth: Array

    @staticmethod
    def of(frames: list[Frame], sizes: tuple[VertebraSize, ...], z_mm: Array) -> "SpinePath":
        """Linear between the endplates; constant beyond the first and the last."""
        rows = []
        for frame, size in zip(frames, sizes, strict=True):
            for w in (size.body_height / 2, -size.body_height / 2):
                x, y, z = frame.point(0, posterior_wall(size), w)
                rows.append(
                    (
                        z,
                        x,
                        y,
                        size.canal_width / 2,
                        size.canal_depth / 2,
                        size.body_width / 2,
                        size.body_depth / 2,
                    )
                )
        table = np.array(sorted(rows))
        columns = (np.interp(z_mm, table[:, 0], table[:, k]).astype(np.float32) for k in range(1, 7))
        return SpinePath(*columns)


def canal_distance(grid: Grid, path: SpinePath) -> tuple[Array, Box]:
    """Distance to the spinal canal on the whole grid (FAR away from it), and the box around it."""
    z = grid.shape[0] * grid.spacing_mm[2]
    low, high = (path.x.min() - 30, path.y.min() - 12, 0), (path.x.max() + 30, path.y.max() + 35, z)
    box = grid.box(low, high)
    u, v = _canal_axes(grid, box, path)
    # Wider in front than behind: a rounded triangle, as the lumbar canal is.
    narrow = path.canal_width[:, None, None] * (1 - np.float32(0.18) * np.clip(v / 8, -1, 1))
    q = ((np.abs(u) / narrow) ** 2.5 + (np.abs(v) / path.canal_depth[:, None, None]) ** 2.5) ** np.float32(
        0.4
    )
    distance = np.full(grid.shape, FAR, np.float32)
    distance[box] = np.hypot(u, v) * (1 - 1 / np.maximum(q, np.float32(0.02)))
    return distance, box


def _canal_axes(grid: Grid, box: Box, path: SpinePath) -> tuple[Array, Array]:
    x, y, _ = grid.axes(box)
    middle = (path.y + path.canal_depth)[:, None, None]
    return x - path.x[:, None, None], y - middle


def paint_canal(
    canvas: Canvas, canal: Array, box: Box, path: SpinePath, conus_mm: float, texture: Array
) -> None:
    """Ligament behind the canal, epidural fat, the dural sac, and the cord or its roots as label 79.

    TotalSegmentator carries label 79 on to the sacrum, so the roots below the conus bear it too.
    """
    grid, inside = canvas.grid, canal[box]
    u, v = _canal_axes(grid, box, path)
    flavum = np.maximum(inside - 3.0, -inside)
    canvas.paint(box, np.maximum(flavum, 2.0 - v), LIGAMENT_HU, 0)
    canvas.paint(box, inside, EPIDURAL_FAT_HU, 0)
    sac = ellipse(u, v + np.float32(0.8), (8.2, 6.2))
    canvas.paint(box, np.maximum(sac, inside + 0.8), CSF_HU)
    _, _, z = grid.axes(box)
    roots = np.clip((conus_mm - z) / 25.0, 0, 1)
    cord = ellipse(u, v + np.float32(0.6) - np.float32(1.2) * roots, (5.0, 4.0)) + roots * np.float32(0.4)
    value = CORD_HU - 14.0 * roots + texture[box] * (3.0 + 9.0 * roots)
    canvas.paint(box, np.maximum(cord, inside + 1.2), value, ids.CORD)


def paint_discs(canvas: Canvas, frames: list[Frame], sizes: tuple[VertebraSize, ...]) -> None:
    """A disc under every body, an annulus denser than the nucleus; the bodies are painted over."""
    for frame, size in zip(frames, sizes, strict=True):
        drop = (size.body_height + size.disc_below) / 2
        middle = Frame(frame.point(0, 0, -drop), frame.axes)
        reach = size.body_width / 2 + 6
        box = canvas.grid.box(middle.center - (reach, reach, 14), middle.center + (reach, reach, 14))
        if min(s.stop - s.start for s in box) == 0:
            continue
        u, v, w = canvas.grid.local(box, middle)
        side = body_outline(u, v, size, 0.99)
        flat = smooth_max(side, np.abs(w) - np.float32(size.disc_below / 2 + 2.5), 2.0)
        canvas.paint(box, flat, DISC_HU + (ANNULUS_HU - DISC_HU) * np.clip(1 + side / 7, 0, 1), 0)


def paint_vertebrae(
    canvas: Canvas,
    frames: list[Frame],
    sizes: tuple[VertebraSize, ...],
    canal: Array,
    trabecular_hu: float,
    texture: Array,
) -> None:
    """All vertebrae in the grid, labelled; facet joints keep a gap. ``texture`` is unit noise."""
    fields: list[tuple[str, VertebraField]] = []
    for frame, size in zip(frames, sizes, strict=True):
        field = vertebra_field(canvas.grid, frame, size, canal)
        if field.distance.size:
            fields.append((size.level, field))
    for (_, upper), (_, lower) in zip(fields, fields[1:], strict=False):
        _part_joint(upper, lower)
    for level, field in fields:
        paint_bone(canvas, field, ids.LEVEL_TO_ID[level], trabecular_hu, texture)


def _part_joint(upper: VertebraField, lower: VertebraField) -> None:
    """Keep both bones half a joint's gap away from the surface midway between them."""
    shared = [
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(upper.box, lower.box, strict=True)
    ]
    if any(s.stop <= s.start for s in shared):
        return
    a, b = (
        f.distance[
            tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(shared, f.box, strict=True))
        ]
        for f in (upper, lower)
    )
    midway = (a - b) / 2
    np.maximum(a, midway + JOINT_GAP_MM / 2, out=a)
    np.maximum(b, JOINT_GAP_MM / 2 - midway, out=b)


def paint_bone(
    canvas: Canvas, field: VertebraField, label: int, trabecular_hu: float, texture: Array
) -> None:
    """A bone with its shell, thicker away from ``field.body``, and trabeculae within."""
    distance, box = field.distance, field.box
    arch = np.clip((field.body - distance) / 3.0, 0, 1)
    shell = BODY_SHELL_MM + (ARCH_SHELL_MM - BODY_SHELL_MM) * arch
    compact = BODY_SHELL_HU + (CORTICAL_HU - BODY_SHELL_HU) * arch
    canvas.paint(box, distance, compact, label)
    # Trabeculae crowd under the shell and thin out in the middle of the body.
    depth = np.clip(-distance / 12.0, 0, 1)
    marrow = trabecular_hu * (1.25 - 0.4 * depth) + 130.0 * arch + texture[box] * (38.0 + 50.0 * arch)
    share = coverage(distance + shell, canvas.width)
    part = canvas.hu[box]
    part += share * (marrow - part)


def level_range(levels: tuple[str, ...]) -> slice:
    """Where a run of levels stands in T1–L5; an S1 at its end counts for the pelvis."""
    levels = levels[:-1] if levels[-1:] == ("S1",) else levels
    return slice(BUILT_LEVELS.index(levels[0]), BUILT_LEVELS.index(levels[-1]) + 1)
