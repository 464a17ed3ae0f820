"""Pedicles: found where a spine of known solids has them, mirrored with it, none where it is cut."""

from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy import Anatomy
from ctmar.anatomy.landmarks import find_canal, find_pedicles
from tests.toy_spine import HEIGHT_MM, ISTHMUS_Y, MEDIAL_DEG, OFFSET_MM, WIDTH_MM, make_spine


def medial_deg(pedicle):
    inwards = -pedicle.direction[0] if pedicle.side == "left" else pedicle.direction[0]
    return np.degrees(np.arctan2(inwards, -pedicle.direction[1]))


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 2.5), (1.0, 1.0, 1.0), (1.5, 1.5, 3.0)])
def test_pedicles_are_found_with_their_size_place_and_angle(spacing_mm):
    anatomy = make_spine(spacing_mm)
    found = find_pedicles(anatomy)
    assert [(p.level, p.side) for p in found] == [
        (n, s) for n in ("L3", "L2", "L1") for s in ("left", "right")
    ]
    middle = (anatomy.labels.shape[2] - 1) / 2 * spacing_mm[0]
    for pedicle, height in zip(found, np.repeat((20.0, 55.0, 90.0), 2), strict=True):
        x, y, z = pedicle.isthmus_mm
        sign = 1 if pedicle.side == "left" else -1
        expected = OFFSET_MM + (y - ISTHMUS_Y) * np.tan(np.radians(MEDIAL_DEG))
        assert sign * (x - middle) == pytest.approx(expected, abs=1.5)
        assert z == pytest.approx(height + 4, abs=2.0)
        assert pedicle.width_mm == pytest.approx(WIDTH_MM, abs=max(1.2, 1.3 * spacing_mm[0]))
        assert pedicle.height_mm == pytest.approx(HEIGHT_MM, abs=3.0)
        assert medial_deg(pedicle) == pytest.approx(MEDIAL_DEG, abs=6.0)
        assert abs(pedicle.direction[2]) < 0.15 and pedicle.direction[1] < 0
        assert np.linalg.norm(pedicle.direction) == pytest.approx(1.0)


def test_entry_and_depth_span_the_bone(toy_spine):
    for pedicle in find_pedicles(toy_spine):
        entry, axis = np.array(pedicle.entry_mm), np.array(pedicle.direction)
        assert entry[1] == pytest.approx(76.0, abs=2.0)
        steps = np.arange(1.0, pedicle.depth_mm - 1.0, 1.0)[:, None]
        index = np.rint((entry + steps * axis) / toy_spine.spacing_mm).astype(int)
        bone = toy_spine.labels[index[:, 2], index[:, 1], index[:, 0]]
        assert ((bone > 0) & (bone < 79)).all()
        front = entry + pedicle.depth_mm * axis
        assert front[1] < 30.0


