import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Faults, Noise, Optics, Scanner, Scatter, Trace, Tube, Water
from ctmar.physics.materials import attenuation
from ctmar.units import mu_to_hu

GRID, BEAM = ImageGrid((96, 96), 3.6), ParallelBeam(120, 141, 3.6)
MONO: dict = {"tube": Tube(kvp=None), "noise": Noise(None)}


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
    scanner = Scanner(**MONO)
    p = acquire(scanner, BODY).ideal[0]
    s = (torch.arange(141) - 70) * 3.6
    truth = 2 * scanner.mu_water * (120.0**2 - s**2).clamp(min=0).sqrt()
    inner = s.abs() < 80
    torch.testing.assert_close(p[:, inner], truth[inner].expand(120, -1), rtol=3e-3, atol=0)
    assert not torch.allclose(p[:, inner], 1.01 * truth[inner].expand(120, -1), rtol=3e-3, atol=0)


def test_sub_rays_are_averaged_as_intensities() -> None:
    grid, beam = ImageGrid((40, 2), 1.0), ParallelBeam(1, 1, 2.0, angles=(0.0,))
    hu = np.full((1, 40, 2), -1000.0, np.float32)
    hu[..., 0] = 1e4  # half the bin is all but opaque
    scanner = Scanner(**MONO)
    fine = RayTransform(grid, beam.refine(2))
    got = float(scanner.acquire(hu, {}, fine, [np.random.SeedSequence(0)]).ideal)
    opaque = 40 * 11 * scanner.mu_water
    assert got == pytest.approx(-math.log((1 + math.exp(-opaque)) / 2), rel=1e-5)
    assert got < 0.7  # the mean of the two line integrals would be above 4


def test_water_disk_is_flat_after_precorrection_and_cups_without() -> None:
    ray = RayTransform(GRID, BEAM)
    spread = {}
    for corrected in (True, False):
        water = Water(precorrection=corrected)
        scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(None), water=water)
        hu = mu_to_hu(ray.fbp(acquire(scanner, BODY).ideal), scanner.mu_water)[0].numpy()
        r = np.hypot(*np.mgrid[-47.5:48, -47.5:48]) * 3.6
        rings = [hu[(r >= a) & (r < a + 20)].mean() for a in (0, 40, 80)]
        spread[corrected] = max(abs(a - rings[0]) for a in rings)
        if corrected:
            assert max(map(abs, rings)) < 3.0
    assert spread[True] < 2.0 and spread[False] > 10.0


@pytest.mark.parametrize("photons", [1e3, 1e5])
def test_variance_of_line_integrals_is_one_over_detected_photons(photons: float) -> None:
    scanner = Scanner(Tube(kvp=None), Optics(oversampling=1), Noise(photons))
    grid, beam = ImageGrid((100, 400), 1.0), ParallelBeam(200, 390, 1.0, angles=(0.0,) * 200)
    scan = scanner.acquire(
        np.zeros((1, 100, 400), np.float32), {}, RayTransform(grid, beam), [np.random.SeedSequence(3)]
    )
    detected = photons * math.exp(-100 * scanner.mu_water)
    assert detected >= 100
    assert float(scan.measured.double().var()) == pytest.approx(1 / detected, rel=0.03)


def test_starved_rays_stay_finite_at_any_dose() -> None:
    for photons in (1.0, 1e3, 1e9):
        scan = acquire(Scanner(noise=Noise(photons)), BODY, CoCrMo=disk(30.0))
        for field in scan:
            assert field.isfinite().all()


def test_off_the_trace_clean_is_measured_and_on_it_a_draw_of_its_own() -> None:
    scan = acquire(Scanner(), BODY, **SCREW)
    off, on = ~scan.metal_trace, scan.metal_trace
    assert torch.equal(scan.measured[off], scan.clean[off])
    assert 0.01 < on.float().mean() < 0.2
    core = scan.metal_path_mm > 4
    assert (scan.measured[core] > scan.clean[core]).all()
    noise = (scan.clean - scan.ideal)[core]
    assert float(noise.std()) > 0 and abs(float(noise.mean())) < float(noise.std())
    assert scan.metal_path_mm[off].abs().max() == 0
    assert scan.metal_path_mm.max() == pytest.approx(8.0, rel=0.15)


