"""Methods without weights go the same way as the networks."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from ctmar.case import Case, Scan
from ctmar.errors import CtmarError
from ctmar.methods import (
    FSNMAR,
    LI,
    MBHC,
    NMAR,
    TV,
    Method,
    Uncorrected,
    Zero,
    hardening_corrected,
    linear_interpolation,
    tv_completion,
)
from ctmar.methods.nmar import nmar
from ctmar.operators import RayTransform
from tests.methods.disk import GRID, MU_WATER, disk_case

MODELS: dict[str, Method] = {
    "li": LI(),
    "nmar": NMAR(),
    "fsnmar": FSNMAR(),
    "mbhc": MBHC(),
    "tv": TV(steps=2),
}


@pytest.fixture(scope="module")
def case() -> Case:
    return disk_case()


@pytest.fixture
def scan(case: Case) -> Scan:
    return case.scan


@pytest.fixture
def clean(case: Case) -> torch.Tensor:
    return case.truth.clean


@pytest.mark.parametrize("name", MODELS)
def test_off_the_trace_bits_are_untouched_and_the_trace_gains(scan, clean, name: str) -> None:
    completed = MODELS[name].complete(scan).sinogram
    off = ~scan.metal_trace
    assert completed.shape == scan.measured.shape and torch.isfinite(completed).all()
    assert torch.equal(completed[off], scan.measured[off])
    error, before = (((p - clean)[scan.metal_trace]).square().mean() for p in (completed, scan.measured))
    assert error < 0.2 * before


@pytest.mark.parametrize("name", MODELS)
def test_a_case_is_completed_the_same_alone_and_in_a_batch(scan, name: str) -> None:
    alone = MODELS[name].complete(scan.one(1)).sinogram
    torch.testing.assert_close(alone, MODELS[name].complete(scan).sinogram[1:], rtol=1e-5, atol=1e-5)


def test_models_are_the_pure_functions(scan) -> None:
    found = {name: method.complete(scan).sinogram for name, method in MODELS.items()}
    p, trace = scan.measured, scan.metal_trace
    given = nmar(p, trace, scan.metal_mask, scan.ray, MU_WATER)
    assert torch.equal(found["li"], linear_interpolation(p, trace))
    torch.testing.assert_close(found["nmar"], given)
    torch.testing.assert_close(found["mbhc"], hardening_corrected(p, given, scan.metal_path_mm, trace))
    expected = tv_completion(p, trace, scan.ray, MU_WATER, given, steps=2)
    torch.testing.assert_close(found["tv"], expected, rtol=1e-4, atol=1e-4)


def test_correction_by_what_was_measured_beats_its_fill_and_the_frequency_split_sharpens(scan, clean) -> None:
    found = {name: MODELS[name].complete(scan).sinogram for name in ("nmar", "mbhc", "fsnmar")}
    errors = {n: (p - clean)[scan.metal_trace].square().mean() for n, p in found.items()}
    assert errors["mbhc"] < 0.8 * errors["nmar"]
    plain, uncorrected = scan.image_hu(found["nmar"]), scan.image_hu(scan.measured)
    assert torch.equal(found["fsnmar"], found["nmar"])
    image = MODELS["fsnmar"].finish(scan, plain, uncorrected)
    assert image.shape == plain.shape
    changed = (image - plain).abs()
    assert changed[..., 20:30, 20:30].mean() > 10 * changed[..., :6, :].mean()


def test_the_frequency_split_alone_has_an_image_of_its_own(scan) -> None:
    assert {name for name, method in MODELS.items() if method.own_image} == {"fsnmar"}
    image = torch.zeros(2, 3, *GRID.shape)
    assert all(m.finish(scan, image, image + 1) is image for m in MODELS.values() if not m.own_image)


def test_a_method_of_projections_takes_lengths_from_the_scans_own_grid(scan) -> None:
    # A published protocol shrinks its patients: the same pixels, other millimetres.
    def shrunk(by: float) -> Scan:
        grid = replace(scan.ray.grid, spacing_mm=by * scan.ray.grid.spacing_mm)
        beam = replace(scan.ray.beam, det_spacing_mm=by * scan.ray.beam.det_spacing_mm)
        return replace(scan, ray=RayTransform(grid, beam), mu_water=scan.mu_water / by)

    before, after = (NMAR(smoothing_mm=0).complete(s).sinogram for s in (scan, shrunk(0.5)))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    blurred = NMAR().complete(shrunk(0.5)).sinogram
    assert not torch.allclose(blurred, NMAR().complete(scan).sinogram, rtol=1e-4, atol=1e-4)


def test_options_that_cannot_be_are_refused(scan) -> None:
    with pytest.raises(CtmarError, match="split_mm must be positive, got 0"):
        FSNMAR(split_mm=0)
    with pytest.raises(CtmarError, match="segmentation must be one of"):
        NMAR(segmentation="otsu").complete(scan)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="steps"):
        MODELS["tv"].steps = 3  # type: ignore[attr-defined]


def test_a_noise_free_scanner_has_no_number_of_photons(scan) -> None:
    assert torch.isfinite(MBHC(fill=LI(), photons_per_ray=None).complete(scan).sinogram).all()


def test_uncorrected_returns_what_was_measured(make_case) -> None:
    scan = make_case(slices=3).scan
    assert torch.equal(Uncorrected().complete(scan).sinogram, scan.measured)


def test_zero_is_zero_on_the_trace(make_case) -> None:
    scan = make_case().scan
    completed = Zero().complete(scan).sinogram
    assert torch.equal(completed, torch.where(scan.metal_trace, 0.0, scan.measured))


@pytest.mark.parametrize("method", [LI(), NMAR()], ids=lambda method: method.name)
def test_a_fill_at_hand_is_taken_by_what_builds_on_it(make_case, method: Method) -> None:
    scan = make_case().scan
    given = TV(start=method, steps=1)
    moved = replace(scan, fills={method.name: scan.fills[method.name] + scan.metal_trace})
    assert not torch.equal(given.complete(scan).sinogram, given.complete(moved).sinogram)
    other = replace(scan, fills={"other": moved.fills[method.name]})
    assert torch.equal(given.complete(other).sinogram, given.complete(replace(scan, fills={})).sinogram)


@pytest.mark.parametrize("method", [TV(start=LI(), steps=1), MBHC(fill=LI()), NMAR()], ids=lambda m: m.name)
def test_fill_with_a_fault_off_the_trace_cannot_change_what_was_measured(make_case, method: Method) -> None:
    scan = make_case().scan
    completed = method.complete(replace(scan, fills={"li": scan.fills["li"] + 1})).sinogram
    off = ~scan.metal_trace
    assert torch.equal(completed[off], scan.measured[off])
