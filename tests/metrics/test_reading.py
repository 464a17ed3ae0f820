"""Loose-looking screws and metal put back, on images whose answer is known."""

import math

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics.masks import metal_distance_mm
from ctmar.metrics.reading import dice, lucent_rims

SPACING = 0.5
SHAPE = (60, 120)


def discs(*columns: int, radius: float = 4.0) -> torch.Tensor:
    """Discs of metal at row 30."""
    rows, places = torch.meshgrid(*(torch.arange(n) for n in SHAPE), indexing="ij")
    found = torch.zeros(SHAPE, dtype=torch.bool)
    for column in columns:
        found |= ((rows - 30) ** 2 + (places - column) ** 2).float().sqrt() <= radius
    return found


BODY = torch.ones(SHAPE, dtype=torch.bool)
TRUTH = torch.full(SHAPE, 300.0)


def ring(metal: torch.Tensor, share: float) -> torch.Tensor:
    """The rim's first columns, so many that they are this share of it."""
    rim = (metal_distance_mm(metal, SPACING) <= 3.0) & ~metal
    places = rim.T.nonzero()[: math.ceil(share * int(rim.sum()))]
    found = torch.zeros(SHAPE, dtype=torch.bool)
    found[places[:, 1], places[:, 0]] = True
    return found


@pytest.mark.parametrize(
    ("share", "depth", "loose"), [(0.26, 150, 1), (0.23, 150, 0), (0.5, 90, 0), (0, 0, 0)]
)
def test_a_rim_is_lucent_where_a_quarter_of_it_is_too_dark(share: float, depth: float, loose: int) -> None:
    metal = discs(30)
    image = torch.where(ring(metal, share), TRUTH - depth, TRUTH)
    assert lucent_rims(image, TRUTH, BODY, metal, SPACING) == (1, loose)


def test_each_piece_counts_by_itself_and_true_darkness_is_no_error() -> None:
    metal = discs(30, 80)
    dark = torch.where(ring(discs(30), 1.0), 0.0, TRUTH)
    assert lucent_rims(dark, TRUTH, BODY, metal, SPACING) == (2, 1)
    assert lucent_rims(dark, dark, BODY, metal, SPACING) == (2, 0)


def test_the_rim_of_one_piece_holds_no_metal_of_another_and_nothing_outside_of_the_body() -> None:
    metal = discs(30) | discs(42)
    image = torch.where(metal, -1000.0, TRUTH)  # wrong in metal alone
    assert lucent_rims(image, TRUTH, BODY, metal, SPACING).lucent == 0
    outside = torch.zeros(SHAPE, dtype=torch.bool)
    assert lucent_rims(image - 500, TRUTH, outside, metal, SPACING) == (0, 0)


def test_specks_are_no_screws() -> None:
    speck = discs(30, radius=1.5)
    assert speck.sum() * SPACING**2 < 4
    assert lucent_rims(TRUTH - 500, TRUTH, BODY, speck, SPACING) == (0, 0)


def test_dice_by_hand() -> None:
    a, b = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, True])
    assert (
        dice(a, b) == pytest.approx(2 * 1 / 5)
        and dice(a, a) == 1.0
        and math.isnan(dice(a & False, a & False))
    )
    with pytest.raises(CtmarError, match="bool masks of one shape"):
        dice(a, b[:3])


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(CtmarError, match="one shape"):
        lucent_rims(TRUTH[None], TRUTH, BODY, discs(30), SPACING)
