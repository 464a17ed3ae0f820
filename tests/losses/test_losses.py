"""Losses against values worked by hand."""

import math

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.losses import (
    ADVERSARIAL_LOSSES,
    discriminator_loss,
    feature_error,
    generator_loss,
    ramp_filtered,
    ramp_weight,
    root_mean,
    trace_energy,
    trace_mse,
    trace_ramp_energy,
    trace_ramp_mse,
)
from ctmar.losses.consistency import inconsistency
from ctmar.losses.errors import absolute, charbonnier
from ctmar.losses.gradient import gradient_error

ZERO = torch.zeros(2, 1, 3, 3)


@pytest.mark.parametrize(
    ("kind", "discriminator", "generator"),
    [
        ("minimax", 2 * math.log(2), -math.log(2)),
        ("non_saturating", 2 * math.log(2), math.log(2)),
        ("least_squares", 0.5, 0.5),
        ("hinge", 2.0, 0.0),
    ],
)
def test_values_at_logit_zero(kind: str, discriminator: float, generator: float) -> None:
    assert float(discriminator_loss(ZERO, ZERO, kind)) == pytest.approx(discriminator)
    assert float(generator_loss(ZERO, kind)) == pytest.approx(generator)


def test_minimax_is_equation_4() -> None:
    real, fake = torch.randn(2, 4, 1, 5, 5)
    equation = real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()
    assert float(discriminator_loss(real, fake, "minimax")) == pytest.approx(-float(equation), rel=1e-5)
    assert float(generator_loss(fake, "minimax")) == pytest.approx(
        float((1 - fake.sigmoid()).log().mean()), rel=1e-5
    )


@pytest.mark.parametrize("kind", ADVERSARIAL_LOSSES)
def test_the_players_pull_in_opposite_directions(kind: str) -> None:
    fake = torch.zeros(4, requires_grad=True)
    (pull_d,) = torch.autograd.grad(discriminator_loss(torch.zeros(4), fake, kind), fake)
    # Least squares has its minimum for fakes at 0: look a step away from it.
    if kind == "least_squares":
        (pull_d,) = torch.autograd.grad(discriminator_loss(torch.zeros(4), fake + 0.5, kind), fake)
    (pull_g,) = torch.autograd.grad(generator_loss(fake, kind), fake)
    assert (pull_d > 0).all() and (pull_g < 0).all()


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_certain_logits_stay_finite(logit: float) -> None:
    certain = torch.full((4,), logit, requires_grad=True)
    loss = (
        discriminator_loss(-certain, certain) + generator_loss(certain, "minimax") + generator_loss(certain)
    )
    loss.backward()
    assert torch.isfinite(loss) and certain.grad is not None and torch.isfinite(certain.grad).all()


def test_only_the_non_saturating_generator_learns_from_a_sure_discriminator() -> None:
    sure = torch.full((4,), -20.0, requires_grad=True)
    (minimax,) = torch.autograd.grad(generator_loss(sure, "minimax"), sure)
    (non_saturating,) = torch.autograd.grad(generator_loss(sure, "non_saturating"), sure)
    assert minimax.abs().max() < 1e-8
    assert non_saturating.abs().min() > 0.2


def test_unknown_game_is_named() -> None:
    with pytest.raises(CtmarError, match=r"adversarial must be one of minimax, .*got 'wasserstein'"):
        generator_loss(ZERO, "wasserstein")


def test_trace_mse_counts_the_trace_alone_in_units_of_the_scale() -> None:
    prediction = torch.tensor([[1.0, 5.0, 100.0]])
    trace = torch.tensor([[True, True, False]])
    # ((1-0)² + (5-1)²) / 2 bins / 2²
    value = trace_mse(prediction, torch.tensor([[0.0, 1.0, 0.0]]), trace, scale=2.0)
    assert float(value) == pytest.approx(17 / 2 / 4)


@pytest.mark.parametrize("loss", [trace_mse, trace_ramp_mse])
def test_empty_trace_costs_nothing_and_keeps_its_gradient(loss) -> None:
    prediction = torch.randn(1, 1, 4, 8, requires_grad=True)
    value = loss(prediction, torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8, dtype=torch.bool))
    value.backward()
    assert float(value.detach()) == 0.0
    assert prediction.grad is not None and torch.count_nonzero(prediction.grad) == 0


@pytest.mark.parametrize("loss", [trace_mse, trace_ramp_mse])
def test_nan_off_the_trace_does_not_reach_the_loss(loss) -> None:
    prediction = torch.full((1, 1, 4, 8), torch.nan)
    trace = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    trace[..., 3] = True
    prediction[..., 3] = 1.0
    assert torch.isfinite(loss(prediction, torch.zeros(1, 1, 4, 8), trace))


def test_ramp_loss_is_the_squared_norm_of_the_filtered_error() -> None:
    torch.manual_seed(0)
    error = torch.randn(2, 1, 6, 33)
    trace = torch.rand(2, 1, 6, 33) < 0.3
    masked = torch.where(trace, error, torch.zeros(()))
    root = ramp_weight(128).sqrt()
    filtered = torch.fft.irfft(torch.fft.rfft(masked, 128) * root, 128)
    expected = filtered.square().sum() / trace.sum()
    value = trace_ramp_mse(error, torch.zeros_like(error), trace)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_ramp_loss_equals_the_plain_one_for_white_errors_and_spares_slow_ones() -> None:
    torch.manual_seed(0)
    trace = torch.ones(1, 1, 200, 129, dtype=torch.bool)
    white = torch.randn(1, 1, 200, 129)
    slow = torch.ones(1, 1, 200, 129)
    none = torch.zeros_like(white)
    ratio = trace_ramp_mse(white, none, trace) / trace_mse(white, none, trace)
    assert float(ratio) == pytest.approx(1.0, abs=0.02)
    assert 0 < float(trace_ramp_mse(slow, none, trace)) < 0.1


