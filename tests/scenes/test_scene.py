"""Scenes on the scanner's pixels: volumes, places, poses; earlier metal wins."""

import math

import numpy as np
import pytest

from ctmar.anatomy import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants.construct import Change
from ctmar.implants.hardware import ScrewShaft, spline_rod
from ctmar.implants.shapes import Cylinder, Part, Sphere
from ctmar.scenes import Pose, Scene

SPACING = (0.9, 0.9, 2.5)
CENTER = np.array([49.5 * 0.9, 39.5 * 0.9, 10 * 2.5])


def at(x, y, z):
    return (CENTER[0] + x, CENTER[1] + y, CENTER[2] + z)


@pytest.fixture
def anatomy():
    hu = np.full((20, 80, 100), -50.0, np.float32)
    hu[:, :, 60:] = 300.0
    hu[:, 50:, :] += 20.0
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, :, 60:] = 31
    return Anatomy("block", hu, labels, SPACING)


def ball(offset=(0.0, 0.0, 0.0), radius=6.0, material="316L"):
    return Part("ball", material, Sphere(tuple(CENTER + offset), radius))


@pytest.mark.parametrize("pose", [Pose(), Pose(17.0, (3.0, -2.0))])
@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (Sphere(at(1.3, 0.4, 0.7), 7.0), 4 / 3 * math.pi * 343),
        (Cylinder(at(-14.0, -3.0, -2.0), at(12, 5, 6), 3.0), math.pi * 9 * math.sqrt(804)),
        (Cylinder(at(-0.0, -0.0, -12.0), at(0, 0, 12.3), 2.75), math.pi * 2.75**2 * 24.3),
    ],
    ids=["sphere", "oblique cylinder", "upright cylinder"],
)
def test_the_metal_has_the_volume_of_its_shape(anatomy, shape, volume, pose):
    scene = Scene(anatomy, (Part("x", "316L", shape),), 10, pose)
    cut = scene.slices(range(-9, 10), ImageGrid((140, 140), 0.7))
    assert cut.metal["316L"].sum() * 0.7**2 * 2.5 == pytest.approx(volume, rel=0.01)
    assert cut.metal["316L"].max() <= 1.0 and cut.metal["316L"].min() >= 0.0


def by_counting(shape, step=0.1):
    """Volume by counting points inside: no partial volumes, no distances."""
    low, high = shape.bounds_mm()
    x, y, z = (np.arange(a + step / 2, b, step) for a, b in zip(low, high, strict=True))
    count = 0
    for height in z:
        plane = np.stack(np.meshgrid(x, y, [height], indexing="ij"), axis=-1)
        count += int((shape.signed_distance(plane) < 0).sum())
    return count * step**3


@pytest.mark.parametrize("spacing", [SPACING, (0.7, 0.7, 0.7)], ids=["2.5 mm", "0.7 mm"])
@pytest.mark.parametrize("seed", range(3))
def test_screws_rods_and_heads_have_their_volume_at_any_pose(anatomy, seed, spacing):
    rng = np.random.default_rng(seed)
    direction = tuple(rng.standard_normal(3))
    middle = CENTER[:2].tolist() + [10 * spacing[2]]
    hu = np.zeros((21, 80, 100), np.float32)
    body = Anatomy("still", hu, hu.astype(np.uint8), spacing)
    reach = 0.35 * spacing[2] * 20
    start = tuple(middle - np.asarray(direction) / np.linalg.norm(direction) * reach)
    ends = [tuple(middle + reach * v) for v in rng.uniform(-0.8, 0.8, (3, 3))]
    shapes = (
        ScrewShaft(start, direction, 2 * reach, 5.0),
        spline_rod(ends, 5.5, 0.0),
        Sphere(tuple(middle + rng.uniform(-1, 1, 3)), 4.0),
    )
    for shape in shapes:
        pose = Pose(float(rng.uniform(-20, 20)), (float(rng.uniform(-4, 4)), float(rng.uniform(-4, 4))))
        cut = Scene(body, (Part("x", "316L", shape),), 10, pose).slices(
            range(-10, 11), ImageGrid((150, 150), 0.7)
        )
        volume = cut.metal["316L"].sum() * 0.7**2 * spacing[2]
        expected = by_counting(shape, 0.1 if spacing[2] < 1 else 0.2)
        assert volume == pytest.approx(expected, rel=0.01), type(shape).__name__


def test_shapes_types_and_spacing(anatomy):
    cut = Scene(anatomy, (ball(),), 10).slices((-1, 0, 1), ImageGrid((60, 90), 1.1))
    assert cut.hu.shape == cut.labels.shape == cut.metal["316L"].shape == (3, 60, 90)
    assert (cut.hu.dtype, cut.labels.dtype, cut.metal["316L"].dtype) == (np.float32, np.uint8, np.float32)
    assert cut.spacing_mm == 1.1
    assert set(cut.metal) == {"316L"}


def test_the_volumes_own_grid_gives_the_volume_back(anatomy):
    cut = Scene(anatomy, (), 10).slices((0,), ImageGrid((80, 100), 0.9))
    np.testing.assert_allclose(cut.hu[0], anatomy.hu[10], atol=1e-3)
    np.testing.assert_array_equal(cut.labels[0], anatomy.labels[10])
    assert cut.metal == {}


