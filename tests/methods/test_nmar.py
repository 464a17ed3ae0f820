import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import linear_interpolation, normalized_interpolation
from ctmar.methods.nmar import OFFSET_SHARE, nmar
from ctmar.operators import RayTransform
from ctmar.units import hu_to_mu


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sinogram = 1 + torch.rand(2, 1, 12, 31, dtype=torch.float64, generator=generator)
    trace = torch.zeros(sinogram.shape, dtype=torch.bool)
    trace[..., 11:17] = True
    return sinogram, trace


def test_prior_equal_to_truth_is_exact() -> None:
    truth, trace = _case()
    damaged = torch.where(trace, 50.0, truth)
    torch.testing.assert_close(normalized_interpolation(damaged, trace, truth), truth, rtol=1e-12, atol=0)
    assert (linear_interpolation(damaged, trace) - truth).abs().max() > 0.1


def test_prior_constant_along_a_view_equals_linear_interpolation() -> None:
    truth, trace = _case()
    prior = (1 + torch.rand(2, 1, 12, 1, dtype=torch.float64)).expand_as(truth)
    expected = linear_interpolation(truth, trace)
    torch.testing.assert_close(normalized_interpolation(truth, trace, prior), expected, rtol=1e-12, atol=0)


def test_scale_of_the_prior_changes_nothing() -> None:
    truth, trace = _case()
    prior = torch.rand_like(truth)
    a, b, c = (normalized_interpolation(truth, trace, scale * prior) for scale in (1.0, 37.0, 1e-4))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(a, c)


def test_off_the_trace_bits_are_untouched() -> None:
    truth, trace = _case()
    out = normalized_interpolation(truth, trace, torch.rand_like(truth))
    assert torch.equal(out[~trace], truth[~trace])


def test_empty_prior_falls_back_to_interpolation() -> None:
    truth, trace = _case()
    out = normalized_interpolation(truth, trace, torch.zeros_like(truth))
    torch.testing.assert_close(out, linear_interpolation(truth, trace))


def disk(radius_mm: float, x_mm: float = 0.0) -> torch.Tensor:
    rows, columns = 96, 96
    y, x = torch.meshgrid(
        torch.arange(rows) - (rows - 1) / 2, torch.arange(columns) - (columns - 1) / 2, indexing="ij"
    )
    return ((x * 2.0 - x_mm) ** 2 + (y * 2.0) ** 2 < radius_mm**2)[None, None]


@pytest.fixture(scope="module")
def ray() -> RayTransform:
    return RayTransform(ImageGrid((96, 96), 2.0), ParallelBeam(90, 141, 2.0))


def test_clean_sinogram_as_prior_is_exact_for_an_implant_at_the_skin(ray: RayTransform) -> None:
    clean = ray.forward(0.02 * disk(70.0).float())
    trace = ray.forward(disk(12.0, x_mm=66.0).float()) > 0.1
    # The implant sticks out: at one end of many a run there is nothing but air.
    assert (clean[~trace] == 0).any() and (clean[trace] == 0).any()
    damaged = torch.where(trace, 9.0, clean)
    assert (normalized_interpolation(damaged, trace, clean) - clean).abs().max() < 1e-4
    assert (linear_interpolation(damaged, trace) - clean).abs().max() > 0.3


def test_a_prior_that_is_too_small_at_the_skin_makes_no_streak(ray: RayTransform) -> None:
    clean = ray.forward(0.02 * disk(70.0).float())
    trace = ray.forward(disk(10.0, x_mm=56.0).float()) > 0.1
    prior = ray.forward(0.02 * disk(66.0).float())  # the skin of the prior lies 4 mm too deep
    damaged = torch.where(trace, 9.0, clean)
    worst = {
        share: (normalized_interpolation(damaged, trace, prior, share) - clean).abs().max()
        for share in (0.001, OFFSET_SHARE)
    }
    # Bounded by the prior's own fault, 2 · 0.02 · √(70² - 66²), where the published quotient runs away.
    assert worst[OFFSET_SHARE] < 1.2 * (prior - clean).abs().max()
    assert worst[0.001] > 50 * worst[OFFSET_SHARE]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_behind_metal_does_not_matter(value: float) -> None:
    truth, trace = _case()
    prior = 1 + torch.rand_like(truth)
    spoiled = torch.where(trace, value, truth)
    expected = normalized_interpolation(truth, trace, prior)
    assert torch.equal(normalized_interpolation(spoiled, trace, prior), expected)


def test_a_view_that_is_all_trace_and_noise_below_zero_stay_finite() -> None:
    truth, trace = _case()
    trace[..., 3, :] = True
    noisy = truth - 1.5  # air with noise on it
    out = normalized_interpolation(noisy, trace, torch.rand_like(truth))
    assert torch.isfinite(out).all()


def test_each_case_of_a_batch_is_completed_as_if_alone() -> None:
    truth, trace = _case()
    prior = torch.rand_like(truth)
    together = normalized_interpolation(truth, trace, prior)
    alone = [normalized_interpolation(truth[n : n + 1], trace[n : n + 1], prior[n : n + 1]) for n in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)


def test_options_that_cannot_be_are_refused(ray: RayTransform) -> None:
    truth, trace = _case()
    with pytest.raises(CtmarError, match="offset_share must be positive, got 0"):
        normalized_interpolation(truth, trace, truth, 0)
    with pytest.raises(CtmarError, match="prior_from must be one of li, raw, got 'atlas'"):
        nmar(truth, trace, trace, ray, 0.02, prior_from="atlas")


def test_beats_interpolation_in_the_image_of_a_body_with_bone() -> None:
    grid, beam = ImageGrid((128, 128), 2.0), ParallelBeam(180, 185, 2.0)
    ray, mu_water = RayTransform(grid, beam), 0.0193
    y, x = torch.meshgrid(torch.arange(128) - 63.5, torch.arange(128) - 63.5, indexing="ij")
    hu = torch.where(x**2 / 56**2 + y**2 / 40**2 < 1, 20.0, -1000.0)
    hu = torch.where((x.abs() < 16) & ((y - 16).abs() < 12), 500.0, hu)[None, None]
    metal = ((x - 6) ** 2 + (y - 10) ** 2 < 36)[None, None]
    clean = ray.forward(hu_to_mu(hu, mu_water))
    trace = ray.forward(metal.float()) > 0.1
    measured = torch.where(trace, 20.0, clean)
    completions = linear_interpolation(measured, trace), nmar(measured, trace, metal, ray, mu_water)
    errors = [(ray.fbp(p - clean)[~metal]).square().mean().sqrt() for p in completions]
    assert errors[1] < 0.9 * errors[0]
    raw = nmar(measured, trace, metal, ray, mu_water, prior_from="raw")
    assert torch.isfinite(raw).all() and not torch.equal(raw, completions[1])
