import math

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics import metal_distance_mm, near_metal_mask


def one_pixel_of_metal(size: int = 61) -> torch.Tensor:
    metal = torch.zeros(size, size, dtype=torch.bool)
    metal[size // 2, size // 2] = True
    return metal


def test_distance_is_zero_in_the_metal_and_in_mm_around_it():
    distance = metal_distance_mm(one_pixel_of_metal(9), 0.5)
    assert distance[4, 4] == 0.0
    assert distance[4, 7] == pytest.approx(1.5)
    assert distance[1, 0] == pytest.approx(2.5)


def test_slice_without_metal_is_infinitely_far_and_has_no_near_region():
    metal = torch.zeros(2, 9, 9, dtype=torch.bool)
    metal[1, 4, 4] = True
    distance = metal_distance_mm(metal, 1.0)
    assert torch.isinf(distance[0]).all() and torch.isfinite(distance[1]).all()
    near = near_metal_mask(torch.ones_like(metal), metal, 1.0)
    assert not near[0].any() and near[1].any()


def test_near_region_is_a_ring_from_the_margin_to_twenty_millimetres():
    near = near_metal_mask(torch.ones(61, 61, dtype=torch.bool), one_pixel_of_metal(), 1.0)
    row = near[30, 30:]
    # 1 pixel and 1.5 mm: the pixel 1 mm away is margin, the one 2 mm away is scored, 20 mm the last.
    assert row.tolist() == [False, False] + [True] * 19 + [False] * 10


@pytest.mark.parametrize(("spacing_mm", "first"), [(0.5, 4), (0.75, 3), (1.4, 2), (2.0, 2)])
def test_margin_is_the_larger_of_a_pixel_and_one_and_a_half_millimetres(spacing_mm, first):
    near = near_metal_mask(torch.ones(61, 61, dtype=torch.bool), one_pixel_of_metal(), spacing_mm)
    assert int(near[30, 30:].nonzero()[0]) == first


def test_reach_is_in_millimetres_not_in_pixels():
    body = torch.ones(61, 61, dtype=torch.bool)
    fine, coarse = (near_metal_mask(body, one_pixel_of_metal(), s)[30, 30:].nonzero()[-1] for s in (1.0, 2.0))
    assert (int(fine), int(coarse)) == (20, 10)


def test_pixels_outside_the_body_and_metal_pixels_are_never_near():
    metal = one_pixel_of_metal()
    metal[30, 40] = True  # a second piece inside the first one's ring
    body = torch.zeros_like(metal)
    body[:, 25:45] = True
    near = near_metal_mask(body, metal, 1.0)
    assert near.any() and not (near & metal).any() and not (near & ~body).any()


def test_batches_are_measured_slice_by_slice():
    metal = one_pixel_of_metal(21).expand(2, 1, 21, 21).clone()
    metal[0] = metal[0].roll(5, dims=-1)
    body = torch.ones_like(metal)
    near = near_metal_mask(body, metal, 1.0)
    assert near.shape == (2, 1, 21, 21)
    for case in range(2):
        assert torch.equal(near[case, 0], near_metal_mask(body[case, 0], metal[case, 0], 1.0))
    assert not torch.equal(near[0], near[1])


def test_masks_of_the_wrong_kind_are_refused():
    metal = one_pixel_of_metal(9)
    with pytest.raises(CtmarError, match="metal_mask must be bool"):
        metal_distance_mm(metal.float(), 1.0)
    with pytest.raises(CtmarError, match="body_mask must be bool"):
        near_metal_mask(metal.float(), metal, 1.0)
    with pytest.raises(CtmarError, match=r"shape \(9, 9\), got torch.bool \(8, 9\)"):
        near_metal_mask(metal[1:], metal, 1.0)


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, math.nan, math.inf])
def test_spacing_must_be_positive(spacing_mm):
    with pytest.raises(CtmarError, match="spacing_mm must be a positive number, got"):
        metal_distance_mm(one_pixel_of_metal(9), spacing_mm)
