"""The procedural spine: variety, truth and plausibility."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from ctmar.anatomy import labels as ids
from ctmar.anatomy.masks import body_mask
from ctmar.errors import CtmarError
from ctmar.phantoms.procedural import build_body, build_spine, pedicle_truth, sample_body

LEVELS = ("L1", "L2", "L3")
COARSE = (2.0, 2.0, 3.0)
FINE = (1.0, 1.0, 1.5)


@pytest.fixture(scope="module")
def body():
    return build_body(5, LEVELS, FINE)


@pytest.fixture(scope="module")
def truth():
    return pedicle_truth(5, LEVELS, FINE)


def label_along(anatomy, start, direction, steps):
    points = np.asarray(start) + np.outer(steps, direction)
    i, j, k = np.round(points / anatomy.spacing_mm).astype(int).T
    return anatomy.labels[k, j, i]


def test_the_same_seed_gives_the_same_body_and_another_one_another():
    first, again, other = (build_body(seed, ("L2",), COARSE) for seed in (7, 7, 8))
    assert np.array_equal(first.hu, again.hu) and np.array_equal(first.labels, again.labels)
    assert first.hu.shape != other.hu.shape or not np.array_equal(first.labels, other.labels)
    assert sample_body(7) != sample_body(8)


def test_the_anatomy_keeps_its_contract(body):
    assert body.hu.dtype == np.float32 and body.labels.dtype == np.uint8
    assert body.hu.shape == body.labels.shape and body.spacing_mm == FINE
    assert np.isfinite(body.hu).all() and body.hu.min() == -1000 and 600 < body.hu.max() <= 3071
    assert not body.truncated and body.name == "procedural-5"


def test_all_parameters_are_plain():
    parameters = dataclasses.asdict(sample_body(3))
    assert json.loads(json.dumps(parameters))["seed"] == 3


def test_every_level_is_one_whole_vertebra(body):
    for level in LEVELS:
        bone = body.labels == ids.LEVEL_TO_ID[level]
        parts, count = ndimage.label(bone)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.98 * bone.sum(), level
        assert 35_000 < bone.sum() * np.prod(FINE) < 130_000, level
        k, j, i = np.nonzero(bone)
        assert np.ptp(i) > 55 and np.ptp(j) > 65 and np.ptp(k) * FINE[2] > 30


def test_levels_stand_in_order_and_the_neighbours_are_cut_off_by_the_volume(body):
    heights = [np.nonzero(body.labels == ids.LEVEL_TO_ID[level])[0].mean() for level in LEVELS]
    assert heights == sorted(heights, reverse=True)
    assert (body.labels == ids.LEVEL_TO_ID["T12"]).any() and (body.labels == ids.LEVEL_TO_ID["L4"]).any()


def test_the_cord_lies_in_the_canal_of_every_slice(body, truth):
    cord = body.labels == ids.CORD
    assert cord.any(axis=(1, 2)).all()
    assert body.hu[cord].max() < 150 and 5 < body.hu[cord].mean() < 60
    for level in LEVELS:
        k = round((truth[level, "left"].isthmus_mm[2] - 3) / FINE[2])
        ring = np.isin(body.labels[k], ids.VERTEBRAE)
        canal = ndimage.binary_fill_holes(ndimage.binary_closing(ring, iterations=4)) & ~ring
        assert (cord[k] & canal).sum() > 0.95 * cord[k].sum(), level


def test_bone_has_a_shell_denser_than_its_marrow(body):
    bone = body.labels == ids.LEVEL_TO_ID["L2"]
    distance = ndimage.distance_transform_edt(bone, sampling=FINE[::-1])
    marrow, shell = body.hu[distance > 5], body.hu[bone & (distance <= 1.5)]
    assert 90 < marrow.mean() < 280 and marrow.std() > 15
    assert shell.mean() > marrow.mean() + 100


def test_a_spine_alone_has_the_labels_of_the_whole_body(body):
    alone = build_spine(5, LEVELS, FINE)
    spine = np.isin(body.labels, (*ids.VERTEBRAE, ids.CORD))
    np.testing.assert_array_equal(alone.labels, np.where(spine, body.labels, 0))
    assert (
        alone.spacing_mm == body.spacing_mm and alone.hu[alone.labels == ids.LEVEL_TO_ID["L2"]].mean() > 150
    )


def test_pedicle_truth_lies_in_its_own_vertebra(body, truth):
    assert set(truth) == {(level, side) for level in LEVELS for side in ("left", "right")}
    for (level, side), pedicle in truth.items():
        along = label_along(body, pedicle.isthmus_mm, pedicle.direction, np.arange(-8.0, 22.0, 0.5))
        assert (along == ids.LEVEL_TO_ID[level]).all(), (level, side)
        assert np.linalg.norm(pedicle.direction) == pytest.approx(1.0)
        assert pedicle.direction[1] < 0, "from the back into the body"


def test_pedicles_converge_and_left_is_to_the_left(truth):
    for level in LEVELS:
        left, right = truth[level, "left"], truth[level, "right"]
        assert left.isthmus_mm[0] > right.isthmus_mm[0] + 20
        assert left.direction[0] < right.direction[0], "both point to the midline"


def test_the_label_is_as_wide_as_the_pedicle_is_said_to_be(body, truth):
    steps = np.arange(-16.0, 16.0, 0.1)
    for (level, side), pedicle in truth.items():
        across = np.cross(pedicle.direction, (0.0, 0.0, 1.0))
        hits = label_along(body, pedicle.isthmus_mm, across / np.linalg.norm(across), steps)
        runs, _ = ndimage.label(hits == ids.LEVEL_TO_ID[level])
        width = (runs == runs[len(steps) // 2]).sum() * 0.1
        assert width == pytest.approx(pedicle.width_mm, abs=1.6), (level, side)


def test_beside_the_pedicle_there_is_no_bone(body, truth):
    """The negative control of the two tests above: an axis 12 mm off is not in the vertebra."""
    for (level, side), pedicle in truth.items():
        outwards = 12.0 if side == "left" else -12.0
        moved = np.asarray(pedicle.isthmus_mm) + (outwards, 0.0, 6.0)
        along = label_along(body, moved, pedicle.direction, np.arange(-2.0, 6.0, 0.5))
        assert (along != ids.LEVEL_TO_ID[level]).mean() > 0.5, (level, side)


@pytest.mark.parametrize("seed", range(6))
def test_every_trunk_fits_the_circle_and_the_volume(seed):
    anatomy = build_body(seed, ("T12", "L1"), (3.0, 3.0, 6.0))
    mask = body_mask(anatomy.hu, anatomy.spacing_mm)
    _, j, i = np.nonzero(mask)
    rows, columns = mask.shape[1:]
    radius = np.hypot((i - (columns - 1) / 2) * 3.0, (j - (rows - 1) / 2) * 3.0)
    assert 125 < radius.max() < 165
    assert not (mask[:, 0].any() or mask[:, -1].any() or mask[:, :, 0].any() or mask[:, :, -1].any())


def test_tissues_have_their_numbers(body):
    muscle = np.isin(body.labels, ids.TISSUES["muscle"])
    core = ndimage.binary_erosion(muscle, iterations=2)
    assert 40 < np.median(body.hu[core]) < 65
    kidney = ndimage.binary_erosion(body.labels == ids.KIDNEY_LEFT, iterations=3)
    assert kidney.any() and body.hu[kidney].max() < 250
    mask = body_mask(body.hu, body.spacing_mm)
    fat = (body.hu[mask] > -130) & (body.hu[mask] < -70)
    assert 0.15 < fat.mean() < 0.7


def test_thoracic_bodies_have_lungs_and_ribs_on_both_sides():
    anatomy = build_body(2, ("T8", "T9"), COARSE)
    found = set(np.unique(anatomy.labels))
    assert {ids.LUNG_LOWER_LEFT, ids.LUNG_LOWER_RIGHT} <= found
    assert len(found & set(ids.RIBS_LEFT)) >= 2 and len(found & set(ids.RIBS_RIGHT)) >= 2
    lung = ndimage.binary_erosion(np.isin(anatomy.labels, ids.LUNGS), iterations=2)
    assert -900 < np.median(anatomy.hu[lung]) < -780
    left = np.nonzero(anatomy.labels == ids.LUNG_LOWER_LEFT)[2].mean()
    assert left > np.nonzero(anatomy.labels == ids.LUNG_LOWER_RIGHT)[2].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": ("L1", "L3")}, "levels must be a run within T1 to S1 from the head down, got L1, L3"),
        ({"levels": ("L2", "L1")}, "levels must be a run"),
        ({"levels": ("S1",)}, "levels must be a run .* got S1"),
        ({"levels": ()}, "got none"),
        ({"spacing_mm": (1.0, 0.0, 2.0)}, "spacing_mm must be three positive sizes"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm must be three positive sizes"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(CtmarError, match=message):
        build_body(**{"seed": 0, "levels": LEVELS, "spacing_mm": COARSE, **arguments})


@pytest.mark.slow
def test_s1_brings_a_pelvis_that_takes_screws():
    from ctmar.anatomy.landmarks import find_anchors
    from ctmar.implants.placing import anchor_screw

    found = []
    for seed in (0, 3):
        body = build_body(seed, ("L5", "S1"), (2.0, 2.0, 3.0))
        volume = {int(n): (body.labels == n).sum() * 12.0 / 1000 for n in (25, 26, 77, 78)}
        assert 60 < volume[25] < 200 and 5 < volume[26] < 30, volume
        assert volume[77] == pytest.approx(volume[78], rel=0.05) and volume[77] > 60
        for label in (25, 77, 78):
            bone = body.hu[body.labels == label]
            assert 130 < np.median(bone) < 600 and np.percentile(bone, 95) > 380, label
        gap = ndimage.distance_transform_edt(body.labels != 25, sampling=(3.0, 2.0, 2.0))
        assert 1.0 < gap[body.labels == 77].min() < 6.0
        found += [(a.kind, a.side) for a in find_anchors(body)]
        assert all(anchor_screw(a, "316L").diameter_mm >= 5.5 for a in find_anchors(body))
    for kind in ("S1", "S2AI", "iliac"):
        assert sum(name == kind for name, _ in found) >= 2, found


def test_s1_stands_under_l5_alone():
    with pytest.raises(
        CtmarError, match="levels must be a run within T1 to S1 from the head down, got L4, S1"
    ):
        build_body(0, ("L4", "S1"))
