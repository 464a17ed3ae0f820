"""Losses and terms as a config makes them: of the error on the trace, in its unit and domain."""

from dataclasses import replace

import pytest
import torch

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.losses import ramp_filtered, trace_error, trace_mse, trace_ramp_mse
from ctmar.losses.absolute import Absolute
from ctmar.losses.base import Loss
from ctmar.losses.charbonnier import Charbonnier
from ctmar.losses.consistency import Consistency, inconsistency
from ctmar.losses.gradient import Gradient, gradient_error
from ctmar.losses.image import Image
from ctmar.losses.root import Root
from ctmar.losses.squared import Squared
from ctmar.units import mu_to_hu

LOSSES = (Squared, Root, Absolute, Charbonnier)
TERMS = (Gradient, Image, Consistency)


def constant_error(case: Case, error: float) -> torch.Tensor:
    return case.truth.clean + error * case.scan.metal_trace


def test_main_losses_of_a_constant_error_by_hand(make_case) -> None:
    case = make_case()
    off = {Squared: 0.36, Root: 0.6, Absolute: 0.6, Charbonnier: 0.59}
    for kind, value in off.items():
        loss = kind("sinogram", 0.5)  # 0.3 in units of 0.5
        assert float(loss(constant_error(case, 0.3), case)) == pytest.approx(value, abs=2e-3)
        assert float(loss(constant_error(case, 0.0), case)) == pytest.approx(0.0, abs=1e-6)


def test_the_ramp_weighs_errors_as_the_image_does(make_case) -> None:
    case = make_case()
    torch.manual_seed(0)
    completed = case.truth.clean + torch.randn(case.truth.clean.shape)
    given = (completed, case.truth.clean, case.scan.metal_trace)
    assert torch.equal(Squared("ramp", 2.0)(completed, case), trace_ramp_mse(*given, scale=2.0))
    assert torch.equal(Squared("sinogram", 2.0)(completed, case), trace_mse(*given, scale=2.0))
    filtered = ramp_filtered(trace_error(*given)).abs().sum() / case.scan.metal_trace.sum()
    torch.testing.assert_close(Absolute("ramp")(completed, case), filtered)


@pytest.mark.parametrize("loss", [kind() for kind in (*LOSSES, *TERMS)], ids=lambda loss: type(loss).__name__)
def test_what_stands_off_the_trace_costs_nothing_and_no_trace_has_no_gradient(make_case, loss: Loss) -> None:
    case = make_case()
    completed = constant_error(case, 0.3)
    beyond = torch.where(case.scan.metal_trace, completed, torch.nan)
    assert loss(completed, case) > 0
    assert torch.equal(loss(beyond, case), loss(completed, case))
    bare = Case(replace(case.scan, metal_trace=torch.zeros_like(case.scan.metal_trace)), case.truth)
    free = completed.clone().requires_grad_()
    value = loss(free, bare)
    value.backward()
    assert value == 0 and free.grad is not None and not free.grad.any()


def test_terms_are_their_functions_of_the_scaled_error(make_case) -> None:
    case = make_case()
    completed = constant_error(case, 0.3)
    error = 0.6 * case.scan.metal_trace
    bins = case.scan.metal_trace.sum()
    torch.testing.assert_close(Gradient(1.0, 0.5)(completed, case), gradient_error(error, bins))
    torch.testing.assert_close(Consistency(1.0, 0.5)(completed, case), inconsistency(error))
    image = mu_to_hu(case.scan.ray.fbp(error) / 0.02, 1.0) + 1000
    torch.testing.assert_close(Image(1.0, 0.5)(completed, case), (image / 100).square().mean())


def test_the_image_of_some_bins_is_that_of_the_whole_detector(make_case) -> None:
    case = make_case()
    window = slice(5, 60)
    completed = constant_error(case, 0.3)
    truth = replace(case.truth, clean=case.truth.clean[..., window])
    cut = Case(case.scan.bins(window), truth)
    torch.testing.assert_close(Image()(completed[..., window], cut), Image()(completed, case))


@pytest.mark.parametrize("kind", LOSSES)
def test_an_unknown_domain_and_an_impossible_scale_are_refused(kind: type) -> None:
    with pytest.raises(CtmarError, match="loss_domain must be one of sinogram, ramp, got 'image'"):
        kind("image")
    with pytest.raises(CtmarError, match="loss_scale must be positive, got 0"):
        kind("ramp", 0)


@pytest.mark.parametrize("kind", TERMS)
def test_a_negative_weight_and_an_impossible_scale_are_refused(kind: type) -> None:
    with pytest.raises(CtmarError, match=f"{kind.__name__.lower()}_weight must be 0 or more, got -1"):
        kind(-1)
    with pytest.raises(CtmarError, match="loss_scale must be positive, got nan"):
        kind(1, float("nan"))
