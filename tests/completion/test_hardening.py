"""The metal's share is removed from what was measured behind it."""

import pytest
import torch

from ctmar.completion import hardening_corrected, hardening_residual
from ctmar.completion.hardening import LEAST_BINS
from ctmar.errors import CtmarError


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


def noisy(make_sample, alloys: int = 1):  # type: ignore[no-untyped-def]
    """A sample whose rays through metal are explained by one cubic an alloy, and a fill with an error."""
    sample = make_sample(views=60, bins=81)
    length = sample.metal_path_mm / 20
    strength = 1 + 2 * (torch.arange(sample.measured.shape[-2])[:, None] % alloys)
    metal = strength * (3 * length - 1.2 * length**2 + 0.2 * length**3)
    error = torch.where(sample.metal_trace, 0.2 * (-1.0) ** torch.arange(length.shape[-1]), 0.0)
    return sample._replace(
        measured=torch.where(sample.metal_trace, sample.clean + metal, sample.clean)
    ), error


def test_correction_gives_back_what_the_fill_lacks(make_sample) -> None:
    sample, error = noisy(make_sample)
    trace, path = sample.metal_trace, sample.metal_path_mm
    out = hardening_corrected(sample.measured, sample.clean + error, path, trace, photons_per_ray=1e9)
    left = (out - sample.clean)[trace].square().mean().sqrt()
    assert left < 0.2 * error[trace].square().mean().sqrt()
    assert torch.equal(out[~trace], sample.measured[~trace])


def test_rays_without_photons_keep_the_fill(make_sample) -> None:
    sample, error = noisy(make_sample)
    trace, path, fill = sample.metal_trace, sample.metal_path_mm, sample.clean + error
    starved = hardening_corrected(sample.measured, fill, path, trace, photons_per_ray=1.0)
    assert (starved - fill)[trace].abs().max() < 0.05
    dark = torch.where(trace, 0.0, sample.measured)  # the ideal scanner's
    assert torch.equal(hardening_corrected(dark, fill, path, trace)[trace], fill[trace])


def test_several_alloys_are_not_trusted(make_sample) -> None:
    change = []
    for alloys in (1, 2):
        sample, error = noisy(make_sample, alloys)
        fill = sample.clean + error
        out = hardening_corrected(
            sample.measured, fill, sample.metal_path_mm, sample.metal_trace, photons_per_ray=1e9
        )
        change.append(((out - sample.clean)[sample.metal_trace].square().mean() / 0.04).sqrt())
    assert change[0] < 0.2 and change[1] < 1.5  # the plain residual would leave 3 times the fill's error
    plain = fill + hardening_residual(sample.measured, fill, sample.metal_path_mm, sample.metal_trace)
    assert ((plain - sample.clean)[sample.metal_trace].square().mean() / 0.04).sqrt() > 2 * change[1]


def test_correction_of_a_few_bins_is_the_fill_and_bad_numbers_are_refused(make_sample) -> None:
    sample = make_sample()
    few = torch.zeros_like(sample.metal_trace)
    few[..., 0, : LEAST_BINS - 1] = True
    fill = torch.where(few, 7.0, sample.measured)
    assert torch.equal(hardening_corrected(sample.measured, fill, sample.metal_path_mm, few), fill)
    with pytest.raises(CtmarError, match="fill_error must be positive, got 0"):
        hardening_corrected(sample.measured, fill, sample.metal_path_mm, few, fill_error=0)
