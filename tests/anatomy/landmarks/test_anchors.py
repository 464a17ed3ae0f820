"""Sacrum and pelvis: known corridors found, screws in bone, mirrored patients, nothing without bone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ctmar.anatomy import Anatomy, read_anatomy
from ctmar.anatomy.labels import HIP_LEFT, HIP_RIGHT, SACRUM
from ctmar.anatomy.landmarks import Anchor, find_anchors, find_canal, find_pedicles, find_vertebrae
from ctmar.anatomy.landmarks.anchors import ANCHORS, COURSES
from ctmar.implants import Plan, build, plan_construct
from ctmar.implants.placing import anchor_screw

SPACING = (2.0, 2.0, 2.0)


def block(points, start, direction, radius, length):
    """Voxels within a rod of bone."""
    along = (points - start) @ direction
    away = np.linalg.norm(points - start - along[..., None] * direction, axis=-1)
    return (away < radius) & (along > -4) & (along < length)


def way(out, down, sign):
    a, b = np.radians((out, down))
    return np.array([sign * np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), -np.sin(b)])


@pytest.fixture(scope="module")
def pelvis() -> Anatomy:
    """A sacrum as a block, and in each hip bone a bar 14 mm thick, 30° out and 25° down."""
    shape = (75, 100, 120)
    z, y, x = np.meshgrid(*(np.arange(n) * 2.0 for n in shape), indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    labels = np.zeros(shape, np.uint8)
    labels[(np.abs(x - 119) < 42) & (np.abs(y - 150) < 24) & (np.abs(z - 110) < 30)] = SACRUM
    for label, sign in ((HIP_LEFT, 1), (HIP_RIGHT, -1)):
        start = np.array([119 + sign * 52.0, 176.0, 116.0])
        labels[block(points, start, way(30, 25, sign), 7.0, 130) & (labels == 0)] = label
    return Anatomy("pelvis", np.full(shape, -1000, np.float32), labels, SPACING)


def test_a_bar_of_bone_is_the_corridor(pelvis):
    found = {(a.kind, a.side): a for a in find_anchors(pelvis, ["iliac"])}
    for side, sign in (("left", 1), ("right", -1)):
        anchor = found["iliac", side]
        assert np.degrees(np.arccos(anchor.direction @ way(30, 25, sign))) < 4.0
        assert 4.5 < anchor.radius_mm <= 7.5 and anchor.length_mm == 100
        screw = anchor_screw(anchor, "Ti-6Al-4V")
        assert (screw.diameter_mm, screw.length_mm, screw.side) == (8.5, 100.0, side)


def test_a_block_takes_the_usual_s1_screw(pelvis):
    for anchor in find_anchors(pelvis, ["S1"]):
        screw = anchor_screw(anchor, "316L")
        assert screw.diameter_mm == 7.5 and screw.length_mm >= 40
        out = np.degrees(np.arctan2(anchor.direction[0], -anchor.direction[1]))
        assert (-out if anchor.side == "left" else out) == pytest.approx(30, abs=16)
        assert abs(screw.entry_mm[1] - 173) < 2.1


def test_a_thin_bar_takes_no_screw_and_no_labels_none(pelvis):
    hips = np.isin(pelvis.labels, (HIP_LEFT, HIP_RIGHT))
    thin = ndimage.binary_erosion(hips, iterations=2)
    labels = np.where(hips & ~thin, 0, pelvis.labels).astype(np.uint8)
    assert find_anchors(replace(pelvis, labels=labels), ["iliac"]) == ()
    without = np.where(hips, 0, pelvis.labels).astype(np.uint8)
    assert {a.kind for a in find_anchors(replace(pelvis, labels=without))} == {"S1"}
    assert find_anchors(replace(pelvis, labels=np.zeros_like(pelvis.labels))) == ()


def test_a_mirrored_pelvis_gets_mirrored_anchors(pelvis):
    lop = pelvis.labels.copy()
    lop[:40, :, :60][lop[:40, :, :60] == HIP_RIGHT] = 0  # the sides differ
    flipped = lop[:, :, ::-1]
    flipped = np.where(flipped == HIP_LEFT, HIP_RIGHT, np.where(flipped == HIP_RIGHT, HIP_LEFT, flipped))
    width = (lop.shape[2] - 1) * SPACING[0]
    one = {(a.kind, a.side): a for a in find_anchors(replace(pelvis, labels=lop))}
    other = {(a.kind, a.side): a for a in find_anchors(replace(pelvis, labels=flipped.astype(np.uint8)))}
    opposite = {"left": "right", "right": "left"}
    assert set(other) == {(kind, opposite[side]) for kind, side in one} and len(one) >= 4
    for (kind, side), anchor in one.items():
        twin = other[kind, opposite[side]]
        np.testing.assert_allclose(twin.direction, np.array([-1, 1, 1]) * anchor.direction, atol=1e-9)
        np.testing.assert_allclose(twin.entry_mm[1:], anchor.entry_mm[1:])
        assert twin.entry_mm[0] == pytest.approx(width - anchor.entry_mm[0])
        assert (twin.length_mm, twin.radius_mm) == (anchor.length_mm, pytest.approx(anchor.radius_mm))


def test_the_thinnest_screw_where_all_are_too_thick():
    tight = Anchor("S1", "left", (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), 2.6, 40.0)
    assert anchor_screw(tight, "Ti-6Al-4V").diameter_mm == COURSES["S1"].diameters_mm[0]


@pytest.mark.slow
def test_screws_into_a_real_pelvis_lie_in_its_bone(data_dir):
    folder = data_dir / "abdomen"
    anatomy = read_anatomy(folder / "ct.nii.gz", folder / "labels.nii.gz", "abdomen")
    canal = find_canal(anatomy)
    pedicles, vertebrae = find_pedicles(anatomy), find_vertebrae(anatomy, canal)
    anchors = find_anchors(anatomy)
    assert {(a.kind, a.side) for a in anchors} == {(k, s) for k in ANCHORS for s in ("left", "right")}
    bone = np.isin(anatomy.labels, (SACRUM, 26, HIP_LEFT, HIP_RIGHT))
    grown = ndimage.binary_dilation(bone, np.ones((3, 3, 3)))
    for kind in ANCHORS:
        chosen = [a for a in anchors if a.kind == kind]
        plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae, levels=["L4", "L5"], anchors=chosen)
        assert Plan.from_dict(plan.to_dict()) == plan
        assert all(len(rod.centers_mm) == 3 for rod in plan.rods)
        shafts = {part.name: part.shape for part in build(plan)}
        for screw in plan.screws[:2]:
            assert screw.level == kind
            shape = shafts[f"{kind} {screw.side} screw"]
            low, high = shape.bounds_mm()
            axes = [np.arange(a, b, 1.0) for a, b in zip(low, high, strict=True)]
            points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
            points = points[shape.signed_distance(points) < 0]
            points = points[(points - screw.entry_mm) @ screw.direction > 0]
            k, j, i = np.rint(points / anatomy.spacing_mm).astype(int).T[::-1]
            assert grown[k, j, i].mean() > 0.95, (kind, screw.side)
            assert not canal.contains(points).any()
            tip = np.rint(screw.tip_mm / anatomy.spacing_mm).astype(int)[::-1]
            wanted = {"S1": (SACRUM, 26), "S2AI": (HIP_LEFT, HIP_RIGHT), "iliac": (HIP_LEFT, HIP_RIGHT)}[kind]
            assert anatomy.labels[tuple(tip)] in wanted
