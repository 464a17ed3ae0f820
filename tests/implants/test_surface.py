"""Surfaces: closed, outwards, of their solid's volume; label maps that name the parts."""

import numpy as np
import pytest

from ctmar.implants.hardware import ScrewShaft, Tulip
from ctmar.implants.shapes import Part, Sphere, Tube
from ctmar.implants.surface import triangles, voxel_labels, write_stl

SHAPES = [
    (Sphere((1.0, 2.0, 3.0), 5.0), 4 / 3 * np.pi * 125),
    (Tube(((0.0, 0.0, 0.0), (3.0, 4.0, 12.0)), 2.5), np.pi * 6.25 * 13 + 4 / 3 * np.pi * 2.5**3),
    (ScrewShaft((0.0, 0.0, 0.0), (0.3, -1.0, 0.2), 30.0, 6.0), None),
    (Tulip((0.0, 0.0, 0.0), (0.1, 0.2, 1.0), (0.0, 1.0, 0.1)), None),
]


def enclosed(corners):
    return float(np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def counted(shape, step=0.15):
    low, high = shape.bounds_mm()
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return float((shape.signed_distance(points) < 0).sum()) * step**3


@pytest.mark.parametrize(("shape", "volume"), SHAPES, ids=["sphere", "rod", "screw", "head"])
def test_a_surface_is_closed_and_encloses_the_solid_outwards(shape, volume):
    corners = triangles(shape, 0.3)
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    np.testing.assert_allclose(area.sum(axis=0), 0.0, atol=1e-8)
    assert enclosed(corners) == pytest.approx(volume or counted(shape), rel=0.02)
    assert np.abs(shape.signed_distance(corners.reshape(-1, 3))).max() < 0.35


def test_an_stl_file_holds_the_triangles_and_says_its_axes(tmp_path):
    corners = triangles(SHAPES[0][0], 0.8)
    write_stl(tmp_path / "ball.stl", corners, "ball")
    stored = (tmp_path / "ball.stl").read_bytes()
    assert b"SPACE=LPS" in stored[:80] and len(stored) == 84 + 50 * len(corners)
    read = np.frombuffer(stored[84:], np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]))
    np.testing.assert_allclose(read["c"], corners, atol=1e-4)
    outwards = np.einsum("ni,ni->n", read["n"], corners.mean(axis=1) - np.array([1.0, 2.0, 3.0]))
    assert (outwards > 0).all()


def test_labels_name_the_parts_and_the_earlier_wins():
    parts = [
        Part("a", "316L", Sphere((10.0, 10.0, 10.0), 4.0)),
        Part("b", "316L", Sphere((14.0, 10.0, 10.0), 4.0)),
        Part("far", "316L", Sphere((90.0, 0.0, 0.0), 4.0)),
    ]
    labels = voxel_labels(parts, (10, 20, 40), (1.0, 1.0, 2.0))
    assert labels[5, 10, 10] == labels[5, 10, 13] == 1 and labels[5, 10, 16] == 2 and labels[5, 10, 30] == 0
    assert (labels == 1).sum() * 2.0 == pytest.approx(4 / 3 * np.pi * 64, rel=0.15)
