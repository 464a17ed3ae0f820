import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Scanner
from ctmar.physics.materials import attenuation, tissue_fractions
from ctmar.physics.spectra import Spectrum
from ctmar.physics.water import WaterCorrection
from ctmar.units import mu_to_hu

GRID, BEAM = ImageGrid((96, 96), 3.6), ParallelBeam(120, 141, 3.6)


def disk(radius_mm: float, fine: int = 2, over: int = 4, x_mm: float = 0.0, y_mm: float = 0.0) -> np.ndarray:
    """Share of each pixel of the finer grid that a disk takes up."""
    n, spacing = 96 * fine * over, 3.6 / fine / over
    c = (np.arange(n) - (n - 1) / 2) * spacing
    inside = (c[None, :] - x_mm) ** 2 + (c[:, None] + y_mm) ** 2 < radius_mm**2
    return inside.reshape(96 * fine, over, 96 * fine, over).mean((1, 3)).astype(np.float32)


def acquire(scanner: Scanner, hu: np.ndarray, seed: int = 0, **metal: np.ndarray) -> Acquisition:
    fine = RayTransform(GRID.refine(scanner.oversampling), BEAM.refine(scanner.oversampling))
    alloys = {name.replace("_", "-"): fraction[None] for name, fraction in metal.items()}
    return scanner.acquire(hu[None], alloys, fine, [np.random.SeedSequence(seed)])


BODY = 1000 * disk(120.0) - 1000
SCREW = {"Ti_6Al_4V": disk(4.0, x_mm=30.0, y_mm=-20.0)}


def test_monoenergetic_disk_is_the_closed_form() -> None:
    scanner = Scanner(kvp=None, photons_per_ray=None, oversampling=2)
    p = acquire(scanner, BODY).ideal[0]
    s = (torch.arange(141) - 70) * 3.6
    truth = 2 * scanner.mu_water * (120.0**2 - s**2).clamp(min=0).sqrt()
    inner = s.abs() < 80
    torch.testing.assert_close(p[:, inner], truth[inner].expand(120, -1), rtol=3e-3, atol=0)
    assert not torch.allclose(p[:, inner], 1.01 * truth[inner].expand(120, -1), rtol=3e-3, atol=0)


