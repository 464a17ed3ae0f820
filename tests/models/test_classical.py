"""Methods without parameters go the same way as the networks."""

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.models.classical import FillCompletion, Uncorrected
from ctmar.models.completion import UNetCompletion


def test_uncorrected_returns_what_was_measured(make_sample) -> None:
    sample = make_sample(slices=3)
    assert torch.equal(Uncorrected().complete(sample), sample.measured)


@pytest.mark.parametrize("name", ["li", "nmar"])
def test_fill_is_a_method_of_its_own(make_sample, name: str) -> None:
    sample = make_sample()
    assert torch.equal(FillCompletion(name).complete(sample), sample.fills[name])


def test_fill_with_a_fault_off_the_trace_cannot_change_what_was_measured(make_sample) -> None:
    sample = make_sample()
    faulty = sample._replace(fills={"li": sample.fills["li"] + 1})
    completed = FillCompletion("li").complete(faulty)
    off = ~sample.metal_trace
    assert torch.equal(completed[off], sample.measured[off])


def test_absent_fill_and_unknown_name_are_named(make_sample) -> None:
    sample = make_sample()._replace(fills={})
    with pytest.raises(CtmarError, match="must hold the fill 'li', got none"):
        FillCompletion("li").complete(sample)
    with pytest.raises(CtmarError, match="name must be one of zero, li, nmar, got 'spline'"):
        FillCompletion("spline")


def test_only_networks_are_trainable() -> None:
    assert not Uncorrected().trainable and not FillCompletion("li").trainable
    assert UNetCompletion(channels=[8, 8]).trainable
    assert Uncorrected().configure_optimizers() is None
