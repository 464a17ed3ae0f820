"""What the planner is held to, on real CT and on procedural spines whose pedicles are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ctmar.anatomy import Anatomy, read_anatomy
from ctmar.anatomy.labels import LEVEL_TO_ID
from ctmar.anatomy.landmarks import find_canal, find_pedicles, find_vertebrae
from ctmar.implants import build, plan_construct, sample_construct
from ctmar.phantoms import build_spine, pedicle_truth

LEVELS = {
    "thorax": ("T9", "T10", "T11", "T12", "L1"),
    "abdomen": ("L1", "L2", "L3", "L4", "L5"),
}
NECK_MM = 3.0
"""How much of a shaft stands behind the bone, under its head."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=LEVELS)
def real(request, data_dir):
    folder = data_dir / request.param
    anatomy = read_anatomy(folder / "ct.nii.gz", folder / "labels.nii.gz", request.param)
    canal = find_canal(anatomy)
    return anatomy, canal, find_pedicles(anatomy), find_vertebrae(anatomy, canal)


def nearest(anatomy: Anatomy, points):
    """Indices (z, y, x) of the voxels that hold points, kept inside the volume."""
    index = np.rint(points / np.asarray(anatomy.spacing_mm)).astype(int)[..., ::-1]
    return tuple(np.moveaxis(np.clip(index, 0, np.asarray(anatomy.labels.shape) - 1), -1, 0))


def shaft_points(shaft, step=0.5):
    low, high = shaft.bounds_mm()
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return points[shaft.signed_distance(points) < 0]


def test_every_pedicle_of_the_volume_is_found(real):
    """The thorax volume ends in T9's left pedicle: its isthmus is not there to be measured."""
    anatomy, _, pedicles, _ = real
    found = {(p.level, p.side) for p in pedicles}
    wanted = {(level, side) for level in LEVELS[anatomy.name] for side in ("left", "right")}
    assert wanted - found == ({("T9", "left")} if anatomy.name == "thorax" else set())


def test_grade_a_shafts_lie_in_their_vertebra_and_out_of_the_canal(real):
    anatomy, canal, pedicles, vertebrae = real
    wanted = [p for p in pedicles if p.level in LEVELS[anatomy.name]]
    plans = [
        sample_construct(wanted, np.random.default_rng(seed), canal=canal, vertebrae=vertebrae, levels=(3, 5))
        for seed in range(6)
    ]
    plans.append(plan_construct(wanted, canal=canal, vertebrae=vertebrae))
    grown = {
        level: ndimage.binary_dilation(anatomy.labels == LEVEL_TO_ID[level], np.ones((3, 3, 3)))
        for level in LEVELS[anatomy.name]
    }
    into_canal = ndimage.distance_transform_edt(canal.mask, sampling=anatomy.spacing_mm[::-1])
    count = 0
    for plan in plans:
        shafts = {part.name: part.shape for part in build(plan)}
        for screw in plan.screws:
            points = shaft_points(shafts[f"{screw.level} {screw.side} screw"])
            points = points[(points - np.asarray(screw.entry_mm)) @ np.asarray(screw.direction) > 0]
            where = nearest(anatomy, points)
            assert grown[screw.level][where].mean() >= 0.95, (screw.level, screw.side)
            assert into_canal[where].max() <= max(anatomy.spacing_mm), (screw.level, screw.side)
            count += 1
    assert count > 25


def test_a_shaft_moved_aside_is_refused(real):
    """The negative control of the test above."""
    anatomy, canal, pedicles, vertebrae = real
    plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae, levels=["L1"])
    screw = plan.screws[0]
    bone = ndimage.binary_dilation(anatomy.labels == LEVEL_TO_ID["L1"], np.ones((3, 3, 3)))
    moved = build(
        replace(plan, screws=(replace(screw, entry_mm=tuple(screw.entry_mm + np.array([14, 0, 0]))),))
    )
    assert bone[nearest(anatomy, shaft_points(moved[0].shape))].mean() < 0.95


