"""A sliding window gives every slice, and averages where windows overlap."""

import pytest
import torch

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.learned.stack import complete_stack
from ctmar.methods.base import Method
from tests.tiny_network import tiny_network


class ByPlace(Method):
    """Three slices; answers 1, 2, 3 times the measured by the place in the window."""

    slices = 3

    def trace(self, scan: Scan) -> torch.Tensor:
        return scan.measured * torch.tensor([1.0, 2.0, 3.0])[:, None, None]


def test_each_slice_is_the_mean_of_its_windows(make_case) -> None:
    scan = make_case(batch=1, slices=5).scan
    found = complete_stack(ByPlace(), scan)
    factors = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0])[:, None, None]  # slice 2 is 3rd, 2nd and 1st in turn
    wanted = torch.where(scan.metal_trace, scan.measured * factors, scan.measured)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(found[~scan.metal_trace], scan.measured[~scan.metal_trace])


@pytest.mark.parametrize("slices", [1, 3])
def test_a_stack_as_high_as_the_model_is_one_window(make_case, slices: int) -> None:
    model = tiny_network(slices=slices)
    scan = make_case(batch=1, slices=slices).scan
    torch.testing.assert_close(complete_stack(model, scan), model.complete(scan).sinogram)


def test_a_model_of_one_slice_sees_each_by_itself(make_case) -> None:
    model = tiny_network(margin_bins=None)
    scan = make_case(batch=1, slices=4).scan
    found = complete_stack(model, scan)
    for z in range(4):
        own = model.complete(scan.take(slice(z, z + 1))).sinogram
        assert torch.equal(found[:, z : z + 1], own)


def test_too_low_a_stack_is_refused(make_case) -> None:
    with pytest.raises(CtmarError, match="one case of 3 slices or more, got 1 cases of 2"):
        complete_stack(ByPlace(), make_case(batch=1, slices=2).scan)
    with pytest.raises(CtmarError, match="one case of 3 slices or more, got 2 cases of 3"):
        complete_stack(ByPlace(), make_case(batch=2, slices=3).scan)