def test_polychromatic_ray_is_the_sum_over_energies() -> None:
    scanner = Scanner(filtration_mm={"Cu": 0.2}, photons_per_ray=None, water_precorrection=False)
    paths = torch.tensor([[200.0, 310.0, 0.0], [12.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    got = scanner._transmission(["water", "bone", "CoCrMo"], paths)
    expected = []
    for water, bone, metal in paths.T.double().tolist():
        total = 0.0
        for energy, weight in zip(scanner.spectrum.energies_kev, scanner.spectrum.weights, strict=True):
            mu = {name: attenuation(name, [energy])[0] for name in ("water", "bone", "CoCrMo")}
            total += weight * math.exp(-mu["water"] * water - mu["bone"] * bone - mu["CoCrMo"] * metal)
        expected.append(total)
    torch.testing.assert_close(
        got.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-10
    )


def test_sub_rays_are_averaged_as_intensities() -> None:
    scanner = Scanner(oversampling=2)
    transmission = torch.tensor([[1.0, math.exp(-8.0)]])
    got = -torch.log(scanner._average(transmission))
    assert float(got) == pytest.approx(-math.log((1 + math.exp(-8.0)) / 2), rel=1e-5)
    assert float(got) < 0.7  # the mean of the two line integrals would be 4


def test_water_disk_is_flat_after_precorrection_and_cups_without() -> None:
    ray = RayTransform(GRID, BEAM)
    spread = {}
    for corrected in (True, False):
        scanner = Scanner(filtration_mm={"Cu": 0.2}, photons_per_ray=None, water_precorrection=corrected)
        hu = mu_to_hu(ray.fbp(acquire(scanner, BODY).ideal), scanner.mu_water)[0].numpy()
        r = np.hypot(*np.mgrid[-47.5:48, -47.5:48]) * 3.6
        rings = [hu[(r >= a) & (r < a + 20)].mean() for a in (0, 40, 80)]
        spread[corrected] = max(abs(a - rings[0]) for a in rings)
        if corrected:
            assert max(map(abs, rings)) < 3.0
    assert spread[True] < 2.0 and spread[False] > 10.0


def test_precorrection_is_exact_for_water_and_goes_on_straight() -> None:
    spectrum = Spectrum.tube(120, {"Cu": 0.2})
    correct = WaterCorrection(spectrum, 70.0)
    depth = np.array([0.0, 1.0, 50.0, 300.0, 599.0])
    measured = -np.log(
        np.exp(-depth[:, None] * attenuation("water", spectrum.energies_kev)) @ spectrum.weights
    )
    expected = torch.from_numpy(depth * attenuation("water", [70.0])[0])
    torch.testing.assert_close(correct(torch.from_numpy(measured)), expected, rtol=0, atol=2e-5)
    far = correct(torch.tensor([20.0, 30.0, 40.0], dtype=torch.float64))
    assert float(far[2] - far[1]) == pytest.approx(float(far[1] - far[0]))
    assert float(far[0]) > 0


@pytest.mark.parametrize("photons", [1e4, 1e5, 1e6])
def test_variance_of_line_integrals_is_one_over_detected_photons(photons: float) -> None:
    scanner = Scanner(kvp=None, photons_per_ray=photons, detector="counting")
    transmission = torch.full((1, 200, 200), math.exp(-2.0))
    noisy = scanner._measure(transmission, [np.random.SeedSequence(3)])
    expected = 1 / (photons * math.exp(-2.0))
    assert float(noisy.double().var()) == pytest.approx(expected, rel=0.03)
    assert float(noisy.mean()) == pytest.approx(2.0, abs=4 * math.sqrt(expected / 40000) + expected)


def test_electronic_noise_adds_its_variance() -> None:
    scanner = Scanner(kvp=None, photons_per_ray=1e4, electronic_noise=50.0)
    noisy = scanner._measure(torch.full((1, 200, 200), 0.2), [np.random.SeedSequence(3)])
    assert float(noisy.double().var()) == pytest.approx((2000 + 2500) / 2000**2, rel=0.05)


def test_starved_rays_stay_finite_at_any_dose() -> None:
    for photons in (1.0, 1e3, 1e9):
        scan = acquire(Scanner(photons_per_ray=photons), BODY, CoCrMo=disk(30.0))
        for field in scan:
            assert field.isfinite().all()


def test_titanium_end_on_transmits_three_in_a_hundred_thousand() -> None:
    transmitted = math.exp(-45.0 * attenuation("Ti-6Al-4V", [70.0])[0])
    assert transmitted == pytest.approx(3.2e-5, rel=0.05)


def test_off_the_trace_clean_is_measured_and_on_it_a_draw_of_its_own() -> None:
    scan = acquire(Scanner(), BODY, **SCREW)
    off, on = ~scan.metal_trace, scan.metal_trace
    assert torch.equal(scan.measured[off], scan.clean[off])
    assert 0.01 < on.float().mean() < 0.2
    core = scan.metal_path_mm > 4
    assert (scan.measured[core] > scan.clean[core]).all()
    # The noise-free line integral separates the draws of the two acquisitions.
    assert scan.metal_path_mm[off].abs().max() == 0
    assert scan.metal_path_mm.max() == pytest.approx(8.0, rel=0.15)


def test_metal_replaces_tissue() -> None:
    scanner = Scanner(kvp=None, photons_per_ray=None)
    scan = acquire(scanner, BODY, Ti_6Al_4V=disk(12.0, x_mm=30.0))
    extra = (scan.measured - scan.ideal)[0].sum(-1) * 3.6
    titanium = attenuation("Ti-6Al-4V", [70.0])[0]
    area = math.pi * 12.0**2
    # Averaging intensities lowers the line integral of a partly covered bin a little.
    assert float(extra.mean()) == pytest.approx((titanium - scanner.mu_water) * area, rel=0.03)
    assert float(extra.mean()) < 0.95 * titanium * area


def test_ideal_scanner_measures_nothing_behind_metal() -> None:
    scan = acquire(Scanner(kvp=None, photons_per_ray=None, measures_metal=False), BODY, **SCREW)
    assert (scan.measured[scan.metal_trace] == 0).all()
    assert torch.equal(scan.clean, scan.ideal)
    assert torch.equal(scan.measured[~scan.metal_trace], scan.ideal[~scan.metal_trace])


def test_a_slice_is_the_same_alone_and_among_others() -> None:
    scanner, hu = Scanner(), np.stack([BODY, BODY + 5, BODY + 9])
    metal = {"316L": np.stack([SCREW["Ti_6Al_4V"]] * 3)}
    fine = RayTransform(GRID.refine(2), BEAM.refine(2))
    seeds = [np.random.SeedSequence(7, spawn_key=(n,)) for n in range(3)]
    together = scanner.acquire(hu, metal, fine, seeds)
    alone = scanner.acquire(hu[1:2], {"316L": metal["316L"][1:2]}, fine, seeds[1:2])
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a[1:2], b)
    again = scanner.acquire(hu, metal, fine, seeds)
    assert torch.equal(again.measured, together.measured)
    assert not torch.equal(together.measured[0], together.measured[1])


def test_tissue_is_exact_at_the_reference_energy() -> None:
    hu = np.array([-1000, -850, -100, 0, 60, 300, 1200, 3000], dtype=np.float32)
    water, bone = tissue_fractions(hu, 70.0)
    mu = water * attenuation("water", [70.0])[0] + bone * attenuation("bone", [70.0])[0]
    np.testing.assert_allclose(mu, (1 + hu / 1000) * attenuation("water", [70.0])[0], rtol=1e-6)
    assert water[3] == 1.0 and bone[3] == 0.0 and water[0] == 0.0 and water[-1] == 0.0


@pytest.mark.parametrize(
    "name,at_70_kev",
    [("water", 0.193), ("bone", 0.494), ("Ti-6Al-4V", 2.302), ("CoCrMo", 7.79), ("316L", 6.85)],
)
def test_attenuation_matches_published_values(name: str, at_70_kev: float) -> None:
    assert attenuation(name, [70.0])[0] * 10 == pytest.approx(at_70_kev, rel=2e-3)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"kvp": 75}, "kvp must be one of 70, 80, .*, got 75"),
        ({"photons_per_ray": 0.0}, "photons_per_ray must be positive or null, got 0.0"),
        ({"electronic_noise": -1.0}, "electronic_noise must not be negative"),
        ({"min_counts": 0.0}, "min_counts must be positive"),
        ({"oversampling": 1.5}, "oversampling must be a positive whole number, got 1.5"),
        ({"detector": "film"}, "detector must be one of integrating, counting, got 'film'"),
        ({"filtration_mm": {"Xx": 1.0}}, "material must be one of water, .*, got 'Xx'"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Scanner(**arguments)