def test_a_mirrored_spine_has_mirrored_pedicles():
    spine = make_spine()
    lopsided = np.array(spine.labels)
    lopsided[:, :, : lopsided.shape[2] // 2][:, 60:, :20] = 0
    spine = replace(spine, labels=lopsided)
    mirrored = replace(spine, labels=np.ascontiguousarray(spine.labels[:, :, ::-1]))
    width = (spine.labels.shape[2] - 1) * spine.spacing_mm[0]
    there = {(p.level, p.side): p for p in find_pedicles(mirrored)}
    for pedicle in find_pedicles(spine):
        other = there[pedicle.level, "right" if pedicle.side == "left" else "left"]
        flipped = np.array([width - other.isthmus_mm[0], *other.isthmus_mm[1:]])
        np.testing.assert_allclose(flipped, pedicle.isthmus_mm, atol=0.4)
        np.testing.assert_allclose(np.array(other.direction) * [-1, 1, 1], pedicle.direction, atol=0.05)
        assert other.width_mm == pytest.approx(pedicle.width_mm, abs=0.4)


def test_pedicles_cut_by_the_volume_are_skipped(toy_spine):
    cut = replace(toy_spine, hu=toy_spine.hu[:38], labels=toy_spine.labels[:38])
    assert {p.level for p in find_pedicles(cut)} == {"L3", "L2"}
    cut = replace(toy_spine, hu=toy_spine.hu[8:], labels=toy_spine.labels[8:])
    assert {p.level for p in find_pedicles(cut)} == {"L2", "L1"}


def test_a_body_cut_below_its_whole_pedicles_costs_no_level(toy_spine):
    cut = replace(toy_spine, hu=toy_spine.hu[5:], labels=toy_spine.labels[5:])
    assert {p.level for p in find_pedicles(cut)} == {"L3", "L2", "L1"}


def test_the_rim_of_a_body_around_a_disc_is_no_canal(toy_spine):
    labels, (sx, sy, sz) = np.array(toy_spine.labels), toy_spine.spacing_mm
    y, x = np.mgrid[: labels.shape[1], : labels.shape[2]]
    radius = np.hypot(x * sx - 47.2, y * sy - 35.0)
    rim = round(38.0 / sz)
    labels[rim][(radius > 11) & (radius < 16)] = 29
    canal = find_canal(replace(toy_spine, labels=labels))
    assert not canal.contains(np.array([47.2, 35.0, rim * sz]))
    assert canal.contains(np.array([47.2, 61.0, rim * sz]))
    without_cord = np.where(labels == 79, 0, labels).astype(np.uint8)
    assert not find_canal(replace(toy_spine, labels=without_cord)).contains(np.array([47.2, 35.0, rim * sz]))


def test_a_cut_spinous_process_costs_no_level(toy_spine):
    labels = toy_spine.labels[:, : round(90 / 0.8)]
    assert len(find_pedicles(replace(toy_spine, hu=toy_spine.hu[:, : labels.shape[1]], labels=labels))) == 6


def test_no_vertebra_no_pedicle(toy_spine):
    empty = np.zeros_like(toy_spine.labels)
    assert find_pedicles(replace(toy_spine, labels=empty)) == ()
    body_alone = np.where(toy_spine.labels == 30, 30, 0).astype(np.uint8)
    body_alone[:, 60:] = 0
    assert find_pedicles(replace(toy_spine, labels=body_alone)) == ()


def test_the_canal_is_the_cavity_in_the_ring_with_or_without_a_cord(toy_spine):
    without = np.where(toy_spine.labels == 79, 0, toy_spine.labels).astype(np.uint8)

    def at(u, v, w):
        return np.array([47.2 + u, 61.0 + v, w])

    for labels in (toy_spine.labels, without):
        canal = find_canal(replace(toy_spine, labels=labels))
        for height in (20.0, 55.0, 90.0):
            assert canal.contains(at(0, 0, height))
            assert canal.contains(at(8.0, 0, height + 8))
            assert not canal.contains(at(17.0, 0, height + 4))
            assert not canal.contains(at(0, -15.0, height))
        assert not canal.contains(np.array([-50.0, 0.0, 0.0]))
        assert not (canal.mask & (labels > 0) & (labels < 79)).any()


def test_pedicles_do_not_depend_on_earlier_calls(toy_spine):
    assert find_pedicles(toy_spine) == find_pedicles(toy_spine)


@pytest.fixture(scope="module")
def thorax(data_dir) -> Anatomy:
    from ctmar.anatomy.volume import read_anatomy

    folder = data_dir / "thorax"
    return read_anatomy(folder / "ct.nii.gz", folder / "labels.nii.gz")


@pytest.mark.slow
def test_a_real_spine_has_pedicles_of_human_size(thorax):
    found = find_pedicles(thorax)
    assert {"T9", "T10", "T11", "T12", "L1"} <= {p.level for p in found}
    assert all(sum(p.level == level for p in found) == 2 for level in ("T10", "T11", "T12", "L1"))
    for pedicle in found:
        assert 5.5 < pedicle.width_mm < 11.0
        assert 11.0 < pedicle.height_mm < 20.0
        assert 35.0 < pedicle.depth_mm < 65.0
        assert -15.0 < medial_deg(pedicle) < 30.0
        assert (
            thorax.labels[tuple(np.rint(np.array(pedicle.isthmus_mm) / thorax.spacing_mm).astype(int)[::-1])]
            > 0
        )
