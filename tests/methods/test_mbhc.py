"""The metal's share is removed from what was measured behind it."""

from dataclasses import replace

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.methods import hardening_corrected, hardening_residual
from ctmar.methods.mbhc import LEAST_BINS


def test_what_a_cubic_in_the_length_explains_vanishes_and_the_rest_stays(make_case) -> None:
    case = make_case()
    scan, clean = case.scan, case.truth.clean
    trace, length = scan.metal_trace, scan.metal_path_mm / 20
    metal = 3 * length - 1.2 * length**2 + 0.2 * length**3
    fill, none = clean, torch.zeros_like(clean)
    explained = hardening_residual(fill + metal, fill, scan.metal_path_mm, trace)
    assert explained.abs().max() < 1e-3
    # An error of the fill that alternates from bin to bin has no part that grows with the length.
    error = torch.where(trace, 0.3 * (-1.0) ** torch.arange(trace.shape[-1]), none)
    found = hardening_residual(fill + metal, fill - error, scan.metal_path_mm, trace)
    assert (found - error)[trace].abs().mean() < 0.03


def test_nothing_off_the_trace_and_nothing_from_a_few_bins(make_case) -> None:
    case = make_case()
    scan, clean = case.scan, case.truth.clean
    path = scan.metal_path_mm
    found = hardening_residual(scan.measured + 1, clean, path, scan.metal_trace)
    assert torch.count_nonzero(found[~scan.metal_trace]) == 0
    few = torch.zeros_like(scan.metal_trace)
    few[..., 0, : LEAST_BINS - 1] = True
    assert torch.count_nonzero(hardening_residual(scan.measured + 1, clean, path, few)) == 0


def test_lengths_that_are_all_equal_or_all_zero_stay_finite(make_case) -> None:
    case = make_case()
    scan, clean = case.scan, case.truth.clean
    for path in (torch.zeros_like(clean), torch.ones_like(clean)):
        found = hardening_residual(scan.measured, clean, path, scan.metal_trace)
        assert torch.isfinite(found).all()


def noisy(make_case, alloys: int = 1):  # type: ignore[no-untyped-def]
    """A scan, its truth and an error: rays through metal are explained by one cubic an alloy."""
    case = make_case(views=60, bins=81)
    scan, clean = case.scan, case.truth.clean
    length = scan.metal_path_mm / 20
    strength = 1 + 2 * (torch.arange(scan.measured.shape[-2])[:, None] % alloys)
    metal = strength * (3 * length - 1.2 * length**2 + 0.2 * length**3)
    error = torch.where(scan.metal_trace, 0.2 * (-1.0) ** torch.arange(length.shape[-1]), 0.0)
    return replace(scan, measured=torch.where(scan.metal_trace, clean + metal, clean)), clean, error


def test_correction_gives_back_what_the_fill_lacks(make_case) -> None:
    scan, clean, error = noisy(make_case)
    trace, path = scan.metal_trace, scan.metal_path_mm
    out = hardening_corrected(scan.measured, clean + error, path, trace, photons_per_ray=1e9)
    left = (out - clean)[trace].square().mean().sqrt()
    assert left < 0.2 * error[trace].square().mean().sqrt()
    assert torch.equal(out[~trace], scan.measured[~trace])


def test_rays_without_photons_keep_the_fill(make_case) -> None:
    scan, clean, error = noisy(make_case)
    trace, path, fill = scan.metal_trace, scan.metal_path_mm, clean + error
    starved = hardening_corrected(scan.measured, fill, path, trace, photons_per_ray=1.0)
    assert (starved - fill)[trace].abs().max() < 0.05
    dark = torch.where(trace, 0.0, scan.measured)  # the ideal scanner's
    assert torch.equal(hardening_corrected(dark, fill, path, trace)[trace], fill[trace])


def test_several_alloys_are_not_trusted(make_case) -> None:
    change = []
    for alloys in (1, 2):
        scan, clean, error = noisy(make_case, alloys)
        fill = clean + error
        out = hardening_corrected(
            scan.measured, fill, scan.metal_path_mm, scan.metal_trace, photons_per_ray=1e9
        )
        change.append(((out - clean)[scan.metal_trace].square().mean() / 0.04).sqrt())
    assert change[0] < 0.2 and change[1] < 1.5  # the plain residual would leave 3 times the fill's error
    plain = fill + hardening_residual(scan.measured, fill, scan.metal_path_mm, scan.metal_trace)
    assert ((plain - clean)[scan.metal_trace].square().mean() / 0.04).sqrt() > 2 * change[1]


def test_correction_of_a_few_bins_is_the_fill_and_bad_numbers_are_refused(make_case) -> None:
    scan = make_case().scan
    few = torch.zeros_like(scan.metal_trace)
    few[..., 0, : LEAST_BINS - 1] = True
    fill = torch.where(few, 7.0, scan.measured)
    assert torch.equal(hardening_corrected(scan.measured, fill, scan.metal_path_mm, few), fill)
    with pytest.raises(CtmarError, match="fill_error must be positive, got 0"):
        hardening_corrected(scan.measured, fill, scan.metal_path_mm, few, fill_error=0)
