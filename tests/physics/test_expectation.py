"""What a scan is expected to read: against readings without noise, against many noisy ones, against sums."""

import math

import numpy as np
import pytest
import torch

from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.physics import Acquisition, Noise, Optics, Rays, Scanner, Scatter, Tube, attenuation
from ctmar.physics.expectation import Expectation
from ctmar.physics.gantries import HelicalScan, make_gantry

GRID, BEAM, SPACING = ImageGrid((96, 96), 3.6), ParallelBeam(120, 137, 3.6), 3.0
ARC = FanBeam(240, 176, 4.0, 541.0, 408.0, "arc", 1.0)
HELIX = HelicalScan(ARC, slice_mm=3.0, pitch=1.2)
ACQUISITIONS = pytest.mark.parametrize(
    "acquisition",
    [None, ARC, pytest.param(HELIX, marks=pytest.mark.slow)],
    ids=["parallel", "fan", "helix"],
)
RADIUS_MM, SCREW_MM = 110.0, 12.0
SEEN = slice(20, 117)
"""Bins that the fan reaches."""


def disk(radius_mm: float) -> np.ndarray:
    """Share of each pixel of the finer grid inside a disk in the middle, by 4 × 4 points."""
    n = GRID.shape[0] * 2 * 4
    at = (np.arange(n) - (n - 1) / 2) * 3.6 / 8
    inside = at**2 + at[:, None] ** 2 < radius_mm**2
    return inside.reshape(n // 4, 4, n // 4, 4).mean((1, 3)).astype(np.float32)


BODY, SCREW = 1000 * disk(RADIUS_MM) - 1000, disk(SCREW_MM)


def scan(
    scanner: Scanner, acquisition: object = None, seed: int = 0, metal: str = "Ti-6Al-4V"
) -> Acquisition:
    """A water cylinder with a rod in its middle, one slice."""
    gantry = make_gantry(scanner, GRID, acquisition, BEAM)  # type: ignore[arg-type]
    places = gantry.slices(10, (10,), SPACING)
    hu, rod = (np.stack([image] * len(places)).astype(np.float32) for image in (BODY, SCREW))
    return gantry.acquire(hu, {metal: rod}, 10, (10,), SPACING, [np.random.SeedSequence(seed)])


def expected(scanner: Scanner, acquisition: object = None, **of: object) -> Expectation:
    return Expectation.of(scan(scanner.expecting(), acquisition, **of))  # type: ignore[arg-type]


class Gains:
    """A detector whose bins differ, drawn anew for each scan, and a step behind the logarithm."""

    def __call__(self, x: torch.Tensor, rays: Rays, random: np.random.Generator | None) -> torch.Tensor:
        return x if random is None else x * (1 + 0.02 * torch.from_numpy(random.random(x.shape[-1]))).float()


@ACQUISITIONS
def test_it_is_the_reading_of_the_same_scan_without_noise(acquisition: object) -> None:
    parts = {"scatter": Scatter(0.1, correction=0.5), "optics": Optics(focal_spot_mm=1.0)}
    own = {"before_log": [Gains()], "after_log": [Gains()]}
    noisy, quiet = (Scanner(noise=noise, **parts, **own) for noise in (Noise(), Noise(None)))  # type: ignore[arg-type]
    known, reading = expected(noisy, acquisition), scan(quiet, acquisition)
    # Fields that are rebinned together with more others are summed in another order.
    bound = 0 if acquisition is None else 2e-5
    torch.testing.assert_close(known.measured, reading.measured, rtol=0, atol=bound)
    torch.testing.assert_close(known.ideal, reading.ideal, rtol=0, atol=bound)
    assert (expected(quiet, acquisition).deviation == 0).all()
    assert (known.deviation[..., SEEN] > 0).all()


@ACQUISITIONS
def test_the_deviation_is_that_of_many_readings(acquisition: object) -> None:
    scanner = Scanner(noise=Noise(3.0e5, electronic_noise=20.0, current_modulation=0.5))
    known = expected(scanner, acquisition)
    readings = [scan(scanner, acquisition, seed) for seed in range(6)]
    square = torch.stack([(one.measured - known.measured) ** 2 for one in readings]).mean(0)
    for where in (readings[0].metal_trace, ~readings[0].metal_trace):
        ratio = float((square / known.deviation**2)[..., SEEN][where[..., SEEN]].mean())
        # Rebinned rays keep more or less of white noise by where they lie between those measured.
        assert ratio == pytest.approx(1.0, abs=0.05 if acquisition is None else 0.15)
    # It tells rays apart: behind the rod the electronics' share is the larger one.
    behind = known.deviation[0, :, 68].mean() / known.deviation[0, :, 50].mean()
    assert behind > 3


@ACQUISITIONS
def test_a_beam_of_one_energy_magnifies_nothing(acquisition: object) -> None:
    known = expected(Scanner(Tube(kvp=None)), acquisition)
    assert float((known.gain - 1)[..., SEEN].abs().max()) < 2e-3


@pytest.mark.parametrize("metal", ["Ti-6Al-4V", "CoCrMo"])
def test_the_gain_is_the_ratio_of_two_slopes_by_water(metal: str) -> None:
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}))
    spectrum = scanner.spectrum
    mu_water, mu_metal = (attenuation(name, spectrum.energies_kev) for name in ("water", metal))
    correct = scanner.readout.water.fitted(spectrum, scanner.reference_kev)  # type: ignore[union-attr]

    def reads(water_mm: float, metal_mm: float) -> float:
        left = spectrum.weights @ np.exp(-mu_water * water_mm - mu_metal * metal_mm)
        return float(correct(torch.tensor([-math.log(left)], dtype=torch.float64))[0])

    water, rod = 2 * RADIUS_MM, 2 * SCREW_MM
    without = reads(water + 1, 0) - reads(water, 0)
    with_metal = reads(water - rod + 1, rod) - reads(water - rod, rod)
    known = expected(scanner, metal=metal)
    middle = known.gain[0, :, 68]
    assert float(middle.mean()) == pytest.approx(without / with_metal, rel=0.01)
    assert without / with_metal > 1.03
    beside = known.gain[0, :, 40]
    assert float((beside - 1).abs().max()) < 1e-4


def test_of_rays_at_the_detectors_floor_or_ceiling_nothing_is_known() -> None:
    assert expected(Scanner(noise=Noise(1.0e-3))).deviation.isinf().all()
    open_beam = expected(Scanner(noise=Noise(1.0e6, saturation=9.0e5))).deviation[0]
    assert open_beam[:, :3].isinf().all() and open_beam[:, 68].isfinite().all()
    starved = expected(Scanner(noise=Noise(1.0e4)), metal="gold")
    assert starved.deviation[0, :, 68].isinf().all() and starved.deviation[0, :, 50].isfinite().all()