def test_ramp_weight_has_unit_mean_and_a_small_positive_start() -> None:
    weight = ramp_weight(256)
    both_sides = torch.cat([weight, weight[1:-1]])
    assert float(both_sides.mean()) == pytest.approx(1.0, abs=1e-6)
    assert 0 < float(weight[0]) < float(weight[1])
    # Far from 0 it is the ramp itself, 2 f / f_nyquist.
    assert float(weight[64]) == pytest.approx(1.0, abs=0.02)


def test_ramp_weight_refuses_an_odd_length() -> None:
    with pytest.raises(CtmarError, match="even number of samples, got 7"):
        ramp_weight(7)


@pytest.mark.parametrize("energy", [trace_energy, trace_ramp_energy])
def test_energies_of_the_views_add_up_to_the_pooled_loss(energy) -> None:
    torch.manual_seed(0)
    error, none = torch.randn(2, 1, 6, 33), torch.zeros(2, 1, 6, 33)
    trace = torch.rand(2, 1, 6, 33) < 0.3
    pooled = {trace_energy: trace_mse, trace_ramp_energy: trace_ramp_mse}[energy]
    views = energy(error, none, trace, 2.0)
    assert views.shape == (2, 1, 6)
    assert float(views.sum() / trace.sum()) == pytest.approx(float(pooled(error, none, trace, 2.0)), rel=1e-5)
    assert not energy(error, none, trace & False).any()


def test_root_mean_averages_the_cases_own_errors() -> None:
    trace = torch.zeros(2, 1, 2, 4, dtype=torch.bool)
    trace[0, :, :, :2], trace[1, :, 0, 0] = True, True
    error = torch.where(trace, torch.tensor([3.0, 5.0])[:, None, None, None], 0.0)
    energy = trace_energy(error, torch.zeros_like(error), trace)
    assert float(root_mean(energy, trace)) == pytest.approx((3 + 5) / 2, abs=2e-3)


def test_root_mean_of_no_error_has_a_bounded_gradient() -> None:
    trace = torch.ones(1, 1, 2, 4, dtype=torch.bool)
    error = torch.zeros(1, 1, 2, 4, requires_grad=True)
    value = root_mean(trace_energy(error, torch.zeros(1, 1, 2, 4), trace), trace)
    value.backward()
    assert float(value.detach()) == 0.0 and error.grad is not None and not error.grad.any()


def test_filtered_error_has_the_energy_of_the_ramp_loss() -> None:
    torch.manual_seed(0)
    error = torch.randn(2, 1, 6, 33)
    trace = torch.ones_like(error, dtype=torch.bool)
    energy = trace_ramp_energy(error, torch.zeros_like(error), trace).sum()
    assert float(ramp_filtered(error).square().sum()) == pytest.approx(float(energy), rel=1e-5)


def test_absolute_and_charbonnier_by_hand() -> None:
    error, bins = torch.tensor([[3.0, -4.0, 0.0]]), torch.tensor(2)
    assert float(absolute(error, bins)) == pytest.approx(3.5)
    assert float(charbonnier(error, bins, 1e-4)) == pytest.approx(3.5, abs=1e-3)
    assert float(charbonnier(error, bins, 4.0)) == pytest.approx((1 + (32**0.5 - 4)) / 2)
    small = torch.full((1, 4), 1e-3, requires_grad=True)
    charbonnier(small, torch.tensor(4)).backward()
    assert small.grad is not None and small.grad.max() < 0.05


def test_gradient_error_sees_differences_between_neighbours_alone() -> None:
    bins = torch.tensor(12)
    assert float(gradient_error(torch.full((1, 1, 3, 4), 2.0), bins)) == 0.0
    step = torch.zeros(1, 1, 3, 4)
    step[..., 2:] = 0.5  # three views with one step, no difference between views
    assert float(gradient_error(step, bins)) == pytest.approx(3 * 0.5 / 12)
    assert float(gradient_error(step.mT, bins)) == pytest.approx(3 * 0.5 / 12)


def test_inconsistency_is_none_for_an_objects_sinogram_and_some_for_a_hole() -> None:
    theta = torch.arange(90)[:, None] * math.pi / 90
    s = torch.linspace(-1, 1, 181)
    blob = torch.exp(-(((s - 0.3 * theta.cos() + 0.2 * theta.sin()) / 0.15) ** 2))[None, None]
    assert float(inconsistency(blob)) < 1e-9
    hole = blob.clone()
    hole[..., 30:50, :] = 0
    assert float(inconsistency(hole)) > 1e-5
    # A pile that does not move is no object off the axis, but one on it.
    still = torch.exp(-((s / 0.15) ** 2)).expand(1, 1, 90, 181)
    assert float(inconsistency(still)) < 1e-9
    assert float(inconsistency(still.roll(40, -1))) > 1e-6


def test_feature_error_is_the_mean_over_layers_and_spares_the_true_pair() -> None:
    real = [torch.ones(2, requires_grad=True), torch.zeros(3)]
    fake = [torch.zeros(2, requires_grad=True), torch.full((3,), 3.0)]
    value = feature_error(real, fake)
    value.backward()
    assert float(value.detach()) == pytest.approx((1 + 3) / 2)
    assert real[0].grad is None and fake[0].grad is not None
