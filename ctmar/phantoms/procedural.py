"""A trunk with its spine, built from a seed: no data needed, and the truth about it is known.

First everything is sampled (:func:`sample_body`), then built without further chance but for texture,
whose seed is among the parameters (:func:`build`).
"""

from dataclasses import dataclass

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.errors import CtmarError
from ctmar.phantoms.implicit import Canvas, Frame, Grid
from ctmar.phantoms.morphometry import BUILT_LEVELS, VertebraSize, sample_angles, sample_sizes
from ctmar.phantoms.organs import lung_distance, paint_lungs, paint_organs, paint_vessels
from ctmar.phantoms.pelvis import DEPTH_MM, paint_pelvis, place_pelvis
from ctmar.phantoms.ribs import paint_ribs
from ctmar.phantoms.spine import (
    SpinePath,
    canal_distance,
    chain,
    level_range,
    paint_canal,
    paint_discs,
    paint_vertebrae,
)
from ctmar.phantoms.torso import (
    Noise,
    Trunk,
    outline,
    paint_back_muscles,
    paint_wall,
    sample_trunk,
    unit_noise,
)
from ctmar.phantoms.vertebra import TruePedicle, pedicle

DEFAULT_LEVELS = ("T11", "T12", "L1", "L2", "L3", "L4")
DEFAULT_SPACING_MM = (1.0, 1.0, 2.0)
FIELD_MM = (324.0, 244.0)
"""Width and depth of the volume; every sampled trunk lies inside, and in a circle of 325 mm."""
MARGIN_MM = 7.0
"""Height kept above the first and below the last vertebral body."""


@dataclass(frozen=True)
class BodyParameters:
    """All that was sampled for a body; ``dataclasses.asdict`` makes plain types of it."""

    seed: int
    sizes: tuple[VertebraSize, ...]
    angles_deg: tuple[tuple[float, float, float], ...]
    trunk: Trunk
    trabecular_hu: float
    texture_seed: int


def sample_body(seed: int) -> BodyParameters:
    """The parameters of a body; the same seed gives the same, whatever levels are built of it."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise CtmarError(f"seed must be a whole number from 0, got {seed!r}")
    rng = np.random.default_rng(int(seed))
    return BodyParameters(
        seed=int(seed),
        sizes=sample_sizes(rng),
        angles_deg=sample_angles(rng),
        trunk=sample_trunk(rng),
        trabecular_hu=round(float(rng.uniform(135, 235)), 2),
        texture_seed=int(rng.integers(2**31)),
    )


def build_body(
    seed: int,
    levels: tuple[str, ...] = DEFAULT_LEVELS,
    spacing_mm: tuple[float, float, float] = DEFAULT_SPACING_MM,
) -> Anatomy:
    """The body of a seed, from below the last to above the first of ``levels``.

    Args:
        seed: From 0; the same one gives the same body, bit for bit.
        levels: A run of levels from the head down, within T1–S1; S1 brings sacrum and ilia. What of their
            neighbours reaches into the volume is there as well, and labelled.
        spacing_mm: Voxel size (x, y, z).

    Raises:
        CtmarError: Levels that are unknown or no run, a spacing that is not positive.
    """
    return build(sample_body(seed), tuple(levels), _spacing(spacing_mm))


def build(body: BodyParameters, levels: tuple[str, ...], spacing_mm: tuple[float, float, float]) -> Anatomy:
    """The anatomy of sampled parameters, see :func:`build_body`."""
    grid, frames = _place(body, levels, spacing_mm)
    rng = np.random.default_rng(body.texture_seed)
    noise = Noise(*(unit_noise(rng, grid.shape, sigma) for sigma in (0.8, 3.0, 9.0)))
    z = grid.axes((slice(0, grid.shape[0]), slice(0, 1), slice(0, 1)))[2].ravel()
    path = SpinePath.of(frames, body.sizes, z)
    heights = {size.level: float(frame.center[2]) for size, frame in zip(body.sizes, frames, strict=True)}
    canvas = Canvas(grid)
    room = outline(canvas, path, body.trunk, heights.__getitem__)
    paint_wall(canvas, room, body.trunk, noise)
    lung = lung_distance(room)
    paint_lungs(canvas, room, lung, noise)
    paint_organs(canvas, room, lung, body.trunk, noise, rng)
    paint_vessels(canvas, room, path, body.trunk)
    paint_back_muscles(canvas, room, path, noise)
    canal, box = canal_distance(grid, path)
    if levels[-1] == "S1":
        pelvis = place_pelvis(frames[-1], body.sizes[-1])
        paint_pelvis(canvas, pelvis, body.trabecular_hu, noise.fine)
    paint_discs(canvas, frames, body.sizes)
    paint_canal(canvas, canal, box, path, heights["L1"] - 10, noise.fine)
    paint_vertebrae(canvas, frames, body.sizes, canal, body.trabecular_hu, noise.fine)
    paint_ribs(canvas, room, frames, body.sizes)
    np.clip(canvas.hu, -1000.0, 3071.0, out=canvas.hu)
    return Anatomy(name=f"procedural-{body.seed}", hu=canvas.hu, labels=canvas.labels, spacing_mm=spacing_mm)


def build_spine(
    seed: int,
    levels: tuple[str, ...] = DEFAULT_LEVELS,
    spacing_mm: tuple[float, float, float] = DEFAULT_SPACING_MM,
) -> Anatomy:
    """Bone, discs and cord of :func:`build_body`'s body in air: the same vertebrae, in a third of the time.

    For planning, where nothing else of the body counts.
    """
    body = sample_body(seed)
    grid, frames = _place(body, tuple(levels), _spacing(spacing_mm))
    z = grid.axes((slice(0, grid.shape[0]), slice(0, 1), slice(0, 1)))[2].ravel()
    path = SpinePath.of(frames, body.sizes, z)
    canvas, still = Canvas(grid), np.zeros(grid.shape, np.float32)
    canal, box = canal_distance(grid, path)
    if levels[-1] == "S1":
        paint_pelvis(canvas, place_pelvis(frames[-1], body.sizes[-1]), body.trabecular_hu, still)
    paint_discs(canvas, frames, body.sizes)
    conus = float(frames[BUILT_LEVELS.index("L1")].center[2]) - 10
    paint_canal(canvas, canal, box, path, conus, still)
    paint_vertebrae(canvas, frames, body.sizes, canal, body.trabecular_hu, still)
    return Anatomy(f"procedural-spine-{seed}", canvas.hu, canvas.labels, _spacing(spacing_mm))


def pedicle_truth(
    seed: int,
    levels: tuple[str, ...] = DEFAULT_LEVELS,
    spacing_mm: tuple[float, float, float] = DEFAULT_SPACING_MM,
) -> dict[tuple[str, str], TruePedicle]:
    """True pedicle axes by (level, ``left`` or ``right``), in the frame of :func:`build_body`'s volume."""
    body = sample_body(seed)
    _, frames = _place(body, tuple(levels), _spacing(spacing_mm))
    part = level_range(tuple(levels))
    return {
        (size.level, name): pedicle(size, frame, side)
        for size, frame in zip(body.sizes[part], frames[part], strict=True)
        for name, side in (("left", 1), ("right", -1))
    }


