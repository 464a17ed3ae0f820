"""Shapes as signed distances."""

import numpy as np
import pytest

from ctmar.phantoms.implicit import Canvas, Frame, Grid, capsule, coverage, ellipsoid, smooth_min


def points(*rows):
    return tuple(np.array(column, np.float32) for column in zip(*rows, strict=True))


def test_a_capsule_is_exact():
    got = capsule(points((0, 0, 0), (5, 0, 5), (0, 0, 14), (0, 3, -4)), (0, 0, 0), (0, 0, 10), (2.0, 2.0))
    assert got == pytest.approx([-2, 3, 2, 3])


def test_a_stretched_capsule_is_higher_than_wide():
    edge = capsule(points((0, 5, 3), (0, 5, 6), (2, 5, 0), (4, 5, 0)), (0, 0, 0), (0, 10, 0), (2.0, 2.0), 2.0)
    assert edge[0] < 0 < edge[1] and edge[2] == pytest.approx(0) and edge[3] == pytest.approx(2)


def test_an_ellipsoid_is_zero_on_its_surface_and_has_unit_slope_there():
    on = ellipsoid(*points((10, 0, 0), (0, 20, 0), (0, 0, -30)), (10, 20, 30))
    off = ellipsoid(*points((10.1, 0, 0), (0, 20.1, 0), (0, 0, -30.1)), (10, 20, 30))
    assert on == pytest.approx([0, 0, 0], abs=1e-5)
    assert off == pytest.approx([0.1] * 3, rel=0.05)


def test_a_smooth_union_only_adds_and_only_near():
    a, b = np.array([0.0, 5.0, -1.0]), np.array([0.0, 1.0, 4.0])
    assert smooth_min(a, b, 2.0) == pytest.approx([-0.5, 1.0, -1.0])


def test_partial_volume_is_half_on_the_edge():
    assert coverage(np.array([-2.0, 0.0, 0.25, 2.0]), 1.0) == pytest.approx([1, 0.5, 0.25, 0])


def test_a_painted_ball_has_its_volume_and_place():
    canvas = Canvas(Grid((20, 40, 60), (1.0, 1.5, 2.0)))
    frame = Frame(np.array([40.0, 30.0, 10.0]), np.eye(3))
    box = canvas.grid.around([frame.center], 10.0)
    canvas.paint(box, ellipsoid(*canvas.grid.local(box, frame), (8, 8, 8)), 0.0, 7)
    share = (canvas.hu + 1000) / 1000
    assert share.sum() * 3.0 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.03)
    k, j, i = np.argwhere(canvas.labels == 7).mean(0)
    assert (i * 1.0, j * 1.5, k * 2.0) == pytest.approx((40, 30, 10), abs=0.3)


def test_a_box_outside_the_grid_is_empty():
    grid = Grid((5, 5, 5), (1.0, 1.0, 1.0))
    box = grid.box((10, -9, 0), (20, -3, 2))
    assert [s.stop - s.start for s in box] == [3, 0, 0]


def test_local_axes_turn_with_the_frame():
    grid = Grid((4, 6, 8), (1.0, 1.0, 1.0))
    quarter = Frame(np.array([2.0, 3.0, 1.0]), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    u, v, w = grid.local((slice(0, 4), slice(0, 6), slice(0, 8)), quarter)
    assert (u[1, 5, 2], v[1, 5, 2], w[1, 5, 2]) == pytest.approx((2, 0, 0))
    assert quarter.point(2, 0, 0) == pytest.approx((2, 5, 1))
