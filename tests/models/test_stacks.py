"""A sliding window gives every slice, and averages where windows overlap."""

import pytest
import torch
from torch import nn

from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.models.completion import UNetCompletion
from ctmar.models.volume import complete_volume, take_slices

TINY = {"channels": [8, 16], "wrap_views": 8}


class ByPlace(Completion):
    """Three slices; answers 1, 2, 3 times the measured by the place in the window."""

    slices = 3

    def predict_trace(self, sample):
        return sample.measured * torch.tensor([1.0, 2.0, 3.0])[:, None, None]


def test_each_slice_is_the_mean_of_its_windows(make_sample) -> None:
    sample = make_sample(batch=1, slices=5)
    found = complete_volume(ByPlace(), sample)
    factors = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0])[:, None, None]  # slice 2 is 3rd, 2nd and 1st in turn
    wanted = torch.where(sample.metal_trace, sample.measured * factors, sample.measured)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(found[~sample.metal_trace], sample.measured[~sample.metal_trace])


@pytest.mark.parametrize("slices", [1, 3])
def test_a_stack_as_high_as_the_model_is_one_window(make_sample, slices: int) -> None:
    model = UNetCompletion(slices=slices, **TINY).eval()
    nn.init.normal_(model.generator.net.head.weight)
    sample = make_sample(batch=1, slices=slices)
    torch.testing.assert_close(complete_volume(model, sample), model.complete(sample))


def test_a_model_of_one_slice_sees_each_by_itself(make_sample) -> None:
    model = UNetCompletion(margin_bins=None, **TINY).eval()
    nn.init.normal_(model.generator.net.head.weight)
    sample = make_sample(batch=1, slices=4)
    found = complete_volume(model, sample)
    for z in range(4):
        own = model.complete(take_slices(sample, slice(z, z + 1)))
        assert torch.equal(found[:, z : z + 1], own)


def test_too_low_a_stack_is_refused(make_sample) -> None:
    with pytest.raises(CtmarError, match="one case of 3 slices or more, got 1 cases of 2"):
        complete_volume(ByPlace(), make_sample(batch=1, slices=2))
    with pytest.raises(CtmarError, match="one case of 3 slices or more, got 2 cases of 3"):
        complete_volume(ByPlace(), make_sample(batch=2, slices=3))