def _place(
    body: BodyParameters, levels: tuple[str, ...], spacing_mm: tuple[float, float, float]
) -> tuple[Grid, list[Frame]]:
    """The grid, and the frames of T1–L5 in it: the trunk is centred, its lowest slice at z = 0."""
    _check_levels(levels)
    frames = chain(body.sizes, body.angles_deg)
    part = level_range(levels)
    first, last = body.sizes[part.start], body.sizes[part.stop - 1]
    top = frames[part.start].point(0, 0, first.body_height / 2)[2] + MARGIN_MM
    below = DEPTH_MM if levels[-1] == "S1" else MARGIN_MM
    bottom = frames[part.stop - 1].point(0, 0, -last.body_height / 2)[2] - below
    sx, sy, sz = spacing_mm
    shape = (int((top - bottom) / sz) + 1, round(FIELD_MM[1] / sy), round(FIELD_MM[0] / sx))
    z = np.linspace(bottom, top, 64).astype(np.float32)
    path = SpinePath.of(frames, body.sizes, z)
    back = path.y.mean() + 51 + body.trunk.fat_back
    shift = np.array(
        [
            (shape[2] - 1) / 2 * sx - path.x.mean(),
            (shape[1] - 1) / 2 * sy - (back - body.trunk.depth / 2),
            -bottom,
        ]
    )
    return Grid(shape, spacing_mm), [Frame(f.center + shift, f.axes) for f in frames]


def _check_levels(levels: tuple[str, ...]) -> None:
    above = levels[:-1] if levels[-2:] == ("L5", "S1") else levels
    known = [level in BUILT_LEVELS for level in above]
    if not above or not all(known) or tuple(BUILT_LEVELS[level_range(above)]) != above:
        got = ", ".join(map(str, levels)) or "none"
        raise CtmarError(f"levels must be a run within T1 to S1 from the head down, got {got}")


def _spacing(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    values = tuple(float(s) for s in spacing_mm)
    if len(values) != 3 or not all(np.isfinite(s) and 0 < s <= 10 for s in values):
        raise CtmarError(f"spacing_mm must be three positive sizes up to 10 mm, got {spacing_mm}")
    return values[0], values[1], values[2]
