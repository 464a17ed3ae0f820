"""Helical sinograms must become what a scan of one slice would have measured."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, HelicalFan, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform, rebinning
from ctmar.operators.helical import (
    INTERPOLATIONS,
    HelicalTransform,
    covered_share,
    covered_z_mm,
    covering_helix,
    interpolate_helical,
    rebin_helical_to_parallel,
)
from ctmar.operators.rebinning import ORDERS, positions_mm, rebin_fan_to_parallel

FAN = FanBeam(240, 121, 1.8, 150.0, 100.0)
Projected = Callable[[np.ndarray, np.ndarray, np.ndarray | float], np.ndarray]


def blobs(theta: np.ndarray, s: np.ndarray, *parts: tuple[float, float, float, float]) -> np.ndarray:
    """Exact line integrals of Gaussians at (x, y), of a width and a height."""
    return sum(
        (a * np.exp(-((s - x * np.cos(theta) - y * np.sin(theta)) ** 2) / 2 / w**2) for x, y, w, a in parts),
        np.zeros(1),
    )


def still(theta: np.ndarray, s: np.ndarray, z: np.ndarray | float) -> np.ndarray:
    return blobs(theta, s, (0, 0, 14, 1), (17, 9, 6, 0.7), (-12, -20, 5, -0.4)) + 0 * z


def linear(theta: np.ndarray, s: np.ndarray, z: np.ndarray | float) -> np.ndarray:
    return still(theta, s, z) + 0.3 * z * blobs(theta, s, (8, -11, 9, 0.5))


def curved(theta: np.ndarray, s: np.ndarray, z: np.ndarray | float) -> np.ndarray:
    return still(theta, s, z) + 0.5 * np.sin(np.asarray(z) / 4) * blobs(theta, s, (8, -11, 9, 0.5))


def measured(helix: HelicalFan, of: Projected) -> Tensor:
    theta = helix.theta[:, None] - helix.fan.gamma
    s = np.broadcast_to(helix.fan.src_radius_mm * np.sin(helix.fan.gamma), theta.shape)
    return torch.from_numpy(of(theta, s, helix.z_mm[:, None]))


def circular(fan: FanBeam, of: Projected, z: float) -> Tensor:
    theta = fan.theta[:, None] - fan.gamma
    return torch.from_numpy(of(theta, fan.src_radius_mm * np.sin(fan.gamma) + 0 * theta, z))


def wanted(beam: ParallelBeam, of: Projected, z: float) -> Tensor:
    return torch.from_numpy(of(beam.theta[:, None], positions_mm(beam), z))


def around(fan: FanBeam, parallel: ParallelBeam, z: float, method: str, feed: float = 5.0) -> HelicalFan:
    return covering_helix(fan, feed, 5.0, (z, z), parallel, method)


def error(fan: FanBeam, of: Projected, method: str, order: str = "cubic", feed: float = 5.0) -> float:
    """Largest error as a share of the maximum."""
    beam, z = fan.parallel(), 11.3
    helix = around(fan, beam, z, method, feed)
    got, truth = (
        rebin_helical_to_parallel(measured(helix, of), helix, beam, z, method, order),
        wanted(beam, of, z),
    )
    return float((got - truth).abs().max() / truth.max())


@pytest.mark.parametrize("detector", ["flat", "arc"])
@pytest.mark.parametrize("offset", [0.0, 0.45, 7.0])
def test_one_turn_apart_is_exact_for_what_is_linear_in_z(detector: str, offset: float) -> None:
    fan = replace(FAN, detector=detector, det_offset_mm=offset)
    for z in (11.3, -7.0, 0.0, 5.0):
        helix = around(fan, fan.parallel(), z, "360LI")
        got = interpolate_helical(measured(helix, linear), helix, z)
        torch.testing.assert_close(got, circular(fan, linear, z), rtol=0, atol=1e-12)
    other = interpolate_helical(measured(helix, linear), helix, z)
    assert (other - circular(fan, linear, z + 1)).abs().max() > 0.1


@pytest.mark.parametrize("offset_bins", [0, 3])
def test_half_a_turn_apart_is_exact_on_rays_that_were_measured(offset_bins: int) -> None:
    """With bins as far apart as views opposite rays fall on views and bins: only z is interpolated."""
    step, views, radius = 2 * math.pi / 240, 240, 150.0
    fan = FanBeam(views, 61, step * 250.0, radius, 100.0, "arc", offset_bins * step * 250.0)
    for bin_place in (-7, -3, 0, 5, 8):
        s = radius * math.sin(bin_place * step)
        beam = ParallelBeam(120, 1, 1.0, s)
        for z in (3.1, 40.0):
            helix = around(fan, beam, z, "180LI")
            got = rebin_helical_to_parallel(measured(helix, linear), helix, beam, z, "180LI", "linear")
            torch.testing.assert_close(got, wanted(beam, linear, z), rtol=0, atol=1e-11)
            assert (got - wanted(beam, linear, z + 1)).abs().max() > 0.004


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", INTERPOLATIONS)
@pytest.mark.parametrize("detector", ["flat", "arc"])
@pytest.mark.parametrize("offset", [0.0, 0.45])
def test_becomes_the_parallel_sinogram_of_its_slice(
    order: str, method: str, detector: str, offset: float
) -> None:
    fan = replace(FAN, detector=detector, det_offset_mm=offset)
    for of in (still, linear, curved):
        assert error(fan, of, method, order) < 0.01
    assert error(fan, still, method, "cubic") < 1e-4
    assert error(fan, linear, method, "cubic") < 1e-4
    assert error(fan, lambda theta, s, z: still(-theta, s, z), method) < 1e-4
    beam = fan.parallel()
    helix = around(fan, beam, 11.3, method)
    mirrored = rebin_helical_to_parallel(measured(helix, still), helix, beam, 11.3, method, order)
    assert (mirrored - wanted(beam, lambda theta, s, z: still(-theta, s, z), 11.3)).abs().max() > 0.1


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_finer_sampling_and_smaller_feed_err_less(method: str) -> None:
    coarse = FanBeam(60, 31, 7.2, 150.0, 100.0)
    fine = [
        error(
            replace(coarse, num_angles=60 * n, det_count=31 * n, det_spacing_mm=7.2 / n, angles=None),
            linear,
            method,
        )
        for n in (1, 2, 4)
    ]
    assert fine[1] < fine[0] / 3 and fine[2] < fine[1] / 3
    feeds = [error(FAN, curved, method, feed=feed) for feed in (8.0, 4.0, 2.0)]
    assert feeds[1] < feeds[0] / 2.5 and feeds[2] < feeds[1] / 2.5


def test_half_a_turn_apart_errs_less_than_a_turn() -> None:
    assert error(FAN, curved, "180LI") < error(FAN, curved, "360LI") / 2


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_what_does_not_change_in_z_is_as_from_a_circle(method: str) -> None:
    beam = FAN.parallel()
    helix = around(FAN, beam, 2.0, method)
    got = rebin_helical_to_parallel(measured(helix, still), helix, beam, 2.0, method)
    circle = rebin_fan_to_parallel(circular(FAN, still, 2.0), FAN, beam)
    tolerance = 1e-12 if method == "360LI" else 5e-5
    torch.testing.assert_close(got, circle, rtol=0, atol=tolerance)
    ones = rebin_helical_to_parallel(torch.ones(helix.shape), helix, beam, 2.0, method)
    torch.testing.assert_close(ones[:, 3:-3], torch.ones_like(ones[:, 3:-3]))


def test_a_turn_apart_leaves_opposite_rays_alone() -> None:
    """They belong to other slices, even where the detector's offset would have them interlace."""
    fan = replace(FAN, det_offset_mm=1.25 * FAN.det_spacing_mm)
    beam = fan.parallel(det_spacing_mm=fan.iso_spacing_mm / 2)
    helix = around(fan, beam, 2.0, "360LI")
    got = rebin_helical_to_parallel(measured(helix, still), helix, beam, 2.0, "360LI")
    circle = circular(fan, still, 2.0)
    apart, woven = (rebin_fan_to_parallel(circle, fan, beam, interlace=flag) for flag in (False, True))
    torch.testing.assert_close(got, apart, rtol=0, atol=1e-12)
    assert (got - woven).abs().max() > 1e-6


