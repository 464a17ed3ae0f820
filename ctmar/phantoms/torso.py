"""The outside of a procedural body: outline, skin, fat, the muscular wall and the muscles of the back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ctmar.anatomy import labels as ids
from ctmar.phantoms.implicit import (
    Array,
    Box,
    Canvas,
    coverage,
    ellipse,
    smooth_max,
)
from ctmar.phantoms.spine import SpinePath

# HU of a plain CT, as primers of radiology give them.
SKIN_HU, FAT_HU, MUSCLE_HU = 15.0, -103.0, 54.0
SQUARENESS = 2.3
"""Exponent of the trunk's outline: 2 is an ellipse."""


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
    p = np.float32(SQUARENESS)
    q = ((np.abs(dx) / a) ** p + (np.abs(dy) / b) ** p) ** (1 / p)
    skin = np.sqrt(dx**2 + dy**2) * (1 - 1 / np.maximum(q, np.float32(0.02)))
    lateral = np.abs(x - path.x[:, None, None])
    behind = np.clip(dy / b * 2.2, 0, 1) * np.ones_like(dx)
    skin += behind * (5 * np.exp(-((lateral / 15) ** 2)))
    spinal = behind * smooth_step((92 - lateral) / 58)
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


def smooth_step(t: Array) -> Array:
    """From 0 to 1 with level ends, for ``t`` from 0 to 1."""
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
    front = smooth_step(-(room.y - room.middle) / room.half_depth * 2.5 - 1)
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


def paint_back_muscles(canvas: Canvas, room: Room, path: SpinePath, noise: Noise) -> None:
    """Psoas and quadratus lumborum beside the spine; fat between and around the erector's columns."""
    lumbar = np.clip((room.level("L1") + 4 - room.z) / 100, 0, 1)
    wide = path.body_width[:, None, None]
    for side, erector, psoas in (
        (1, ids.AUTOCHTHON_LEFT, ids.ILIOPSOAS_LEFT),
        (-1, ids.AUTOCHTHON_RIGHT, ids.ILIOPSOAS_RIGHT),
    ):
        half = span((side * room.x > -2).any(axis=(0, 1)))
        box = (slice(0, canvas.grid.shape[0]), span((np.abs(room.y - 10) < 75).any(axis=(0, 2))), half)
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


def span(flags: Any) -> slice:
    """From the first to the last True of a one-dimensional array."""
    found = np.nonzero(flags)[0]
    return slice(int(found[0]), int(found[-1]) + 1)
