"""Augmentation is exact and touches the sinograms alone."""

import numpy as np
import pytest
import torch

from ctmar.models.augment import augment
from ctmar.networks.wrap import mirror_left_right
from ctmar.sample import IMAGE_FIELDS, SINOGRAM_FIELDS


def test_values_are_only_moved_and_off_trace_equality_survives(make_sample) -> None:
    sample = make_sample(batch=4)
    moved = augment(sample, np.random.default_rng(0), mirror=True, rotate_views=20)
    for name in SINOGRAM_FIELDS:
        before, after = getattr(sample, name), getattr(moved, name)
        assert before.dtype == after.dtype
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)
    off = ~moved.metal_trace
    for other in (moved.clean, moved.fills["li"], moved.fills["nmar"]):
        assert torch.equal(moved.measured[off], other[off])
    assert not torch.equal(moved.measured, sample.measured)


def test_image_fields_stay(make_sample) -> None:
    sample = make_sample()
    moved = augment(sample, np.random.default_rng(0), mirror=True, rotate_views=20)
    assert all(getattr(sample, name) is getattr(moved, name) for name in IMAGE_FIELDS)


def test_mirror_alone_gives_the_case_or_its_mirror_image(make_sample) -> None:
    sample = make_sample(batch=8)
    moved = augment(sample, np.random.default_rng(3), mirror=True, rotate_views=0)
    same = [torch.equal(a, b) for a, b in zip(moved.clean, sample.clean, strict=True)]
    flipped = [torch.equal(a, mirror_left_right(b)) for a, b in zip(moved.clean, sample.clean, strict=True)]
    assert any(same) and any(flipped)
    assert all(a != b for a, b in zip(same, flipped, strict=True))


def test_nothing_asked_changes_nothing(make_sample) -> None:
    sample = make_sample()
    moved = augment(sample, np.random.default_rng(0), mirror=False, rotate_views=0)
    assert all(torch.equal(getattr(sample, name), getattr(moved, name)) for name in SINOGRAM_FIELDS)


@pytest.mark.parametrize(("other", "equal"), [(5, True), (6, False)])
def test_draws_follow_the_generator(make_sample, other: int, equal: bool) -> None:
    sample = make_sample()
    first = augment(sample, np.random.default_rng(5), mirror=True, rotate_views=20)
    second = augment(sample, np.random.default_rng(other), mirror=True, rotate_views=20)
    assert torch.equal(first.measured, second.measured) == equal
