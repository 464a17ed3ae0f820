import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.methods import split_frequencies
from ctmar.methods.smoothing import gaussian


def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    corrected, uncorrected = torch.randn(2, 1, 1, 64, 64, dtype=torch.float64, generator=generator)
    metal = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    metal[..., 20:30, 20:30] = True
    return corrected, uncorrected, metal


def test_beside_metal_low_and_high_frequencies_by_hand() -> None:
    corrected, uncorrected, metal = images()
    out = split_frequencies(corrected, uncorrected, metal, 1.0, split_mm=0.7, reach_mm=200.0)
    # So wide a reach gives one weight: twice the metal's share of the Gaussian, 0.0247 · 2.
    weight = (2 * gaussian(metal.double(), 200.0)).clamp(max=1)
    away = (..., slice(0, 17), slice(0, 17))  # where the narrow Gaussian meets no metal
    high = (uncorrected - corrected) - gaussian(uncorrected - corrected, 0.7)
    torch.testing.assert_close(out[away], (corrected + weight * high)[away])
    assert not torch.allclose(out[away], corrected[away])


def test_metal_leaves_no_rim_around_itself() -> None:
    corrected, _, metal = images()
    bright = torch.where(metal, 10_000.0, corrected)
    out = split_frequencies(corrected, bright, metal, 1.0, split_mm=2.0, reach_mm=4.0)
    torch.testing.assert_close(out, corrected)
    rim = corrected + (bright - corrected) - gaussian(bright - corrected, 2.0)
    assert rim[0, 0, 25, 31] < -1000  # what plain smoothing leaves beside it


def test_far_from_metal_nothing_changes() -> None:
    corrected, uncorrected, metal = images()
    out = split_frequencies(corrected, uncorrected, metal, 1.0, split_mm=1.5, reach_mm=2.0)
    assert torch.equal(out[..., 45:, 45:], corrected[..., 45:, 45:])
    assert not torch.equal(out, corrected)


def test_reach_is_in_millimetres() -> None:
    corrected, uncorrected, metal = images()
    changed = [
        (split_frequencies(corrected, uncorrected, metal, s, split_mm=2.0, reach_mm=4.0) != corrected).sum()
        for s in (1.0, 2.0)
    ]
    assert changed[0] > 1.3 * changed[1]


def test_no_metal_and_a_constant_difference_change_nothing() -> None:
    corrected, uncorrected, metal = images()
    assert torch.equal(split_frequencies(corrected, uncorrected, metal & False, 1.0), corrected)
    torch.testing.assert_close(split_frequencies(corrected, corrected + 300, metal, 1.0), corrected)


def test_gaussian_keeps_the_mean_of_a_constant_and_refuses_zero_width() -> None:
    torch.testing.assert_close(gaussian(torch.full((1, 9, 9), 7.0), 1.2), torch.full((1, 9, 9), 7.0))
    with pytest.raises(CtmarError, match="sigma must be positive, got 0"):
        gaussian(torch.zeros(1, 9, 9), 0)