def smallest_area(anatomy: Anatomy, pedicle):
    """Where along the pedicle's line a plane across it cuts least bone, the plane turned freely.

    Nothing of the planner's: nearest voxels of the label map, planes through points 0.5 mm apart,
    turned up to 12° in both directions, the component that holds the line.
    """
    bone, axis = anatomy.labels == LEVEL_TO_ID[pedicle.level], np.asarray(pedicle.direction)
    first = np.cross(axis, [0.0, 0.0, 1.0])
    first /= np.linalg.norm(first)
    second = np.cross(first, axis)
    # Finer than a pedicle, shorter than the way to the transverse process.
    grid = np.stack(np.meshgrid(np.arange(-12, 12.1, 0.5), np.arange(-12, 12.1, 0.5)), axis=-1)
    best = (np.inf, 0.0)
    for along in np.arange(-6.0, 6.1, 0.5):
        for a in np.radians((-12, -6, 0, 6, 12)):
            for b in np.radians((-12, -6, 0, 6, 12)):
                u, v = first + np.tan(a) * axis, second + np.tan(b) * axis
                u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
                center = np.asarray(pedicle.isthmus_mm) + along * axis
                cut = bone[nearest(anatomy, center + grid[..., :1] * u + grid[..., 1:] * v)]
                parts, _ = ndimage.label(cut)
                here = parts[24, 24]
                area = (parts == here).sum() * 0.25 if here else np.inf
                best = min(best, (area * np.linalg.norm(np.cross(u, v)), along))
    return best


def test_each_isthmus_is_where_an_independent_search_finds_the_smallest_area(real):
    anatomy, _, pedicles, _ = real
    voxel = max(anatomy.spacing_mm)
    for pedicle in (p for p in pedicles if p.level in LEVELS[anatomy.name]):
        area, along = smallest_area(anatomy, pedicle)
        assert 30 < area < 500, (pedicle.level, pedicle.side)
        assert abs(along) <= voxel, (pedicle.level, pedicle.side, along)


def test_a_mirrored_patient_gets_the_mirrored_plan(real):
    anatomy, canal, pedicles, vertebrae = real
    flipped = replace(anatomy, labels=np.ascontiguousarray(anatomy.labels[:, :, ::-1]))
    width = (anatomy.labels.shape[2] - 1) * anatomy.spacing_mm[0]
    other_canal = find_canal(flipped)
    plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae)
    mirrored = plan_construct(
        find_pedicles(flipped), canal=other_canal, vertebrae=find_vertebrae(flipped, other_canal)
    )
    there = {(s.level, s.side): s for s in mirrored.screws}
    assert len(there) == len(plan.screws)
    for screw in plan.screws:
        twin = there[screw.level, "right" if screw.side == "left" else "left"]
        entry = np.array([width - twin.entry_mm[0], *twin.entry_mm[1:]])
        np.testing.assert_allclose(entry, screw.entry_mm, atol=0.5)
        np.testing.assert_allclose(np.array(twin.direction) * [-1, 1, 1], screw.direction, atol=0.04)
        assert abs(twin.diameter_mm - screw.diameter_mm) <= 0.5 and abs(twin.length_mm - screw.length_mm) <= 5


def angle_deg(first, second):
    return float(np.degrees(np.arccos(np.clip(np.dot(first, second), -1, 1))))


def off_line(point, isthmus, direction):
    away = np.asarray(point) - np.asarray(isthmus)
    return float(np.linalg.norm(away - (away @ np.asarray(direction)) * np.asarray(direction)))


def test_axes_and_entries_of_procedural_spines_are_found():
    """A sample; docs/implants.md has the figures of 200 bodies (scripts/validation/measure_planner.py)."""
    levels, angles, entries = ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"), [], []
    for seed, spacing in ((0, (1.0, 1.0, 2.0)), (1, (0.8, 0.8, 2.5)), (2, (1.5, 1.5, 3.0))):
        truth = pedicle_truth(seed, levels, spacing)
        found = {(p.level, p.side): p for p in find_pedicles(build_spine(seed, levels, spacing))}
        assert set(truth) <= set(found)
        for key, true in truth.items():
            angles.append(angle_deg(found[key].direction, true.direction))
            entries.append(off_line(found[key].entry_mm, true.isthmus_mm, true.direction))
    assert np.median(angles) < 3.0 and max(angles) < 8.0
    assert np.median(entries) < 2.0 and max(entries) < 3.0
