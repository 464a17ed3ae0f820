"""Lungs, organs, bowel and great vessels of a procedural body: uneven blobs with texture.

They attenuate and scatter like a trunk's content; they are no atlas.
"""

import numpy as np

from ctmar.anatomy import labels as ids
from ctmar.phantoms.implicit import Array, Canvas, ellipse, ellipsoid, smooth_max
from ctmar.phantoms.spine import SpinePath
from ctmar.phantoms.torso import FAT_HU, Noise, Room, Trunk, span

# HU of a plain CT (as primers of radiology give them), and what iodine adds in the venous phase.
LUNG_HU, GAS_HU = -860.0, -980.0
ORGAN_HU = {"liver": (57.0, 48.0), "spleen": (48.0, 65.0), "kidney": (33.0, 130.0), "blood": (44.0, 110.0)}


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
    jitter = rng.uniform(-6, 6, (3, 3))
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
    level: float = np.inf,
) -> None:
    """An uneven ellipsoid around a point relative to the spine, kept in the cavity and off the lungs.

    ``lean`` tilts it outwards going up; nothing of it lies further back than ``level`` mm behind its centre.
    """
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
    box = (rows, span(depth), span(reach))
    w = room.z[rows] - center[2]
    u = room.x[rows][:, :, box[2]] - center[0] + np.sign(center[0]) * lean * w
    v = room.y[rows][:, box[1]] - center[1]
    distance = ellipsoid(u, v, w, radii) + wobble * noise.coarse[box]
    if np.isfinite(level):
        distance = np.maximum(distance, v - np.float32(level))
    distance = np.maximum(np.maximum(distance, room.cavity[box] + 2), 2 - lung[box])
    canvas.paint(box, distance, hu + 4 * noise.fine[box] + 3 * noise.medium[box], label)


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
            _blob(canvas, limits, center, inner, GAS_HU, None, 2.5, level=-0.3 * radius)


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
