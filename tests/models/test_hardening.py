"""The metal's share is removed from what was measured behind it."""

import torch

from ctmar.models.hardening import LEAST_BINS, hardening_residual


def test_what_a_cubic_in_the_length_explains_vanishes_and_the_rest_stays(make_sample) -> None:
    sample = make_sample()
    trace, length = sample.metal_trace, sample.metal_path_mm / 20
    metal = 3 * length - 1.2 * length**2 + 0.2 * length**3
    fill, none = sample.clean, torch.zeros_like(sample.clean)
    explained = hardening_residual(fill + metal, fill, sample.metal_path_mm, trace)
    assert explained.abs().max() < 1e-3
    # An error of the fill that alternates from bin to bin has no part that grows with the length.
    error = torch.where(trace, 0.3 * (-1.0) ** torch.arange(trace.shape[-1]), none)
    found = hardening_residual(fill + metal, fill - error, sample.metal_path_mm, trace)
    assert (found - error)[trace].abs().mean() < 0.03


def test_nothing_off_the_trace_and_nothing_from_a_few_bins(make_sample) -> None:
    sample = make_sample()
    path = sample.metal_path_mm
    found = hardening_residual(sample.measured + 1, sample.clean, path, sample.metal_trace)
    assert torch.count_nonzero(found[~sample.metal_trace]) == 0
    few = torch.zeros_like(sample.metal_trace)
    few[..., 0, : LEAST_BINS - 1] = True
    assert torch.count_nonzero(hardening_residual(sample.measured + 1, sample.clean, path, few)) == 0


def test_lengths_that_are_all_equal_or_all_zero_stay_finite(make_sample) -> None:
    sample = make_sample()
    for path in (torch.zeros_like(sample.clean), torch.ones_like(sample.clean)):
        found = hardening_residual(sample.measured, sample.clean, path, sample.metal_trace)
        assert torch.isfinite(found).all()
