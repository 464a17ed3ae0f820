"""Tips and diameters of screws, worked by hand."""

import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics.hardware import find_shafts, shaft_errors


def bar(rows: tuple[int, int], columns: tuple[int, int], shape: tuple[int, int] = (64, 48)) -> torch.Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


SCREW = bar((10, 50), (20, 24))  # 40 mm long, 4 mm thick, its tip at row 10


@pytest.mark.parametrize(
    ("shown", "tip", "diameter"),
    [
        (SCREW, 0.0, 0.0),
        (bar((13, 50), (20, 24)), 3.0, 0.0),  # three pixels short
        (bar((8, 50), (20, 24)), 2.0, 0.0),  # two too long
        (bar((10, 54), (20, 24)), 0.0, 0.0),  # the head's end is no tip
        (bar((10, 50), (19, 25)), 0.0, 2.0),  # blooms by a pixel a side
        (bar((10, 50), (21, 23)), 0.0, 2.0),  # shrinks by a pixel a side
        (bar((0, 0), (0, 0)), 40.0, 4.0),  # not shown at all
        (bar((10, 50), (34, 38)), 40.0, 4.0),  # shown elsewhere
        (SCREW | bar((30, 60), (40, 44)), 0.0, 0.0),  # and a streak that does not touch it
        (SCREW | bar((9, 10), (0, 48)), 1.0, 0.0),  # a streak across the tip moves it by its own pixel
    ],
)
def test_errors_worked_by_hand(shown, tip, diameter) -> None:
    found = shaft_errors(shown, SCREW, 1.0)
    assert (float(found.tip), float(found.diameter)) == (pytest.approx(tip), pytest.approx(diameter))


def test_lengths_are_in_mm() -> None:
    found = shaft_errors(bar((13, 50), (19, 25)), SCREW, 0.5)
    assert float(found.tip) == pytest.approx(1.5) and float(found.diameter) == pytest.approx(1.0)


def test_a_head_does_not_change_the_diameter_nor_a_rods_end_the_tip() -> None:
    head = SCREW | bar((50, 60), (15, 29))
    (shaft,) = find_shafts(head.numpy(), 1.0)
    assert shaft.diameter == pytest.approx(4.0) and shaft.end - shaft.start == pytest.approx(50.0)
    assert float(shaft_errors(head & (torch.arange(64) >= 13)[:, None], head, 1.0).tip) == pytest.approx(3.0)


@pytest.mark.parametrize("angle", [-60.0, -20.0, 10.0, 35.0, 80.0])
def test_a_screw_may_lie_at_any_angle(angle: float) -> None:
    def drawn(start: float, end: float, thickness: float) -> torch.Tensor:
        y, x = np.mgrid[:128, :128] - 63.5
        u = np.array([-math.cos(math.radians(angle)), math.sin(math.radians(angle))])  # to the front
        along, across = y * u[0] + x * u[1], np.abs(y * u[1] - x * u[0])
        return torch.from_numpy((along >= start) & (along <= end) & (across <= thickness / 2))

    true = drawn(-30, 30, 8)
    (shaft,) = find_shafts(true.numpy(), 1.0)
    assert shaft.diameter == pytest.approx(8, abs=0.5) and shaft.end - shaft.start == pytest.approx(60, abs=2)
    short = shaft_errors(drawn(-30, 24, 10), true, 1.0)
    assert float(short.tip) == pytest.approx(6, abs=1) and float(short.diameter) == pytest.approx(2, abs=0.5)
    # The other end is not the tip.
    assert float(shaft_errors(drawn(-24, 30, 8), true, 1.0).tip) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("metal", [bar((20, 30), (20, 30)), bar((20, 30), (20, 23)), bar((0, 0), (0, 0))])
def test_what_is_no_shaft_is_not_measured(metal) -> None:
    found = shaft_errors(SCREW, metal, 1.0)
    assert math.isnan(found.tip) and math.isnan(found.diameter)


def test_every_slice_has_its_own_figures_and_two_screws_their_mean() -> None:
    two = SCREW | bar((10, 50), (36, 40))
    shown = torch.stack([two, bar((14, 50), (20, 24)) | bar((10, 50), (36, 40)), torch.zeros_like(two)])
    found = shaft_errors(shown[:, None], two[None], 1.0)
    assert found.tip.shape == (3, 1) and found.tip.dtype == torch.float64
    assert found.tip.flatten().tolist() == pytest.approx([0.0, 2.0, 40.0])
    assert found.diameter.flatten().tolist() == pytest.approx([0.0, 0.0, 4.0])


def test_masks_of_another_kind_or_shape_are_refused() -> None:
    with pytest.raises(CtmarError, match="must be bool masks with the same rows"):
        shaft_errors(SCREW.float(), SCREW, 1.0)
    with pytest.raises(CtmarError, match="must be bool masks with the same rows"):
        shaft_errors(SCREW[1:], SCREW, 1.0)