BOWTIE = {"material": "Al", "profile_mm": [[0, 0], [100, 5], [200, 20]]}
SWITCHES: dict[str, dict] = {
    "focal_spot_mm": {"optics": Optics(focal_spot_mm=4.0)},
    "detector_blur_mm": {"optics": Optics(detector_blur_mm=4.0)},
    "scatter": {"scatter": Scatter(0.2, correction=0.8)},
    "current_modulation": {"noise": Noise(current_modulation=0.5)},
    "electronic_noise": {"noise": Noise(electronic_noise=5.0)},
    "saturation": {"noise": Noise(saturation=9.0e5)},
    "bowtie": {"tube": Tube(bowtie=BOWTIE)},
}
EVERYTHING: dict = {
    "tube": Tube(bowtie=BOWTIE),
    "optics": Optics(focal_spot_mm=4.0, detector_blur_mm=4.0),
    "noise": Noise(electronic_noise=5.0, saturation=9.0e5, current_modulation=0.5),
    "scatter": Scatter(0.2, correction=0.8),
}


@pytest.mark.parametrize("switch", [*sorted(SWITCHES), "all"])
def test_with_each_effect_clean_is_measured_off_the_trace(switch: str) -> None:
    scanner = Scanner(**(EVERYTHING if switch == "all" else SWITCHES[switch]))
    scan, plain = acquire(scanner, BODY, **SCREW), acquire(Scanner(), BODY, **SCREW)
    assert torch.equal(scan.measured[~scan.metal_trace], scan.clean[~scan.metal_trace])
    assert all(field.isfinite().all() for field in scan)
    assert not torch.equal(scan.measured, plain.measured)


def test_blur_widens_the_trace_to_where_the_blurred_path_is() -> None:
    sharp, soft = (
        acquire(Scanner(**MONO), BODY, **SCREW),
        acquire(Scanner(**MONO, optics=Optics(detector_blur_mm=8.0)), BODY, **SCREW),
    )
    assert not (sharp.metal_trace & ~soft.metal_trace).any()
    assert soft.metal_trace.sum() > 1.2 * sharp.metal_trace.sum()
    assert soft.metal_path_mm.max() < sharp.metal_path_mm.max()
    torch.testing.assert_close(soft.metal_path_mm.sum(), sharp.metal_path_mm.sum(), rtol=0.03, atol=0)
    # What is left off the trace is what a path of at most epsilon, and the log of a mean, can do.
    left = (soft.measured - soft.ideal).abs()[~soft.metal_trace].max()
    assert float(left) < 0.1 * attenuation("Ti-6Al-4V", [70.0])[0]


def test_metal_replaces_tissue() -> None:
    scan = acquire(Scanner(**MONO), BODY, Ti_6Al_4V=disk(12.0, x_mm=30.0))
    extra = (scan.measured - scan.ideal)[0].sum(-1) * 3.6
    titanium, water = (attenuation(name, [70.0])[0] for name in ("Ti-6Al-4V", "water"))
    area = math.pi * 12.0**2
    # Averaging intensities lowers the line integral of a partly covered bin a little.
    assert float(extra.mean()) == pytest.approx((titanium - water) * area, rel=0.03)
    on_top = acquire(
        Scanner(**MONO, faults=Faults(metal_replaces_tissue=False)), BODY, Ti_6Al_4V=disk(12.0, x_mm=30.0)
    )
    added = (on_top.measured - scan.measured)[0].sum(-1) * 3.6
    assert float(added.mean()) == pytest.approx(water * area, rel=0.06)


