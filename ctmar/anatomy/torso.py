"""The soft tissue of a procedural body: outline, fat, muscle, lungs, organs, vessels, bowel, ribs.

Blobs with soft edges and texture at the HU of a plain or venous-phase CT: enough to look and to
attenuate like a trunk, not an atlas.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy import labels as ids
from ctmar.anatomy.implicit import (
    FAR,
    Array,
    Box,
    Canvas,
    Frame,
    capsule,
    coverage,
    ellipse,
    ellipsoid,
    smooth_max,
)
from ctmar.anatomy.morphometry import LEVELS, VertebraSize
from ctmar.anatomy.spine import SpinePath
from ctmar.anatomy.vertebra import posterior_wall

# HU of a plain CT (Hounsfield tables of radiology primers: fat -100, muscle 50, liver 55, blood 45,
# kidney 33, spleen 48, lung -850); iodine adds to them where a body has contrast.
SKIN_HU, FAT_HU, MUSCLE_HU, LUNG_HU, GAS_HU = 15.0, -103.0, 54.0, -860.0, -980.0
ORGAN_HU = {"liver": (57.0, 48.0), "spleen": (48.0, 65.0), "kidney": (33.0, 130.0), "blood": (44.0, 110.0)}
RIB_SHELL_MM, RIB_CORTEX_HU, RIB_MARROW_HU = 1.2, 900.0, 130.0


@dataclass(frozen=True)
class Trunk:
    """Sampled shape of the soft tissue; mm, and 0 to 1 for ``contrast``."""

    half_width: float
    depth: float
    fat_side: float
    fat_front: float
    fat_back: float
    wall: float
    contrast: float
    gas: float


def sample_trunk(rng: np.random.Generator) -> Trunk:
    """A trunk that fits a circle of 320 mm around the volume's axis."""
    contrast = rng.uniform(0.6, 1.2) if rng.random() < 0.4 else 0.0
    values = (
        rng.uniform(132, 150),
        rng.uniform(188, 216),
        rng.uniform(8, 22),
        rng.uniform(10, 26),
        rng.uniform(9, 20),
        rng.uniform(13, 18),
        contrast,
        rng.uniform(0.2, 0.8),
    )
    return Trunk(*(round(float(v), 3) for v in values))


