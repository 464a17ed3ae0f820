import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import linear_interpolation, tv_completion
from ctmar.methods.tv import denoise_tv, divergence, gradient
from ctmar.operators import RayTransform


def test_divergence_is_minus_the_transpose_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 7, 5, dtype=torch.float64, generator=generator)
    field = torch.randn(2, 3, 7, 5, dtype=torch.float64, generator=generator)
    left, right = (gradient(image) * field).sum(), -(image * divergence(field)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    flipped = -(image * divergence(field.flip(0))).sum()
    assert (left - flipped).abs() > 0.1  # rows and columns exchanged would show


def test_a_step_loses_the_contrast_that_theory_says() -> None:
    # Two halves of n columns at 0 and 1: the minimiser moves each by strength / n towards the other.
    image = torch.zeros(16, 20, dtype=torch.float64)
    image[:, 10:] = 1.0
    out, _ = denoise_tv(image, strength=2.0, steps=3000)
    torch.testing.assert_close(out[:, :10], torch.full((16, 10), 0.2, dtype=torch.float64), atol=2e-3, rtol=0)
    torch.testing.assert_close(out[:, 10:], torch.full((16, 10), 0.8, dtype=torch.float64), atol=2e-3, rtol=0)


def test_the_mean_stays_and_a_warm_start_goes_on() -> None:
    image = torch.randn(1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    half, dual = denoise_tv(image, 0.5, steps=20)
    torch.testing.assert_close(half.mean(), image.mean())
    resumed, _ = denoise_tv(image, 0.5, steps=20, dual=dual)
    torch.testing.assert_close(resumed, denoise_tv(image, 0.5, steps=40)[0], rtol=1e-12, atol=1e-12)


def phantom() -> tuple[RayTransform, torch.Tensor, torch.Tensor, torch.Tensor]:
    ray = RayTransform(ImageGrid((96, 96), 2.0), ParallelBeam(120, 141, 2.0))
    y, x = torch.meshgrid(*2 * [(torch.arange(96) - 47.5) * 2], indexing="ij")
    image = 0.02 * (x**2 + y**2 < 75**2).float() + 0.01 * ((x.abs() < 20) & ((y - 30).abs() < 12)).float()
    metal = ((x - 6) ** 2 + (y - 10) ** 2 < 64)[None, None]
    return ray, image[None, None], metal, ray.forward(metal.float()) > 0.1


def test_beats_interpolation_and_touches_nothing_off_the_trace() -> None:
    ray, image, _, trace = phantom()
    clean = ray.forward(image)
    measured = torch.where(trace, torch.nan, clean)
    start = linear_interpolation(measured, trace)
    out = tv_completion(measured, trace, ray, 0.02, start)
    errors = [(p - clean)[trace].square().mean().sqrt() for p in (start, out)]
    assert errors[1] < 0.6 * errors[0]
    assert torch.equal(out[~trace], clean[~trace])
    # Without the variation's knowledge the same alternation gains much less.
    weak = tv_completion(measured, trace, ray, 0.02, start, strength_hu=0.01)
    assert (weak - clean)[trace].square().mean().sqrt() > 1.5 * errors[1]


def test_an_empty_trace_changes_nothing() -> None:
    ray, image, _, trace = phantom()
    clean = ray.forward(image)
    assert torch.equal(tv_completion(clean, trace & False, ray, 0.02, clean, steps=1), clean)


def test_what_cannot_be_is_refused() -> None:
    ray, image, _, trace = phantom()
    with pytest.raises(CtmarError, match="steps must be a positive whole number, got 0"):
        tv_completion(ray.forward(image), trace, ray, 0.02, ray.forward(image), steps=0)
    with pytest.raises(CtmarError, match="strength must be positive, got 0"):
        denoise_tv(image, 0)