def test_ideal_scanner_measures_nothing_behind_metal() -> None:
    scan = acquire(Scanner(**MONO, trace=Trace(measures_metal=False)), BODY, **SCREW)
    assert (scan.measured[scan.metal_trace] == 0).all()
    assert torch.equal(scan.clean, scan.ideal)
    assert torch.equal(scan.measured[~scan.metal_trace], scan.ideal[~scan.metal_trace])


@pytest.mark.parametrize("effects", [{}, EVERYTHING])
def test_a_slice_is_the_same_alone_and_among_others(effects: dict) -> None:
    scanner, hu = Scanner(**effects), np.stack([BODY, BODY + 5, BODY + 9])
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


def test_slice_profile_averages_intensities_over_z() -> None:
    hu = np.stack([BODY, BODY, np.full_like(BODY, -1000.0), BODY, BODY])
    fine = RayTransform(GRID.refine(2), BEAM.refine(2))
    scanner = Scanner(**MONO, optics=Optics(slice_profile=[1, 2, 1]))
    assert scanner.margin_slices == 1 and scanner.slice_profile == (0.25, 0.5, 0.25)
    seeds = [np.random.SeedSequence(n) for n in range(3)]
    metal = {"316L": np.zeros_like(hu)}
    metal["316L"][1] = SCREW["Ti_6Al_4V"]
    scan = scanner.acquire(hu, metal, fine, seeds)
    one = acquire(Scanner(**MONO), BODY).ideal[0]
    torch.testing.assert_close(scan.ideal[1], -torch.log(0.5 + 0.5 * torch.exp(-one)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scan.ideal[0], -torch.log(0.25 + 0.75 * torch.exp(-one)), rtol=1e-4, atol=1e-5)
    # Metal of one slice is seen by its neighbour with the neighbour's share of the path, and by no other.
    peak = [float(x.max()) for x in scan.metal_path_mm]
    assert peak[1] == pytest.approx(peak[0] / 2, rel=1e-4) and peak[2] == 0.0
    with pytest.raises(CtmarError, match="hu must hold 5 slices for 3 seeds, got 4"):
        scanner.acquire(hu[:4], metal, fine, seeds)


def test_saturation_bends_air_and_spares_the_patient() -> None:
    scan = acquire(Scanner(Tube(kvp=None), noise=Noise(1e6, saturation=5e5)), BODY)
    air, inside = scan.ideal[0] == 0, scan.ideal[0] > 1.5
    assert air.any() and (scan.measured[0][air] == pytest.approx(math.log(2.0)))
    plain = acquire(Scanner(Tube(kvp=None), noise=Noise(1e6)), BODY)
    assert torch.equal(scan.measured[0][inside], plain.measured[0][inside])


def test_current_modulation_moves_noise_from_thick_views_to_thin_ones() -> None:
    c = (np.arange(192) - 95.5) * 1.8
    ellipse = 1000 * ((c[None, :] / 160) ** 2 + (c[:, None] / 80) ** 2 < 1).astype(np.float32) - 1000
    spread = {}
    for strength in (0.0, 0.5):
        scan = acquire(Scanner(noise=Noise(1e5, current_modulation=strength)), ellipse)
        error = (scan.measured - scan.ideal)[0]
        # View 0 looks down the short axis, view 60 along the long one.
        spread[strength] = float(error[55:65, 60:80].std()) / float(error[-5:, 60:80].std())
    assert spread[0.0] > 2.0 and 1.0 < spread[0.5] < 0.7 * spread[0.0]


def test_materials_of_ones_own_serve_as_metal_filter_and_replacement() -> None:
    nitinol = {"formula": "NiTi", "density_g_cm3": 6.45}
    scanner = Scanner(**MONO, materials={"NiTi": nitinol, "Ti-6Al-4V": nitinol})
    own, replaced = (acquire(scanner, BODY, **{name: disk(6.0)}) for name in ("NiTi", "Ti_6Al_4V"))
    assert torch.equal(own.measured, replaced.measured)
    assert not torch.equal(acquire(Scanner(**MONO), BODY, Ti_6Al_4V=disk(6.0)).measured, replaced.measured)
    assert Scanner(Tube(filtration_mm={"NiTi": 0.1}), materials={"NiTi": nitinol}).spectrum.weights.sum() > 0
    with pytest.raises(CtmarError, match="material must be one of .*, got 'NiTi'"):
        acquire(Scanner(**MONO), BODY, NiTi=disk(6.0))


@pytest.mark.parametrize("detector", ["flat", "arc"])
def test_a_fan_is_scanned_like_any_other_beam(detector: str) -> None:
    beam = FanBeam(60, 161, 5.0, 570.0, 470.0, detector, det_offset_mm=1.25)
    scanner = Scanner(**EVERYTHING | {"noise": Noise(None)})
    fine = RayTransform(GRID.refine(2), beam.refine(2))
    scan = scanner.acquire(BODY[None], {"316L": SCREW["Ti_6Al_4V"][None]}, fine, [np.random.SeedSequence(0)])
    assert scan.measured.shape == (1, 60, 161) and scan.metal_trace.any()
    assert torch.equal(scan.measured[~scan.metal_trace], scan.clean[~scan.metal_trace])
    # The disk turns under the source without a change, the blur and the bow-tie too.
    torch.testing.assert_close(scan.ideal[0, 0], scan.ideal[0, 17], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "part,arguments,message",
    [
        (Optics, {"oversampling": 1.5}, "oversampling must be a positive whole number, got 1.5"),
        (Optics, {"oversampling": True}, "oversampling must be a positive whole number, got True"),
        (Optics, {"focal_spot_mm": -1.0}, "focal_spot_mm must not be negative, got -1.0"),
        (Optics, {"detector_blur_mm": math.nan}, "detector_blur_mm must not be negative, got nan"),
        (
            Optics,
            {"slice_profile": [1, 1]},
            "slice_profile must hold an odd number of weights from 0 up, got \\[1, 1\\]",
        ),
        (Trace, {"epsilon_mm": 0.0}, "trace.epsilon_mm must be positive, got 0.0"),
        (Trace, {"dilation": -1}, "trace.dilation must be a whole number from 0, got -1"),
        (Tube, {"bowtie": {"material": "Al"}}, "bowtie must have the keys material, profile_mm, got"),
        (Faults, {"shrink": 0.0}, "shrink must be positive, got 0.0"),
        (Faults, {"scatter_photons": -1.0}, "scatter_photons must not be negative, got -1.0"),
    ],
)
def test_a_part_refuses_values_out_of_range(part: type, arguments: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        part(**arguments)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"tube": Tube(kvp=75)}, "kvp must be one of 70, 80, .*, got 75"),
        ({"tube": Tube(detector="film")}, "detector must be one of integrating, counting, got 'film'"),
        ({"tube": Tube(filtration_mm={"Xx": 1.0})}, "material must be one of water, .*, got 'Xx'"),
        (
            {"tube": Tube(bowtie={"material": "Xx", "profile_mm": [[0, 1]]})},
            "material must be one of water, .*, got 'Xx'",
        ),
        ({"materials": {"NiTi": {"formula": "NiTi"}}}, "material NiTi must have density_g_cm3 and either"),
        (
            {"faults": Faults(scatter_photons=20.0), "noise": Noise(None)},
            "scatter_photons needs photons_per_ray, got null",
        ),
        ({"tube": None}, "tube must be a Tube, got None"),
        ({"scatter": None}, "scatter must be a Scatter, got None"),
        ({"noise": {"photons_per_ray": 1e5}}, "noise must be a Noise, got {'photons_per_ray': 100000.0}"),
        ({"water": 3}, "water must be a Water, got 3"),
    ],
)
def test_a_scanner_refuses_parts_that_make_none(arguments: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Scanner(**arguments)
