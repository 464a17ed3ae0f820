"""Methods without weights go the same way as the networks."""

import pytest
import torch

from ctmar.completion import hardening_corrected, linear_interpolation, nmar, tv_completion
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models.classical import (
    FSNMAR,
    LI,
    NMAR,
    FillCompletion,
    HardeningCorrection,
    TVCompletion,
    Uncorrected,
)
from ctmar.models.completion import UNetCompletion
from ctmar.operators import RayTransform
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu

GRID, BEAM, MU_WATER = ImageGrid((48, 48), 4.0), ParallelBeam(48, 69, 4.0), 0.02


@pytest.fixture(scope="module")
def scan() -> MARSample:
    """Two cases of a disk with a bone and a metal rod, 3 slices each, and beam hardening behind the metal."""
    ray = RayTransform(GRID, BEAM)
    y, x = torch.meshgrid(*2 * [(torch.arange(48) - 23.5) * 4], indexing="ij")
    body, bone = x**2 + y**2 < 75**2, (x**2 + (y - 25) ** 2) < 20**2
    image = MU_WATER * (body.float() + 0.6 * bone)
    image = image.expand(2, 3, 48, 48).clone()
    image[1] *= 1.05
    metal = ((x - 12) ** 2 + (y - 10) ** 2 < 64).expand(2, 3, 48, 48).clone()
    path = ray.forward(metal.float())
    trace, clean = path > 0.1, ray.forward(image)
    measured = torch.where(trace, clean + 0.2 * path - 0.002 * path**2, clean)
    return MARSample(
        measured=measured,
        clean=clean,
        metal_trace=trace,
        metal_path_mm=torch.where(trace, path, 0.0),
        fills={},
        reference_hu=mu_to_hu(ray.fbp(clean), MU_WATER),
        metal_mask=metal,
        body_mask=body.expand(2, 3, 48, 48),
        tissue_labels=torch.zeros(2, 3, 48, 48, dtype=torch.uint8),
        mu_water=torch.full((2,), MU_WATER),
        case_id=["test-0", "test-1"],
        parameters=[{}, {}],
    )


def models() -> dict:
    prior = NMAR(GRID, BEAM)
    return {
        "li": LI(),
        "nmar": prior,
        "fsnmar": FSNMAR(grid=GRID, beam=BEAM),
        "mbhc": HardeningCorrection(prior),
        "tv": TVCompletion(prior, GRID, BEAM, steps=2),
    }


@pytest.mark.parametrize("name", ["li", "nmar", "fsnmar", "mbhc", "tv"])
def test_off_the_trace_bits_are_untouched_and_the_trace_gains(scan, name: str) -> None:
    completed = models()[name].complete(scan)
    off = ~scan.metal_trace
    assert completed.shape == scan.measured.shape and torch.isfinite(completed).all()
    assert torch.equal(completed[off], scan.measured[off])
    error, before = (((p - scan.clean)[scan.metal_trace]).square().mean() for p in (completed, scan.measured))
    assert error < 0.2 * before


@pytest.mark.parametrize("name", ["li", "nmar", "fsnmar", "mbhc", "tv"])
def test_a_case_is_completed_the_same_alone_and_in_a_batch(scan, name: str) -> None:
    model = models()[name]
    fields = {key: value[1:] for key, value in scan._asdict().items() if not isinstance(value, dict)}
    alone = model.complete(scan._replace(**fields))
    torch.testing.assert_close(alone, model.complete(scan)[1:], rtol=1e-5, atol=1e-5)


def test_models_are_the_pure_functions(scan) -> None:
    ray, made = RayTransform(GRID, BEAM), models()
    p, trace = scan.measured, scan.metal_trace
    given = nmar(p, trace, scan.metal_mask, ray, MU_WATER)
    assert torch.equal(made["li"].complete(scan), linear_interpolation(p, trace))
    torch.testing.assert_close(made["nmar"].complete(scan), given)
    torch.testing.assert_close(
        made["mbhc"].complete(scan), hardening_corrected(p, given, scan.metal_path_mm, trace)
    )
    expected = tv_completion(p, trace, ray, MU_WATER, given, steps=2)
    torch.testing.assert_close(made["tv"].complete(scan), expected, rtol=1e-4, atol=1e-4)


def test_correction_by_what_was_measured_beats_its_fill_and_the_frequency_split_sharpens(scan) -> None:
    made, ray = models(), RayTransform(GRID, BEAM)
    trace = scan.metal_trace
    errors = {n: (made[n].complete(scan) - scan.clean)[trace].square().mean() for n in ("nmar", "mbhc")}
    assert errors["mbhc"] < 0.8 * errors["nmar"]
    image = made["fsnmar"].image_hu(scan)
    plain = mu_to_hu(ray.fbp(made["nmar"].complete(scan)), MU_WATER)
    assert image.shape == scan.reference_hu.shape
    changed = (image - plain).abs()
    assert changed[..., 20:30, 20:30].mean() > 10 * changed[..., :6, :].mean()


def test_a_sample_of_another_geometry_is_refused(scan) -> None:
    with pytest.raises(CtmarError, match=r"sinograms of \(48, 69\) and images of \(48, 48\), got \(48, 65\)"):
        NMAR(GRID, BEAM).complete(
            scan._replace(
                **{
                    name: getattr(scan, name)[..., :65]
                    for name in ("measured", "clean", "metal_trace", "metal_path_mm")
                }
            )
        )


def test_options_that_cannot_be_are_refused(scan) -> None:
    with pytest.raises(CtmarError, match="split_mm must be positive, got 0"):
        FSNMAR(split_mm=0, grid=GRID, beam=BEAM)
    with pytest.raises(CtmarError, match="segmentation must be one of"):
        NMAR(GRID, BEAM, segmentation="otsu").complete(scan)


def test_a_noise_free_scanner_has_no_number_of_photons(scan) -> None:
    assert torch.isfinite(HardeningCorrection(LI(), photons_per_ray=None).complete(scan)).all()


def test_uncorrected_returns_what_was_measured(make_sample) -> None:
    sample = make_sample(slices=3)
    assert torch.equal(Uncorrected().complete(sample), sample.measured)


@pytest.mark.parametrize("name", ["li", "nmar"])
def test_fill_is_a_method_of_its_own(make_sample, name: str) -> None:
    sample = make_sample()
    assert torch.equal(FillCompletion(name).complete(sample), sample.fills[name])


def test_fill_with_a_fault_off_the_trace_cannot_change_what_was_measured(make_sample) -> None:
    sample = make_sample()
    faulty = sample._replace(fills={"li": sample.fills["li"] + 1})
    completed = FillCompletion("li").complete(faulty)
    off = ~sample.metal_trace
    assert torch.equal(completed[off], sample.measured[off])


def test_absent_fill_and_unknown_name_are_named(make_sample) -> None:
    sample = make_sample()._replace(fills={})
    with pytest.raises(CtmarError, match="must hold the fill 'li', got none"):
        FillCompletion("li").complete(sample)
    with pytest.raises(CtmarError, match="name must be one of zero, li, nmar, got 'spline'"):
        FillCompletion("spline")


def test_only_networks_are_trainable() -> None:
    assert not any(model.trainable for model in (Uncorrected(), FillCompletion("li"), LI()))
    assert UNetCompletion(channels=[8, 8]).trainable
    assert Uncorrected().configure_optimizers() is None