@pytest.mark.parametrize(
    "method,pitch,width",
    [("360LI", 1.0, 1.27), ("180LI", 1.0, 1.00), ("180LI", 2.0, 1.27), ("360LI", 2.0, 2.25)],
)
def test_slices_are_as_wide_as_published(method: str, pitch: float, width: float) -> None:
    """Full width at half maximum of the slice sensitivity on the axis, in collimated slices.

    A box convolved with the interpolation's triangle of half a feed (180LI) or a feed (360LI) to each
    side (Crawford & King, Med. Phys. 17:967, 1990; Polacin, Kalender & Marchal, Radiology 185:29, 1992).
    """
    thickness, beam = 4.0, ParallelBeam(160, 1, 1.0)
    fan, z = FanBeam(320, 3, 1.0, 150.0, 100.0, "arc"), np.arange(-8.0, 8.0, 0.05) * thickness / 4
    helix = covering_helix(fan, pitch * thickness, thickness, (z[0], z[-1]), beam, method)
    # A thin disk at z = 0 is seen while the collimated slice holds it.
    seen = torch.as_tensor(np.abs(helix.z_mm) < thickness / 2, dtype=torch.float64)
    sinogram = seen[:, None].expand(helix.shape)
    profile = np.array(
        [float(rebin_helical_to_parallel(sinogram, helix, beam, at, method, "linear").mean()) for at in z]
    )
    above = z[profile > profile.max() / 2]
    assert (above[-1] - above[0] + 0.05) / thickness == pytest.approx(width, abs=0.03)
    assert np.trapezoid(profile, z) == pytest.approx(thickness, rel=0.02)


