"""The loss of the middle slice: what its neighbours are answered is nobody's concern."""

import pytest
import torch

from ctmar.losses.center import Center
from ctmar.losses.root import Root
from ctmar.losses.squared import Squared


@pytest.mark.parametrize("loss", [Squared("sinogram"), Root("ramp")])
def test_it_is_the_loss_of_the_middle_slice_by_itself(make_case, loss) -> None:
    case = make_case(slices=3)
    completed = case.scan.fills["nmar"].clone().requires_grad_(True)
    found = Center(loss)(completed, case)
    middle = case.center()
    assert torch.equal(found, loss(completed[:, 1:2], middle))
    found.backward()
    assert completed.grad is not None
    assert not completed.grad[:, [0, 2]].any() and completed.grad[:, 1].any()
    assert not torch.equal(found, loss(completed, case))


def test_of_one_slice_it_is_the_loss_itself(make_case) -> None:
    case = make_case()
    completed = case.scan.fills["nmar"]
    assert torch.equal(Center()(completed, case), Root()(completed, case))
