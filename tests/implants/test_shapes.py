"""Solids: distances against closed forms, boxes that hold them, errors in one line."""

import math

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.implants.hardware import ScrewShaft, Tulip, spline_rod
from ctmar.implants.random_metal import Blob
from ctmar.implants.shapes import Cylinder, Ellipsoid, Part, Sphere, Tube, Union

TILTED = (1.0, -2.0, 0.5)


def tilted(length):
    return tuple(length * np.asarray(TILTED) / np.linalg.norm(TILTED))


SHAPES = [
    Sphere((1.0, 2.0, 3.0), 4.0),
    Ellipsoid((0.0, 1.0, 0.0), (3.0, 5.0, 8.0)),
    Cylinder((0.0, 0.0, 0.0), tilted(12.0), 3.0),
    Cylinder((0.0, 0.0, 0.0), tilted(12.0), 3.0, 1.0),
    Tube(((0.0, 0.0, 0.0), (0.0, 2.0, 9.0), (1.0, 6.0, 20.0)), 2.75),
    ScrewShaft((0.0, 0.0, 0.0), tilted(1.0), 30.0, 6.0),
    Tulip((0.0, 0.0, 0.0), (0.1, 0.2, 1.0), TILTED),
    Union((Sphere((0.0, 0.0, 0.0), 2.0), Sphere((5.0, 0.0, 0.0), 3.0))),
    Blob((1.0, 1.0, 1.0), 6.0, ((1.0, 2.0, 0.0), (0.0, 3.0, 1.0)), (0.2, 0.2), (0.0, 1.0)),
]
IDS = [f"{n}-{type(shape).__name__}" for n, shape in enumerate(SHAPES)]


def sampled(shape, step=0.3, pad=3.0):
    low, high = shape.bounds_mm()
    axes = [np.arange(a - pad, b + pad, step) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_the_box_holds_the_solid_and_is_tight(shape):
    points = sampled(shape, 0.4)
    inside = points[shape.signed_distance(points) < 0]
    low, high = shape.bounds_mm()
    assert len(inside) > 0
    assert (inside >= low - 1e-9).all() and (inside <= high + 1e-9).all()
    slack = 4.0 if isinstance(shape, (Blob, ScrewShaft)) else 1.5
    assert (inside.min(axis=0) - low < slack).all() and (high - inside.max(axis=0) < slack).all()


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_the_distance_does_not_grow_faster_than_the_way(shape):
    rng = np.random.default_rng(0)
    low, high = shape.bounds_mm()
    points = rng.uniform(low - 1, high + 1, (4000, 3))
    points = points[np.abs(shape.signed_distance(points)) < 0.6]
    steps = 0.01 * rng.standard_normal(points.shape)
    change = np.abs(shape.signed_distance(points + steps) - shape.signed_distance(points))
    share = change / np.linalg.norm(steps, axis=1)
    assert np.quantile(share, 0.95) < 1.25


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (SHAPES[0], 4 / 3 * math.pi * 4.0**3),
        (SHAPES[1], 4 / 3 * math.pi * 3 * 5 * 8),
        (SHAPES[2], math.pi * 9 * 12),
        (SHAPES[3], math.pi * 12 / 3 * (9 + 3 + 1)),
    ],
    ids=["sphere", "ellipsoid", "cylinder", "frustum"],
)
def test_the_volume_is_the_closed_form(shape, volume):
    step = 0.25
    filled = np.clip(0.5 - shape.signed_distance(sampled(shape, step)) / step, 0, 1).sum() * step**3
    assert filled == pytest.approx(volume, rel=0.01)


def test_a_cylinder_knows_its_side_cap_and_edge():
    cylinder = Cylinder((0.0, 0.0, 0.0), (0.0, 0.0, 10.0), 2.0)
    points = np.array([[5.0, 0, 5], [0, 0, 13.0], [5, 0, 14], [0, 0, 5], [0, 0, 9.5]])
    np.testing.assert_allclose(cylinder.signed_distance(points), [3.0, 3.0, 5.0, -2.0, -0.5], atol=1e-12)


def test_a_thread_turns_once_a_pitch_between_root_and_crest():
    screw = ScrewShaft((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 40.0, 6.0)
    along = np.arange(5.0, 30.0, 0.05)
    radii = []
    for z in along:
        r = np.arange(2.0, 3.5, 0.005)
        outside = screw.signed_distance(np.stack([r, 0 * r, 0 * r + z], axis=-1)) > 0
        radii.append(r[np.argmax(outside)])
    radii = np.array(radii)
    assert radii.min() == pytest.approx(2.5, abs=0.02) and radii.max() == pytest.approx(3.0, abs=0.02)
    shift = round(2.5 / 0.05)
    np.testing.assert_allclose(radii[shift:], radii[:-shift], atol=0.02)
    assert np.abs(radii[shift // 2 :] - radii[: -(shift // 2)]).max() > 0.4


def test_the_thread_is_a_helix_and_not_rings():
    screw = ScrewShaft((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 40.0, 6.0)
    front, back = np.array([2.75, 0.0, 20.3]), np.array([-2.75, 0.0, 20.3])
    assert abs(screw.signed_distance(front) - screw.signed_distance(back)) > 0.05


def test_a_tulip_leaves_room_for_the_rod_and_has_walls():
    tulip = Tulip((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), slot_mm=5.7)
    on_rod = np.array([[0.0, 0.0, z] for z in (-4.0, 0.0, 4.0)])
    assert (tulip.signed_distance(on_rod) > 2.5).all()
    assert tulip.signed_distance(np.array([0.0, 6.0, 0.0])) > 0
    assert tulip.signed_distance(np.array([0.0, -6.0, 0.0])) < 0
    assert (tulip.signed_distance(np.array([[5.0, 4.0, 0.0], [-5.0, 4.0, 0.0]])) < 0).all()


def test_a_rod_passes_its_heads_and_overhangs():
    centers = [(0.0, 0.0, 0.0), (2.0, 4.0, 30.0), (1.0, 3.0, 60.0)]
    rod = spline_rod(centers, 5.5, 8.0)
    np.testing.assert_allclose(rod.signed_distance(np.array(centers)), -2.75, atol=0.05)
    first, last = np.array(rod.points_mm[0]), np.array(rod.points_mm[-1])
    assert np.linalg.norm(first - centers[0]) == pytest.approx(8.0)
    assert np.linalg.norm(last - centers[-1]) == pytest.approx(8.0)
    assert first[2] < 0 and last[2] > 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sphere((0.0, 0.0, 0.0), 0.0), "radius_mm must be positive, got 0.0"),
        (lambda: Cylinder((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0), "direction must be finite and not zero"),
        (lambda: Tube(((0.0, 0.0, 0.0),), 1.0), "at least 2 points, got 1"),
        (lambda: Part("x", "", Sphere((0.0, 0.0, 0.0), 1.0)), "material must be the name of one, got ''"),
        (lambda: Union(()), "at least 1 shape, got 0"),
        (lambda: ScrewShaft((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 30.0, 1.0), "diameter_mm must exceed"),
        (lambda: spline_rod([(0.0, 0.0, 0.0)], 5.5, 8.0), "2 or more points"),
    ],
)
def test_impossible_solids_are_refused(make, message):
    with pytest.raises(CtmarError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