def test_a_detector_to_one_side_still_measures_every_ray() -> None:
    aside, beam = replace(FAN, det_offset_mm=90.0), ParallelBeam(120, 91, 1.0)
    assert aside.gamma[0] > -0.1
    helix = around(aside, beam, 3.0, "180LI")
    got = rebin_helical_to_parallel(measured(helix, linear), helix, beam, 3.0)
    # The outermost bin's neighbour is missing to the cubic.
    torch.testing.assert_close(got, wanted(beam, linear, 3.0), rtol=0, atol=3e-3)


def test_the_rim_of_an_interlacing_detector_needs_no_longer_scan() -> None:
    fan = replace(FAN, det_offset_mm=1.25 * 1.8)
    beam = fan.parallel()
    helix, plain = (around(f, f.parallel(), 3.0, "180LI") for f in (fan, FAN))
    assert helix.num_views < plain.num_views + 10
    got = rebin_helical_to_parallel(measured(helix, linear), helix, beam, 3.0)
    torch.testing.assert_close(got[:, 4:-4], wanted(beam, linear, 3.0)[:, 4:-4], rtol=0, atol=2e-4)
    ones = rebin_helical_to_parallel(torch.ones(helix.shape), helix, beam, 3.0)
    torch.testing.assert_close(ones[:, 2:-2], torch.ones_like(ones[:, 2:-2]))


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_is_linear_differentiable_and_free_of_chunks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fan = FanBeam(9, 7, 2.0, 20.0, 10.0, "arc", 0.3)
    beam = fan.parallel(5)
    helix = around(fan, beam, 1.7, method)
    x = torch.randn(2, 2, *helix.shape, dtype=torch.float64, requires_grad=True)
    rebin = lambda p: rebin_helical_to_parallel(p, helix, beam, 1.7, method)  # noqa: E731
    whole = rebin(x)
    assert whole.shape == (2, 2, *beam.shape)
    torch.testing.assert_close(rebin(2 * x - x.flip(0)), 2 * whole - whole.flip(0))
    assert torch.autograd.gradcheck(rebin, x[:1, :1].detach().requires_grad_())
    monkeypatch.setattr(rebinning, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(rebin(x), whole)


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_the_covered_range_is_what_can_be_asked_for(method: str) -> None:
    beam = FAN.parallel()
    helix = HelicalFan(FAN, 6.0, 3.0, 700, 2.0, 17)
    assert helix.pitch == 2.0 and helix.turns == pytest.approx(699 / 240)
    low, high = covered_z_mm(helix, beam, method)
    assert 2.0 < low < high < 2.0 + 6.0 * helix.turns
    for z in (low, high):
        got = rebin_helical_to_parallel(measured(helix, linear), helix, beam, z, method)
        torch.testing.assert_close(got, wanted(beam, linear, z), rtol=0, atol=2e-4)
    for z in (low - 0.1, high + 0.1):
        with pytest.raises(
            CtmarError, match=rf"z_mm must lie in \d+\.\d+ to \d+\.\d+ for {method} of this scan"
        ):
            rebin_helical_to_parallel(torch.zeros(helix.shape), helix, beam, z, method)
    short = replace(helix, num_views=250)
    with pytest.raises(CtmarError, match=f"too short for {method}: it takes .* mm more feed"):
        rebin_helical_to_parallel(torch.zeros(short.shape), short, beam, 5.0, method)


def test_part_of_an_endless_helix_has_the_same_views() -> None:
    beam = FAN.parallel()
    long, short = (covering_helix(FAN, 5.0, 5.0, z, beam) for z in ((-20.0, 30.0), (3.0, 3.0)))
    skipped = short.start_view - long.start_view
    part = measured(long, curved)[skipped : skipped + short.num_views]
    torch.testing.assert_close(part, measured(short, curved))
    a, b = (rebin_helical_to_parallel(measured(h, curved), h, beam, 3.0) for h in (long, short))
    torch.testing.assert_close(a, b)


GRID = ImageGrid((24, 20), 3.0)
HELIX = HelicalFan(FanBeam(16, 31, 3.4, 150.0, 100.0), 4.0, 3.0, 40, -1.0, 5)
PLACES = tuple(2.5 * n - 3.0 for n in range(7))


def test_each_view_sees_the_slices_that_it_covers() -> None:
    scan = HelicalTransform(GRID, HELIX, PLACES, 2.5)
    volume = torch.rand(2, 7, 24, 20, dtype=torch.float64)
    got = scan.forward(volume)
    for view in (0, 13, 39):
        fan = replace(HELIX.fan, num_angles=1, angles=(float(HELIX.theta[view]),))
        each = RayTransform(GRID, fan, "torch").forward(volume)[..., 0, :]
        edges = [
            max(0.0, min(z + 1.25, HELIX.z_mm[view] + 1.5) - max(z - 1.25, HELIX.z_mm[view] - 1.5)) / 3
            for z in PLACES
        ]
        assert sum(edges) == pytest.approx(1)
        torch.testing.assert_close(
            got[:, view], torch.einsum("bzd,z->bd", each, torch.tensor(edges).double())
        )


def test_slices_as_wide_as_the_beam_are_interpolated() -> None:
    share = covered_share(np.array([0.0, 0.5, 1.5, 2.0, 3.0]), 2.0, 2.0)
    np.testing.assert_allclose(share, [1.0, 0.75, 0.25, 0.0, 0.0])


def test_helical_adjoint_is_exact() -> None:
    scan = HelicalTransform(GRID, HELIX, PLACES, 2.5)
    wrong = HelicalTransform(GRID, replace(HELIX, start_view=6), PLACES, 2.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(7, 24, 20, dtype=torch.float64, generator=generator)
        y = torch.randn(*HELIX.shape, dtype=torch.float64, generator=generator)
        ax = scan.forward(x)
        scale = ax.norm() * y.norm()
        assert abs(float((ax * y).sum() - (x * scan.adjoint(y)).sum())) / scale < 1e-12
        assert abs(float((ax * y).sum() - (x * wrong.adjoint(y)).sum())) / scale > 1e-4
    both = torch.stack([y, -2 * y])
    torch.testing.assert_close(scan.adjoint(both)[1], -2 * scan.adjoint(y))


def test_wrong_use_is_refused() -> None:
    beam, zeros = FAN.parallel(), torch.zeros(600, 121)
    helix = HelicalFan(FAN, 5.0, 5.0, 600)
    with pytest.raises(CtmarError, match="method must be one of 360LI, 180LI, got '90LI'"):
        rebin_helical_to_parallel(zeros, helix, beam, 6.0, "90LI")
    with pytest.raises(CtmarError, match="order must be one of linear, cubic, got 'nearest'"):
        rebin_helical_to_parallel(zeros, helix, beam, 6.0, order="nearest")
    with pytest.raises(CtmarError, match=r"\(\.\.\., 600, 121\), got \(121, 600\)"):
        interpolate_helical(zeros.mT, helix, 6.0)
    scan = HelicalTransform(GRID, HELIX, PLACES, 2.5)
    with pytest.raises(
        CtmarError, match=r"a volume of this scan is \(\.\.\., 7, 24, 20\), got \(6, 24, 20\)"
    ):
        scan.forward(torch.zeros(6, 24, 20))
    with pytest.raises(CtmarError, match=r"a sinogram of this helix is \(\.\.\., 40, 31\), got \(31,\)"):
        scan.adjoint(torch.zeros(31))
