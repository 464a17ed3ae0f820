import math
from dataclasses import replace

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, HelicalFan, ImageGrid, ParallelBeam

FAN = FanBeam(360, 184, 1.5, 150.0, 100.0)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_spacing_must_be_positive(spacing: float) -> None:
    with pytest.raises(CtmarError, match="spacing_mm must be a positive number, got"):
        ImageGrid((4, 4), spacing)
    with pytest.raises(CtmarError, match="det_spacing_mm must be a positive number"):
        ParallelBeam(4, 4, spacing)


@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_counts_must_be_positive_whole_numbers(count: float) -> None:
    with pytest.raises(CtmarError, match="num_angles must be a positive whole number"):
        ParallelBeam(count, 4, 1.0)  # type: ignore[arg-type]
    with pytest.raises(CtmarError, match="rows must be a positive whole number"):
        ImageGrid((count, 4), 1.0)  # type: ignore[arg-type]


def test_sub_rays_average_to_their_bin() -> None:
    beam = ParallelBeam(3, 5, 1.5, det_offset_mm=0.25)
    fine = beam.refine(4)
    position = lambda b, d: (d - (b.det_count - 1) / 2) * b.det_spacing_mm + b.det_offset_mm  # noqa: E731
    for d in range(5):
        mean = sum(position(fine, 4 * d + k) for k in range(4)) / 4
        assert mean == pytest.approx(position(beam, d))


def test_detector_covers_the_diagonal_or_not() -> None:
    grid = ImageGrid((256, 256), 1.4)
    assert ParallelBeam(360, 367, 1.4).covers(grid)
    assert not ParallelBeam(360, 300, 1.4).covers(grid)


def test_crop_is_where_its_pixels_were() -> None:
    grid = ImageGrid((10, 8), 2.0, center_mm=(1.0, 0.0))
    crop = grid.crop(slice(2, 5), slice(5, 7))
    # Rows 2-4 of 10 have their middle 1.5 rows above the centre, columns 5, 6 of 8 two to its right.
    assert crop.shape == (3, 2) and crop.center_mm == (1.0 + 4.0, 3.0)
    assert grid.crop(slice(None), slice(None)) == grid
    with pytest.raises(CtmarError, match="a crop needs rows and columns that hold pixels, got"):
        grid.crop(slice(3, 3), slice(None))
    with pytest.raises(CtmarError, match="center_mm must be two finite numbers"):
        ImageGrid((4, 4), 1.0, center_mm=(0.0, float("nan")))
    assert not ParallelBeam(4, 9, 1.0).covers(ImageGrid((3, 3), 1.0, center_mm=(4.0, 0.0)))


def test_only_uniform_centred_views_wrap() -> None:
    assert ParallelBeam(8, 9, 1.0).wraps
    assert not ParallelBeam(8, 9, 1.0, det_offset_mm=0.25).wraps
    assert not ParallelBeam(2, 9, 1.0, angles=(0.0, 1.0)).wraps


def test_given_angles_must_match_their_count() -> None:
    with pytest.raises(CtmarError, match="angles must hold 3 finite values, got 2"):
        ParallelBeam(3, 9, 1.0, angles=(0.0, 1.0))


def test_fan_views_fill_a_turn() -> None:
    assert FAN.shape == (360, 184) and FAN.theta[90] == pytest.approx(math.pi / 2)
    assert FAN.full_turn and not replace(FAN, angles=tuple(FAN.theta / 2)).full_turn
    assert FanBeam(4, 9, 1.0, 50.0, 0.0).full_turn and not FanBeam(1, 9, 1.0, 50.0, 0.0).full_turn


def test_fan_angles_follow_the_detector() -> None:
    flat, arc = FanBeam(4, 3, 75.0, 50.0, 25.0), FanBeam(4, 3, 75.0, 50.0, 25.0, "arc")
    np.testing.assert_allclose(flat.gamma, [-math.pi / 4, 0, math.pi / 4])
    np.testing.assert_allclose(arc.gamma, [-1, 0, 1])
    assert flat.sdd_mm == 75 and flat.iso_spacing_mm == 50
    np.testing.assert_allclose(replace(arc, det_offset_mm=7.5).gamma, [-0.9, 0.1, 1.1])


def test_fan_sub_rays_average_to_their_bin() -> None:
    fan = replace(FAN, detector="arc", det_offset_mm=0.25)
    np.testing.assert_allclose(fan.refine(4).gamma.reshape(-1, 4).mean(1), fan.gamma, atol=1e-12)
    assert fan.refine(4).angles == fan.angles and fan.refine(4).detector == "arc"


