"""Augmentation is exact and touches the sinograms alone."""

import pytest
import torch

from ctmar.case import SINOGRAMS, Case
from ctmar.networks.wrap import mirror_left_right
from ctmar.training.augment import Augment

BOTH = Augment(mirror=True, rotate_views=20)
IMAGES = ("reference_hu", "body_mask", "tissue_labels")


def sinograms(case: Case) -> dict[str, torch.Tensor]:
    return {"clean": case.truth.clean} | {name: getattr(case.scan, name) for name in SINOGRAMS}


def test_values_are_only_moved_and_off_trace_equality_survives(make_case) -> None:
    case = make_case(batch=4)
    moved = BOTH(case, (0,))
    for name, before in sinograms(case).items():
        after = sinograms(moved)[name]
        assert before.dtype == after.dtype
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)
    off = ~moved.scan.metal_trace
    for other in (moved.truth.clean, moved.scan.fills["li"], moved.scan.fills["nmar"]):
        assert torch.equal(moved.scan.measured[off], other[off])
    assert not torch.equal(moved.scan.measured, case.scan.measured)


def test_images_stay(make_case) -> None:
    case = make_case()
    moved = BOTH(case, (0,))
    assert all(getattr(case.truth, name) is getattr(moved.truth, name) for name in IMAGES)
    assert moved.scan.metal_mask is case.scan.metal_mask


def test_mirror_alone_gives_the_case_or_its_mirror_image(make_case) -> None:
    case = make_case(batch=8)
    moved = Augment(mirror=True)(case, (3,))
    pairs = list(zip(moved.truth.clean, case.truth.clean, strict=True))
    same = [torch.equal(a, b) for a, b in pairs]
    flipped = [torch.equal(a, mirror_left_right(b)) for a, b in pairs]
    assert any(same) and any(flipped)
    assert all(a != b for a, b in zip(same, flipped, strict=True))


def test_nothing_asked_changes_nothing(make_case) -> None:
    case = make_case()
    moved = Augment(mirror=False, rotate_views=0)(case, (0,))
    assert all(torch.equal(before, sinograms(moved)[name]) for name, before in sinograms(case).items())


@pytest.mark.parametrize(("other", "equal"), [(5, True), (6, False)])
def test_draws_follow_the_key(make_case, other: int, equal: bool) -> None:
    case = make_case()
    first, second = BOTH(case, (5,)), BOTH(case, (other,))
    assert torch.equal(first.scan.measured, second.scan.measured) == equal


@pytest.mark.parametrize(("other", "equal"), [(5, True), (6, False)])
def test_draws_follow_the_seed(make_case, other: int, equal: bool) -> None:
    case = make_case()
    first, second = (Augment(True, 20, seed)(case, (0, 1)) for seed in (5, other))
    assert torch.equal(first.scan.measured, second.scan.measured) == equal
