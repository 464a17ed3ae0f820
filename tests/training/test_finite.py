"""Numbers that are none end a training before a step is made from them, and say where they come from."""

from dataclasses import replace

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.losses.squared import Squared
from tests.training.building import STEADY, gan, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


@pytest.mark.parametrize("kind", [unet_fit, gan])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_makes_no_step(make_case, tmp_path, kind, bad: float) -> None:
    model = kind(loss=lambda completed, case: Squared()(completed, case) * bad, optimizer=STEADY)
    before = {name: value.clone() for name, value in model.method.named_parameters()}
    with pytest.raises(CtmarError, match=r"diverged: the loss of epoch 1, batch 1 must be finite"):
        train(model, [make_case()], tmp_path, num_sanity_val_steps=0)
    assert all(torch.equal(value, before[name]) for name, value in model.method.named_parameters())


@pytest.mark.parametrize("field", ["measured", "clean", "metal_path_mm", "nmar"])
def test_the_case_at_fault_is_named(make_case, tmp_path, field: str) -> None:
    case = make_case()
    scan, truth = case.scan, case.truth
    spoilt = {"clean": truth.clean, **scan.fills}.get(field, getattr(scan, field, None)).clone()
    # On the trace of the second case.
    spoilt[1][scan.metal_trace[1]] = float("nan")
    if field == "clean":
        truth = replace(truth, clean=spoilt)
    elif field in scan.fills:
        scan = replace(scan, fills=scan.fills | {field: spoilt})
    else:
        scan = replace(scan, **{field: spoilt})
    bad = replace(case, scan=scan, truth=truth)
    with pytest.raises(CtmarError, match=f"case test-1 must be finite, got NaN or infinity in {field}"):
        model = unet_fit(optimizer=STEADY)
        # Off its zeros: an untrained head would hide what its inputs are.
        torch.nn.init.normal_(model.method.generator.net.head.weight)
        train(model, [bad], tmp_path, num_sanity_val_steps=0)


def test_weights_that_are_no_numbers_end_the_run_before_its_checkpoint(make_case, tmp_path) -> None:
    model = unet_fit(optimizer=STEADY)
    original = model.on_validation_epoch_start

    def spoil() -> None:
        torch.nn.init.constant_(model.method.generator.net.head.bias, float("nan"))
        original()

    model.on_validation_epoch_start = spoil
    named = "weights after epoch 1 must be finite, got NaN or infinity in method.generator.net.head.bias"
    with pytest.raises(CtmarError, match=named):
        train(model, [make_case()], tmp_path, num_sanity_val_steps=0)