def test_fan_covers_the_diagonal_or_not() -> None:
    assert FAN.covers(ImageGrid((100, 100), 1.0))
    assert not FAN.covers(ImageGrid((120, 120), 1.0))
    assert not replace(FAN, det_offset_mm=30.0).covers(ImageGrid((100, 100), 1.0))
    assert not replace(FAN, det_count=99999).covers(ImageGrid((300, 300), 1.0))


@pytest.mark.parametrize("count", [184, 185, 1])
def test_parallel_beams_of_a_fan_reach_as_far(count: int) -> None:
    fan = replace(FAN, det_count=count)
    beam, reach = fan.parallel(), 150 * math.sin(float(fan.gamma[-1]))
    last = (beam.det_count - 1) / 2 * beam.det_spacing_mm
    assert beam.num_angles == 360 and beam.det_spacing_mm == pytest.approx(0.9)
    assert beam.det_count % 2 == count % 2 and -0.46 <= last - reach < 0.91


@pytest.mark.parametrize(
    "change,message",
    [
        ({"num_angles": 0}, "num_angles must be a positive whole number, got 0"),
        ({"det_count": 1.5}, "det_count must be a positive whole number, got 1.5"),
        ({"det_spacing_mm": 0.0}, "det_spacing_mm must be a positive number, got 0.0"),
        ({"src_radius_mm": 0.0}, "src_radius_mm must be a positive number, got 0.0"),
        ({"det_radius_mm": -1.0}, "det_radius_mm must be zero or a positive number, got -1.0"),
        ({"det_offset_mm": math.inf}, "det_offset_mm must be finite, got inf"),
        ({"detector": "curved"}, "detector must be one of flat, arc, got 'curved'"),
        ({"angles": (0.0, 1.0)}, "angles must hold 360 finite values, got 2"),
        (
            {"detector": "arc", "det_count": 999},
            r"arc detector must span less than 90° to each side, got 171\.5°",
        ),
    ],
)
def test_impossible_fans_are_refused(change: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        replace(FAN, **change)


HELIX = HelicalFan(FAN, 6.0, 4.0, 1000, -3.0, 90)


def test_a_helix_turns_on_while_z_grows() -> None:
    assert HELIX.shape == (1000, 184) and HELIX.pitch == 1.5 and HELIX.turns == pytest.approx(999 / 360)
    assert HELIX.theta[0] == pytest.approx(math.pi / 2)
    assert HELIX.theta[360] - HELIX.theta[0] == pytest.approx(2 * math.pi)
    assert HELIX.z_mm[0] == -3.0 and HELIX.z_mm[360] == pytest.approx(3.0)
    assert HELIX.view_at(3.0) == pytest.approx(360.0)
    assert HELIX.refine(2).shape == (1000, 368) and HELIX.refine(2).z_mm[-1] == HELIX.z_mm[-1]


def test_quarter_offsets_interlace() -> None:
    for quarters in (-5, -1, 1, 3, 5):
        assert replace(FAN, det_offset_mm=quarters * 1.5 / 4).interlaced
    for offset in (0.0, 0.75, 1.5, 0.2):
        assert not replace(FAN, det_offset_mm=offset).interlaced
    fine = replace(FAN, det_count=183, det_offset_mm=0.375).parallel(det_spacing_mm=0.45)
    assert fine.det_spacing_mm == 0.45 and fine.det_count % 2 == 0
    assert fine.det_count * 0.225 >= FAN.reach_mm - 1


@pytest.mark.parametrize(
    "change,message",
    [
        ({"feed_mm": 0.0}, "feed_mm must be a positive number, got 0.0"),
        ({"slice_mm": -1.0}, "slice_mm must be a positive number, got -1.0"),
        ({"num_views": 0}, "num_views must be a positive whole number, got 0"),
        ({"start_z_mm": math.nan}, "start_z_mm must be finite, got nan"),
        ({"start_view": 0.5}, "start_view must be a whole number, got 0.5"),
        ({"fan": replace(FAN, angles=tuple(FAN.theta + 0.1))}, "views fill a turn evenly from 0"),
        ({"fan": replace(FAN, angles=None, start_rad=0.1)}, "views fill a turn evenly from 0"),
        ({"fan": replace(FAN, mirrored=True)}, "from 0, not mirrored"),
    ],
)
def test_impossible_helices_are_refused(change: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        replace(HELIX, **change)
