import torch

from ctmar.completion import linear_interpolation, nmar, normalized_interpolation, tissue_prior
from ctmar.geometry import ImageGrid, ParallelBeam
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
    a, b = (normalized_interpolation(truth, trace, scale * prior) for scale in (1.0, 37.0))
    torch.testing.assert_close(a, b)


def test_off_the_trace_bits_are_untouched() -> None:
    truth, trace = _case()
    out = normalized_interpolation(truth, trace, torch.rand_like(truth))
    assert torch.equal(out[~trace], truth[~trace])


def test_empty_prior_falls_back_to_interpolation() -> None:
    truth, trace = _case()
    out = normalized_interpolation(truth, trace, torch.zeros_like(truth))
    torch.testing.assert_close(out, linear_interpolation(truth, trace))


def test_prior_keeps_bone_and_flattens_the_rest() -> None:
    image = torch.full((1, 1, 40, 40), -1000.0)
    image[..., 5:35, 5:35] = 40.0
    image[..., 15:25, 15:25] = 900.0
    metal = torch.zeros(image.shape, dtype=torch.bool)
    metal[..., 19:21, 19:21] = True
    untouched = image.clone()
    prior = tissue_prior(image, metal, spacing_mm=1.4)
    assert prior[0, 0, 0, 0] == -1000 and prior[0, 0, 10, 10] == 0 and prior[0, 0, 19, 19] == 0
    assert prior[0, 0, 17, 17] > 850
    assert torch.equal(image, untouched)


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