def test_outside_the_volume_is_air(anatomy):
    cut = Scene(anatomy, (), 10).slices((0,), ImageGrid((120, 140), 0.9))
    assert (cut.hu[0, :19] == -1000).all() and (cut.hu[0, :, :19] == -1000).all()
    assert (cut.labels[0, :19] == 0).all()


def centroid(image, spacing):
    rows, columns = np.indices(image.shape)
    total = image.sum()
    x = (columns * image).sum() / total - (image.shape[1] - 1) / 2
    y = (rows * image).sum() / total - (image.shape[0] - 1) / 2
    return np.array([x, y]) * spacing


@pytest.mark.parametrize(
    ("pose", "place"),
    [
        (Pose(), (10.0, 4.0)),
        (Pose(0.0, (3.0, -5.0)), (13.0, -1.0)),
        (Pose(90.0), (-4.0, 10.0)),
        (Pose(90.0, (1.0, 0.0)), (-3.0, 10.0)),
    ],
)
def test_the_pose_turns_then_shifts_metal_and_body_together(anatomy, pose, place):
    marked = np.full(anatomy.hu.shape, -1000.0, np.float32)
    j, i = np.indices(marked.shape[1:])
    x, y = i * 0.9 - CENTER[0] - 10, j * 0.9 - CENTER[1] - 4
    marked[:, x**2 + y**2 < 25] = 0.0
    scene = Scene(Anatomy("marked", marked, anatomy.labels, SPACING), (ball((10, 4, 0), 5.0),), 10, pose)
    cut = scene.slices((0,), ImageGrid((130, 130), 0.8))
    np.testing.assert_allclose(centroid(cut.metal["316L"][0], 0.8), place, atol=0.05)
    np.testing.assert_allclose(centroid(cut.hu[0] + 1000, 0.8), place, atol=0.2)


def test_overlapping_metal_counts_once_and_the_earlier_wins(anatomy):
    first, second = ball(material="CoCrMo"), ball((4.0, 0.0, 0.0))
    grid = ImageGrid((100, 100), 0.7)
    both = Scene(anatomy, (first, second), 10).slices((0, 1), grid).metal
    alone = Scene(anatomy, (first,), 10).slices((0, 1), grid).metal
    whole = Scene(anatomy, (second,), 10).slices((0, 1), grid).metal
    np.testing.assert_array_equal(both["CoCrMo"], alone["CoCrMo"])
    assert (both["CoCrMo"] + both["316L"]).max() <= 1.0 + 1e-6
    assert both["316L"].sum() < 0.8 * whole["316L"].sum()


def test_what_surgery_changed_is_there_without_the_metal_and_has_no_label(anatomy):
    change = Change("cage", 181.0, Sphere(tuple(CENTER + [12.0, 0.0, 0.0]), 7.0))
    grid = ImageGrid((80, 100), 0.9)
    before, after = (Scene(anatomy, (), 10, changes=c).slices((0,), grid) for c in ((), (change,)))
    assert after.hu[0, 40, 63] == pytest.approx(181.0) and after.labels[0, 40, 63] == 0
    assert before.labels[0, 40, 63] == 31 and after.metal == {}
    away = np.hypot(*(np.indices((80, 100)) - np.array([39.5, 62.8])[:, None, None])) * 0.9 > 8.5
    np.testing.assert_array_equal(after.hu[0][away], before.hu[0][away])


def test_porous_metal_fills_its_share(anatomy):
    whole, porous = (Part("x", "316L", Sphere(tuple(CENTER), 6.0), fill) for fill in (1.0, 0.35))
    sums = [
        Scene(anatomy, (p,), 10).slices((0,), ImageGrid((60, 60), 0.9)).metal["316L"] for p in (whole, porous)
    ]
    np.testing.assert_allclose(sums[1], 0.35 * sums[0], rtol=1e-5)


def test_thin_metal_fills_a_slice_in_part(anatomy):
    plate = Part("plate", "316L", Cylinder(at(-0.0, -0.0, -0.5), at(0, 0, 0.5), 8.0))
    metal = Scene(anatomy, (plate,), 10).slices((-1, 0, 1), ImageGrid((40, 40), 0.7)).metal["316L"]
    assert metal[1, 20, 20] == pytest.approx(1.0 / 2.5, abs=0.05)
    assert metal[0].sum() == 0 and metal[2].sum() == 0


def test_a_slice_is_the_same_alone_and_with_neighbours(anatomy):
    scene, grid = Scene(anatomy, (ball(),), 10, Pose(3.0, (1.0, 2.0))), ImageGrid((64, 64), 1.0)
    alone, three = scene.slices((0,), grid), scene.slices((-1, 0, 1), grid)
    np.testing.assert_array_equal(alone.hu[0], three.hu[1])
    np.testing.assert_array_equal(alone.metal["316L"][0], three.metal["316L"][1])


def test_metal_outside_the_image_is_left_out(anatomy):
    scene = Scene(anatomy, (ball((30.0, 0.0, 0.0)),), 10)
    assert scene.slices((0,), ImageGrid((20, 20), 1.0)).metal == {}


def test_slices_beyond_the_volume_are_refused(anatomy):
    with pytest.raises(CtmarError, match=r"slices must lie in 0 to 19 of block, got \[18, 19, 20\]"):
        Scene(anatomy, (), 19).slices((-1, 0, 1), ImageGrid((8, 8), 1.0))


def test_a_pose_needs_finite_numbers():
    with pytest.raises(CtmarError, match="a pose needs finite numbers, got nan"):
        Pose(float("nan"))
