"""Rebinning: fan sinograms must become what parallel beams would have measured."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform, rebinning
from ctmar.operators.rebinning import ORDERS, interlaces, positions_mm, rebin_fan_to_parallel

FAN = FanBeam(240, 121, 1.8, 150.0, 100.0)
BLOBS = [(0.0, 0.0, 14.0, 1.0), (17.0, 9.0, 6.0, 0.7), (-12.0, -20.0, 5.0, -0.4)]
"""x, y and width in mm of Gaussians, and the height of their line integrals."""


def smooth(theta: np.ndarray, s: np.ndarray) -> Tensor:
    """The blobs' exact line integrals along ``x cos θ + y sin θ = s``."""
    parts = (
        a * np.exp(-((s - x * np.cos(theta) - y * np.sin(theta)) ** 2) / 2 / w**2) for x, y, w, a in BLOBS
    )
    return torch.from_numpy(sum(parts, np.zeros(1)))


def of_fan(fan: FanBeam) -> Tensor:
    return smooth(fan.theta[:, None] - fan.gamma, fan.src_radius_mm * np.sin(fan.gamma))


def of_parallel(beam: ParallelBeam) -> Tensor:
    s = (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm + beam.det_offset_mm
    return smooth(beam.theta[:, None], s)


def error_of(fan: FanBeam, order: str, parallel: ParallelBeam | None = None) -> float:
    """Largest error of the rebinned sinogram as a share of the sinogram's maximum."""
    parallel = parallel or fan.parallel()
    truth = of_parallel(parallel)
    return float((rebin_fan_to_parallel(of_fan(fan), fan, parallel, order) - truth).abs().max() / truth.max())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("detector", ["flat", "arc"])
@pytest.mark.parametrize("offset", [0.0, 0.45])
def test_becomes_what_parallel_beams_measure(order: str, detector: str, offset: float) -> None:
    fan = replace(FAN, detector=detector, det_offset_mm=offset)
    assert error_of(fan, order) < 0.01
    assert error_of(fan, order, ParallelBeam(31, 60, 1.3, -0.2, tuple(np.linspace(-1, 7, 31)))) < 0.01
    for turn in ({"start_rad": 0.7}, {"start_rad": -2.0, "mirrored": True}):
        other = replace(fan, angles=None, **turn)
        assert error_of(other, order) < 0.01
        assert error_of(other, order, replace(fan.parallel(), det_spacing_mm=0.55)) < 0.01
    mirrored = fan.parallel()
    mirrored = replace(mirrored, angles=tuple(-a for a in mirrored.theta))
    wrong = rebin_fan_to_parallel(of_fan(fan), fan, mirrored, order) - of_parallel(fan.parallel())
    assert wrong.abs().max() > 0.1


@pytest.mark.parametrize("order", ORDERS)
def test_finer_sampling_errs_less(order: str) -> None:
    coarse = FanBeam(60, 31, 7.2, 150.0, 100.0)
    errors = [
        error_of(
            replace(coarse, num_angles=60 * n, det_count=31 * n, det_spacing_mm=7.2 / n, angles=None), order
        )
        for n in (1, 2, 4)
    ]
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2


def test_cubic_errs_less_than_linear() -> None:
    assert error_of(FAN, "cubic") < error_of(FAN, "linear") / 3


@pytest.mark.parametrize("order", ORDERS)
def test_uneven_views_and_short_scans_do_too(order: str) -> None:
    angles = np.arange(240) * 2 * math.pi / 240
    uneven = replace(FAN, angles=tuple(angles + 0.004 * np.sin(3 * angles) + 0.2))
    assert error_of(uneven, order) < 0.01
    fan_angle = float(np.ptp(FAN.gamma))
    short = replace(FAN, angles=tuple(np.linspace(0.5, 0.55 + math.pi + fan_angle, 240)))
    assert not short.full_turn and error_of(short, order) < 0.01
    half = replace(FAN, angles=tuple(np.linspace(0.5, 0.5 + math.pi, 240)))
    with pytest.raises(CtmarError, match=r"half turn and the fan's angle \(226\.7°\), got 180\.0°"):
        error_of(half, order)


def test_a_detector_to_one_side_still_measures_every_ray() -> None:
    aside = replace(FAN, det_offset_mm=90.0)
    assert aside.gamma[0] > -0.1
    whole = ParallelBeam(120, 91, 1.0)
    assert error_of(aside, "cubic", whole) < 0.01


@pytest.mark.parametrize("detector", ["flat", "arc"])
@pytest.mark.parametrize("quarters", [-5, -1, 1, 5])
def test_opposite_rays_a_quarter_off_fill_half_the_spacing(detector: str, quarters: int) -> None:
    """Waves too fine for one side's bins, 1.08 mm apart on the axis, come through by interlacing alone."""
    fan = FanBeam(960, 121, 1.8, 150.0, 100.0, detector, quarters * 0.45)
    fine = fan.parallel(120, fan.iso_spacing_mm / 2)
    assert fan.interlaced and fine.det_spacing_mm == pytest.approx(0.54)

    def wave(theta: np.ndarray, s: np.ndarray) -> Tensor:
        along = s - 9 * np.cos(theta)
        return torch.from_numpy(np.cos(2 * math.pi * along / 1.9) * np.exp(-(along**2) / 2 / 5**2))

    def error(of: FanBeam, beam: ParallelBeam) -> float:
        measured = wave(of.theta[:, None] - of.gamma, of.src_radius_mm * np.sin(of.gamma))
        rebinned = rebin_fan_to_parallel(measured, of, beam)
        return float((rebinned - wave(beam.theta[:, None], positions_mm(beam))).square().mean().sqrt())

    scale = float(wave(fine.theta[:, None], positions_mm(fine)).square().mean().sqrt())
    assert error(fan, fine) < 0.05 * scale
    for useless in (0.0, 0.9):
        assert error(replace(fan, det_offset_mm=useless), fine) > 0.8 * scale
    twice_the_bins = FanBeam(960, 241, 0.9, 150.0, 100.0, detector)
    assert error(twice_the_bins, twice_the_bins.parallel(120)) < 0.05 * scale
    smoothly = replace(FAN, detector=detector, det_offset_mm=quarters * 0.45)
    assert interlaces(smoothly, smoothly.parallel(det_spacing_mm=0.54))
    assert not interlaces(smoothly, smoothly.parallel())
    for order in ORDERS:
        assert error_of(smoothly, order, smoothly.parallel(100, 0.54)) < 0.01


def test_rays_that_miss_the_detector_are_zero() -> None:
    wide = ParallelBeam(10, 401, 1.0)
    p = rebin_fan_to_parallel(torch.ones(FAN.shape), FAN, wide)
    reach = 150 * math.sin(float(FAN.gamma[-1]))
    s = torch.arange(401) - 200.0
    assert torch.all(p[:, s.abs() > reach + 1] == 0)
    torch.testing.assert_close(p[:, s.abs() < reach], torch.ones(10, int((s.abs() < reach).sum())))


@pytest.mark.parametrize("order", ORDERS)
def test_is_linear_differentiable_and_free_of_chunks(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fan = FanBeam(9, 7, 2.0, 20.0, 10.0, "arc", 0.3)
    parallel = fan.parallel(5)
    x = torch.randn(2, 3, *fan.shape, dtype=torch.float64, requires_grad=True)
    rebin = lambda p: rebin_fan_to_parallel(p, fan, parallel, order)  # noqa: E731
    whole = rebin(x)
    assert whole.shape == (2, 3, *parallel.shape)
    torch.testing.assert_close(rebin(2 * x - x.flip(0)), 2 * whole - whole.flip(0))
    monkeypatch.setattr(rebinning, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(rebin(x), whole)
    assert torch.autograd.gradcheck(rebin, x[:1, :1].detach().requires_grad_())
    assert rebin(x[:0]).shape == (0, 3, *parallel.shape)
    with torch.inference_mode():
        torch.testing.assert_close(rebin(x.detach()), whole.detach())


def test_fbp_of_rebinned_water_reads_zero_hu() -> None:
    radius, mu = 38.0, 0.02
    s = FAN.src_radius_mm * np.sin(FAN.gamma)
    p = torch.from_numpy(2 * mu * np.sqrt(np.clip(radius**2 - s**2, 0, None))).expand(FAN.shape)
    beam, grid = FAN.parallel(), ImageGrid((64, 64), 1.5)
    hu = (RayTransform(grid, beam).fbp(rebin_fan_to_parallel(p, FAN, beam)) / mu - 1) * 1000
    x = (torch.arange(64) - 31.5) * 1.5
    r = (x**2 + x[:, None] ** 2).sqrt()
    assert abs(float(hu[r < 0.8 * radius].mean())) < 1
    assert abs(float(hu[(r > 1.1 * radius) & (r < 47)].mean()) + 1000) < 2


def test_wrong_use_is_refused() -> None:
    with pytest.raises(CtmarError, match="order must be one of linear, cubic, got 'nearest'"):
        rebin_fan_to_parallel(torch.zeros(FAN.shape), FAN, FAN.parallel(), "nearest")
    with pytest.raises(CtmarError, match=r"\(\.\.\., 240, 121\), got \(121, 240\)"):
        rebin_fan_to_parallel(torch.zeros(121, 240), FAN, FAN.parallel())
    backwards = replace(FAN, angles=tuple(-FAN.theta))
    with pytest.raises(CtmarError, match="ascending order"):
        rebin_fan_to_parallel(torch.zeros(FAN.shape), backwards, FAN.parallel())