def unit_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Array:
    """Gaussian random field of about unit variance, ``sigma`` voxels wide; wide ones are upsampled."""
    step = max(int(sigma / 1.2), 1)
    field = rng.standard_normal(tuple(-(-n // step) + 2 for n in shape), np.float32)
    field = ndimage.gaussian_filter(field, 0.8, mode="wrap")
    for axis in range(3 if step > 1 else 0):
        field = ndimage.uniform_filter1d(np.repeat(field, step, axis), step, axis)
        field = ndimage.uniform_filter1d(field, step, axis)
    field = field[tuple(slice(step // 2, step // 2 + n) for n in shape)]
    return np.ascontiguousarray(field / field.std())


@dataclass(frozen=True)
class Noise:
    """Textures on the whole grid: about 1, 3 and 9 voxels wide."""

    fine: Array
    medium: Array
    coarse: Array


@dataclass(frozen=True)
class Room:
    """What organs are fitted into: distances to skin and cavity, positions relative to the spine."""

    skin: Array
    cavity: Array
    x: Array
    """mm to the left of the spine's posterior wall, (z, 1, x)."""
    y: Array
    """mm behind it, (z, y, 1)."""
    z: Array
    middle: Array
    """y of the trunk's centre, relative to the posterior wall, (z, 1, 1)."""
    half_width: float
    half_depth: Array
    level: Callable[[str], float]
    """z of a level's body in mm."""


def outline(canvas: Canvas, path: SpinePath, trunk: Trunk, level: Callable[[str], float]) -> Room:
    """Skin and cavity, from the spine's path: the back follows the spinous processes."""
    x, y, z = canvas.grid.axes(canvas.whole)
    center_x = np.float32((canvas.grid.shape[2] - 1) / 2 * canvas.grid.spacing_mm[0])
    back = (path.y + 51 + trunk.fat_back)[:, None, None]
    front = back.mean() - np.float32(trunk.depth)
    middle, b = (back + front) / 2, (back - front) / 2
    a = np.float32(trunk.half_width) * (1 - np.float32(0.03) * np.sin(z / 55))
    dx, dy = x - center_x, y - middle
    p = np.float32(2.3)
    q = ((np.abs(dx) / a) ** p + (np.abs(dy) / b) ** p) ** (1 / p)
    skin = np.sqrt(dx**2 + dy**2) * (1 - 1 / np.maximum(q, np.float32(0.02)))
    lateral = np.abs(x - path.x[:, None, None])
    behind = np.clip(dy / b * 2.2, 0, 1) * np.ones_like(dx)
    skin += behind * (5 * np.exp(-((lateral / 15) ** 2)))
    spinal = behind * _smoothstep((92 - lateral) / 58)
    fat = trunk.fat_side + (trunk.fat_front - trunk.fat_side) * np.clip(-dy / b, 0, 1)
    fat = fat + (trunk.fat_back - fat) * behind
    depth = np.maximum(back - path.y[:, None, None] - 4 - trunk.fat_back - trunk.wall, 0)
    cavity = skin + fat + trunk.wall + spinal * depth
    wall_y = path.y[:, None, None]
    return Room(
        skin,
        cavity.astype(np.float32),
        x - path.x[:, None, None],
        y - wall_y,
        z,
        middle - wall_y,
        trunk.half_width,
        b,
        level,
    )


def _smoothstep(t: Array) -> Array:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def paint_wall(canvas: Canvas, room: Room, trunk: Trunk, noise: Noise) -> None:
    """Skin, fat, the muscular wall with its fat planes, and the fat of the cavity."""
    whole, width = canvas.whole, canvas.width
    canvas.paint(whole, room.skin, SKIN_HU)
    canvas.paint(whole, room.skin + 1.8, FAT_HU + 7 * noise.medium)
    # The wall: between the cavity and the subcutaneous fat. It is thinner in front (rectus), parted
    # in the midline and beside the rectus, layered in the flanks.
    wall = np.minimum(room.cavity - trunk.wall, room.skin + trunk.fat_front + 8)
    front = _smoothstep(-(room.y - room.middle) / room.half_depth * 2.5 - 1)
    wall = np.maximum(wall + 4 * front + noise.coarse, -room.cavity)
    share = coverage(wall, width)
    canvas.hu += share * (muscle_hu(noise, whole) - canvas.hu)
    side = np.clip((np.abs(room.x) - 55) / 30, 0, 1) * (1 - front)
    for part in (0.34, 0.68):
        plane = np.abs(room.cavity - trunk.wall * part + 1.3 * noise.coarse)
        canvas.mix(whole, 0.55 * side * coverage(plane - 0.3, width) * share, FAT_HU)
    gaps = np.minimum(np.abs(room.x) - 2, np.abs(np.abs(room.x) - 68) - 3) + 1.5 * noise.coarse
    canvas.mix(whole, 0.8 * front * coverage(gaps, 3.0) * share, FAT_HU + 40)
    vessels = np.clip(noise.medium - 1.6, 0, 0.8)
    canvas.paint(whole, room.cavity, FAT_HU + 5 * noise.coarse + 130 * vessels)


def muscle_hu(noise: Noise, box: Box) -> Array:
    """Muscle with strands of fat."""
    strands = np.clip(noise.medium[box] + 0.6 * noise.fine[box] - 1.7, 0, 1)
    return np.asarray(MUSCLE_HU + 3 * noise.fine[box] - 70 * strands)


def lung_distance(room: Room) -> Array:
    """Distance to the lungs: the cavity above the diaphragm, without mediastinum and spine."""
    apex = room.level("T10") + 4
    right = room.x < 0
    middle_x = np.where(right, -0.47, 0.49) * np.float32(room.half_width)
    rho = ((room.x - middle_x) / (0.50 * room.half_width)) ** 2 + (
        (room.y - room.middle - 4) / (0.80 * room.half_depth)
    ) ** 2
    dome = np.where(right, apex, apex - 12) - 74 * np.minimum(rho, 1.6)
    lung = np.maximum(room.cavity + 2.5, (dome - room.z) * np.float32(0.75))
    media = ellipse(room.x - 8, room.y + 75, (38.0, 72.0))
    spine = ellipse(room.x, room.y + 16, (27.0, 26.0))
    return smooth_max(lung.astype(np.float32), -np.minimum(media, spine), 8.0)


def paint_lungs(canvas: Canvas, room: Room, lung: Array, noise: Noise) -> None:
    """Lungs, denser below (the patient lies on the back), with vessels; five lobes by planes."""
    whole = canvas.whole
    vessels = 620 * np.clip(noise.medium + 0.4 * noise.fine - 1.9, 0, 1)
    air = LUNG_HU + 14 * noise.fine + 25 * noise.coarse + 0.35 * (room.y - room.middle) + vessels
    inside = lung < 0
    canvas.paint(whole, lung, air)
    lower = room.y - room.middle > -15 + 0.8 * (room.z - room.level("T8"))
    high = room.z > room.level("T7")
    left = np.where(lower, ids.LUNG_LOWER_LEFT, ids.LUNG_UPPER_LEFT)
    front = np.where(high, ids.LUNG_UPPER_RIGHT, ids.LUNG_MIDDLE_RIGHT)
    lobe = np.where(room.x > 0, left, np.where(lower, ids.LUNG_LOWER_RIGHT, front))
    canvas.labels[inside] = np.broadcast_to(lobe, canvas.labels.shape)[inside]


def paint_organs(
    canvas: Canvas, room: Room, lung: Array, trunk: Trunk, noise: Noise, rng: np.random.Generator
) -> None:
    """Bowel first, then liver, spleen, kidneys and heart over it."""
    _bowel(canvas, room, lung, trunk, noise, rng)
    width, deep = room.half_width, -float(room.half_depth.mean())
    jitter = rng.uniform(-6, 6, (5, 3))
    limits = (room, lung, noise)
    kidney = _organ_hu("kidney", trunk)
    for side, label, move in ((1, ids.KIDNEY_LEFT, 4.0), (-1, ids.KIDNEY_RIGHT, -8.0)):
        center = (side * 70.0, -8.0, room.level("L2") + 8 + move)
        _blob(canvas, limits, center, (25, 29, 56), kidney, label, 2.0, 0.3)
        inner = (center[0] - side * 7, center[1] - 4, center[2])
        _blob(canvas, limits, inner, (11, 13, 30), FAT_HU + 60, None, 4.0, 0.3)
    spleen = (0.62 * width + jitter[1, 0], -12 + jitter[1, 1], room.level("T11") + jitter[1, 2])
    _blob(canvas, limits, spleen, (30, 46, 48), _organ_hu("spleen", trunk), ids.SPLEEN, 3.0)
    liver = (-0.52 * width + jitter[0, 0], deep * 0.72 + jitter[0, 1], room.level("T11") + jitter[0, 2])
    _blob(canvas, limits, liver, (0.66 * width, 88, 84), _organ_hu("liver", trunk), ids.LIVER, 4.0)
    lobe = (-0.05 * width, deep * 1.15, room.level("T11") + 8)
    _blob(canvas, limits, lobe, (62, 38, 42), _organ_hu("liver", trunk), ids.LIVER, 3.0)
    heart = (20 + jitter[2, 0], -98 + jitter[2, 1], room.level("T8") + jitter[2, 2])
    _blob(canvas, limits, heart, (56, 46, 52), _organ_hu("blood", trunk), ids.HEART, 2.0)


def _organ_hu(name: str, trunk: Trunk) -> float:
    plain, iodine = ORGAN_HU[name]
    return plain + iodine * trunk.contrast


def _blob(
    canvas: Canvas,
    limits: tuple[Room, Array, Noise],
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
    hu: float,
    label: int | None,
    wobble: float,
    lean: float = 0.0,
) -> None:
    """An uneven ellipsoid around a point relative to the spine, kept in the cavity and off the lungs."""
    room, lung, noise = limits
    z = np.nonzero(np.abs(room.z.ravel() - center[2]) < radii[2] + 8)[0]
    if not z.size:
        return
    rows = slice(int(z[0]), int(z[-1]) + 1)
    box = (rows, slice(0, canvas.grid.shape[1]), slice(0, canvas.grid.shape[2]))
    reach = np.abs(room.x[rows] - center[0]).min(axis=(0, 1)) < radii[0] + 14
    depth = np.abs(room.y[rows] - center[1]).min(axis=(0, 2)) < radii[1] + 14
    if not (reach.any() and depth.any()):
        return
    box = (rows, _span(depth), _span(reach))
    w = room.z[rows] - center[2]
    u = room.x[rows][:, :, box[2]] - center[0] + np.sign(center[0]) * lean * w
    v = room.y[rows][:, box[1]] - center[1]
    distance = ellipsoid(u, v, w, radii) + wobble * noise.coarse[box]
    distance = np.maximum(np.maximum(distance, room.cavity[box] + 2), 2 - lung[box])
    canvas.paint(box, distance, hu + 4 * noise.fine[box] + 3 * noise.medium[box], label)


def _span(flags: Any) -> slice:
    found = np.nonzero(flags)[0]
    return slice(int(found[0]), int(found[-1]) + 1)


def _bowel(
    canvas: Canvas, room: Room, lung: Array, trunk: Trunk, noise: Noise, rng: np.random.Generator
) -> None:
    """Loops in the front of the cavity; some hold gas above a flat fluid level."""
    top, front = room.level("T12"), -2 * float(room.half_depth.mean())
    bottom = min(room.level("L5"), top - 60)
    count = int((top - bottom) / 2.6)
    for _ in range(count):
        center = (
            rng.uniform(-0.72, 0.72) * room.half_width,
            rng.uniform(front * 0.62, -58),
            rng.uniform(bottom, top),
        )
        radius = float(rng.uniform(11, 21))
        radii = (radius * rng.uniform(0.9, 1.8), radius, radius * rng.uniform(0.9, 1.8))
        gas, hu = rng.random() < trunk.gas * 0.55, float(rng.uniform(5, 40))
        label = ids.COLON if abs(center[0]) > 0.5 * room.half_width else ids.SMALL_BOWEL
        limits = (room, lung, noise)
        _blob(canvas, limits, center, radii, 42.0, label, 2.5)
        inner = (radii[0] - 2.5, radii[1] - 2.5, radii[2] - 2.5)
        _blob(canvas, limits, center, inner, hu, None, 2.5)
        if gas:
            above = (center[0], center[1] - 0.45 * radius, center[2])
            _blob(
                canvas, limits, above, (inner[0] * 0.85, inner[1] * 0.5, inner[2] * 0.85), GAS_HU, None, 1.0
            )


def paint_vessels(canvas: Canvas, room: Room, path: SpinePath, trunk: Trunk) -> None:
    """Aorta before the spine and left of it, inferior vena cava right of it."""
    fork = room.level("L4")
    blood = _organ_hu("blood", trunk)
    front = -2 * path.body_depth[:, None, None] * np.float32(0.93)
    for side, label, radii in ((1, ids.AORTA, (10.5, 10.5)), (-1, ids.INFERIOR_VENA_CAVA, (12.5, 9.0))):
        box = canvas.whole
        spread = np.clip((fork - room.z) / 40, 0, 1)
        u = room.x - side * (10 + 8 * spread + (4 if side < 0 else 0))
        tube = ellipse(u, room.y - front + np.float32(radii[1] + 1.5), radii)
        tube = tube + 2.5 * spread
        if label == ids.INFERIOR_VENA_CAVA:
            tube = np.maximum(tube, room.z - room.level("T9"))
        canvas.paint(box, np.maximum(tube, room.cavity + 4).astype(np.float32), blood, label)


def paint_back_muscles(canvas: Canvas, room: Room, path: SpinePath, noise: Noise) -> None:
    """Psoas and quadratus lumborum beside the spine; fat between and around the erector's columns."""
    lumbar = np.clip((room.level("L1") + 4 - room.z) / 100, 0, 1)
    wide = path.body_width[:, None, None]
    for side, erector, psoas in (
        (1, ids.AUTOCHTHON_LEFT, ids.ILIOPSOAS_LEFT),
        (-1, ids.AUTOCHTHON_RIGHT, ids.ILIOPSOAS_RIGHT),
    ):
        half = _span((side * room.x > -2).any(axis=(0, 1)))
        box = (slice(0, canvas.grid.shape[0]), _span((np.abs(room.y - 10) < 75).any(axis=(0, 2))), half)
        u, v = room.x[:, :, half] * side, room.y[:, box[1]]
        value, wobble = muscle_hu(noise, box), noise.coarse[box]
        grown = 5 + 14 * lumbar
        bundle = ellipse((u - wide - grown * 0.95) / grown, (v + 9 - 3 * lumbar) / (grown * 1.2), (1.0, 1.0))
        canvas.paint(box, bundle * grown + wobble + 25 * (lumbar <= 0), value, psoas)
        quadratus = ellipse(u - 56, v - 10 + np.float32(0.3) * (u - 56), (17.0, 7.0)) + wobble
        canvas.paint(box, quadratus + 25 * (lumbar < 0.15), value)
        # One mass a side, parted by oblique planes of fat: multifidus, longissimus, iliocostalis.
        mass = smooth_max(ellipse(u - 34, v - 29, (41.0, 23.0)), 1.5 - u, 4.0) + 1.5 * wobble
        mass = np.maximum(mass, room.skin[box] + np.float32(6))
        canvas.mix(box, 0.8 * coverage(mass - 2.5, 2.0), FAT_HU + 25)
        canvas.paint(box, mass, value, erector)
        for place, lean in ((20.0, 0.35), (47.0, -0.25)):
            plane = np.abs(u - place + lean * (v - 29) + 3 * wobble) - np.float32(0.2)
            canvas.mix(box, 0.5 * coverage(np.maximum(plane, mass), 1.8), FAT_HU)


def paint_ribs(canvas: Canvas, room: Room, frames: list[Frame], sizes: tuple[VertebraSize, ...]) -> None:
    """Ribs of every thoracic level that reach into the grid, as tubes with a shell, labelled."""
    distance = np.full(canvas.grid.shape, FAR, np.float32)
    number = np.zeros(canvas.grid.shape, np.uint8)
    for frame, size in zip(frames, sizes, strict=True):
        if not size.thoracic:
            continue
        for side, first in ((1, ids.RIBS_LEFT[0]), (-1, ids.RIBS_RIGHT[0])):
            course = _rib_course(canvas, room, frame, size, side)
            _tube(canvas, distance, number, course, first + LEVELS.index(size.level))
    near = np.nonzero(distance < 3)
    d = distance[near]
    hu = canvas.hu[near]
    hu += coverage(d, canvas.width) * (RIB_CORTEX_HU - hu)
    hu += coverage(d + RIB_SHELL_MM, canvas.width) * (RIB_MARROW_HU - hu)
    canvas.hu[near] = hu
    inside = (distance < 0) & ~np.isin(canvas.labels, ids.VERTEBRAE)
    canvas.labels[inside] = number[inside]


def _rib_course(
    canvas: Canvas, room: Room, frame: Frame, size: VertebraSize, side: int
) -> list[NDArray[np.float64]]:
    """Head beside the body, past the transverse process, then along the wall, down and forward."""
    level = LEVELS.index(size.level) + 1
    wall, tip = posterior_wall(size), size.transverse_span / 2
    course = [
        frame.point(side * (size.body_width / 2 + 1), wall - 3, size.body_height / 2 - 4),
        frame.point(side * (tip - 3), wall + 13, 1.0),
    ]
    reach = {12: 58.0, 11: 88.0}.get(level, 140.0)
    slope = 0.42 if level > 2 else 0.25
    k = int(np.clip(course[1][2] / canvas.grid.spacing_mm[2], 0, canvas.grid.shape[0] - 1))
    center_x = (canvas.grid.shape[2] - 1) / 2 * canvas.grid.spacing_mm[0]
    # The spine stands at y - wall = 0; the trunk's centre lies ``middle`` before it.
    wall_y = float(-room.y[k, 0, 0])
    middle = float(room.middle[k, 0, 0]) + wall_y
    inset = float(np.interp(0.0, *_wall_profile(room, k)))
    a, b = room.half_width - inset, float(room.half_depth[k, 0, 0]) - inset
    top = course[1][2]
    for angle in np.radians(np.arange(34.0, reach, 7.0)):
        s, c = np.sin(angle), np.cos(angle)
        x = center_x + side * a * np.abs(s) ** (2 / 2.3)
        y = middle + b * np.sign(c) * np.abs(c) ** (2 / 2.3)
        arc = float(np.linalg.norm(np.array([x, y]) - course[-1][:2]))
        top -= arc * slope * (0.55 if angle > 1.9 else 1.0)
        course.append(np.array([x, y, top]))
    return course


def _wall_profile(room: Room, k: int) -> tuple[Array, Array]:
    """How deep under the skin the cavity begins at the flank, as a table over the cavity's distance."""
    row = int(np.argmin(np.abs(room.y[k].ravel() - room.middle[k, 0, 0])))
    cavity, skin = room.cavity[k, row], room.skin[k, row]
    inside = (skin < 0) & (room.x[k, 0] > 30)
    order = np.argsort(cavity[inside])
    return cavity[inside][order], -skin[inside][order] - 5.0


def _tube(
    canvas: Canvas, distance: Array, number: NDArray[np.uint8], course: list[NDArray[np.float64]], label: int
) -> None:
    for start, end in zip(course, course[1:], strict=False):
        box = canvas.grid.around([start, end], 10.0)
        if min(s.stop - s.start for s in box) == 0:
            continue
        own = capsule(canvas.grid.axes(box), start, end, (3.4, 3.4), 1.75)
        closer = own < distance[box]
        distance[box][closer] = own[closer]
        number[box][closer & (own < 0)] = label
