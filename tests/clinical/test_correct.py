"""Laws of the correction, and what it does to simulated scans from their images alone."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.clinical import METHODS, Classical, MetalRule, SliceCorrector, correct, find_metal
from ctmar.clinical.correct import _resampled
from ctmar.clinical.methods import MU_WATER, Slice, Views
from ctmar.clinical.virtual import padding_mask, trace_of, virtual_ray, without_metal
from ctmar.errors import CtmarError
from ctmar.metrics import near_metal_mask
from ctmar.physics.materials import MATERIALS, attenuation
from ctmar.units import hu_to_mu
from tests.clinical.conftest import SPACING_MM, body, disk

RULE = MetalRule(2500, 2000)
VOXEL = (SPACING_MM, SPACING_MM, 2.0)
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def errors(image: np.ndarray, scan: Scan) -> float:
    """RMSE in HU near metal."""
    near = near_metal_mask(
        torch.from_numpy(body() > -500), torch.from_numpy(scan[2] > 0.1), SPACING_MM
    ).numpy()
    return float(np.sqrt(np.mean((image - scan[1])[near] ** 2)))


def test_water_attenuates_as_the_tables_say() -> None:
    assert pytest.approx(float(attenuation(MATERIALS["water"], np.array([70.0]))[0]), rel=1e-3) == MU_WATER


@pytest.mark.parametrize("method", METHODS)
def test_near_metal_the_error_falls(method: str, with_rods: Scan) -> None:
    stored = with_rods[0]
    corrected = correct(stored[None], VOXEL, method=method)[0]
    # Behind a centimetre of steel hardly a photon is left for the beam-hardening correction to work with.
    least = 1.0 if method == "mbhc" else 0.7
    assert errors(corrected, with_rods) < least * errors(stored, with_rods)


def test_slices_without_metal_and_metal_itself_stay_bit_for_bit(with_rods: Scan) -> None:
    stored = with_rods[0].astype(np.float32)
    plain = body().astype(np.float32)
    volume = np.stack([plain, stored, plain])
    before = volume.copy()
    corrected = correct(volume, VOXEL, rule=RULE)
    metal = find_metal(stored, SPACING_MM**2, RULE)
    assert np.array_equal(volume, before)
    assert np.array_equal(corrected[0], plain) and np.array_equal(corrected[2], plain)
    assert metal.any() and np.array_equal(corrected[1][metal], stored[metal])
    assert not np.array_equal(corrected[1][~metal], stored[~metal])


class Known:
    """Completes the trace with line integrals that it is given."""

    name, slices = "known", 1

    def __init__(self, add: Tensor | float) -> None:
        self.add = add

    def complete(self, window: Sequence[Slice], views: Views) -> Tensor:
        return views.bare + self.add

    def finish(self, corrected_hu: Tensor, image: Slice, spacing_mm: float) -> Tensor:
        return corrected_hu


def changed(image: np.ndarray, metal: np.ndarray, add: Tensor | float) -> np.ndarray:
    corrector = SliceCorrector(image.shape, (SPACING_MM, SPACING_MM), Known(add))
    return corrector.correct([image.astype(np.float32)], [metal]).image_hu - image


def test_a_completion_that_changes_nothing_leaves_all_but_the_metal_as_it_was() -> None:
    image, metal = body(), disk(20, 10, 7) > 0.5
    image[metal] = 3000
    assert np.abs(changed(image, metal, 0.0)).max() == 0


def test_twice_the_change_of_the_trace_is_twice_the_change_of_the_image() -> None:
    image, metal = body(), disk(20, 10, 7) > 0.5
    one, two = changed(image, metal, 0.01), changed(image, metal, 0.02)
    assert np.abs(one).max() > 1
    # Stored values reach 1000 HU in single precision: 1e-4 HU a rounding.
    np.testing.assert_allclose(two, 2 * one, atol=2e-3)


def test_reprojecting_the_change_finds_it_on_the_trace_alone(with_rods: Scan) -> None:
    stored = with_rods[0].astype(np.float32)
    metal = find_metal(stored, SPACING_MM**2, RULE)
    change = correct(stored[None], VOXEL, rule=RULE, method="nmar")[0] - stored
    ray = virtual_ray(stored.shape, SPACING_MM)
    trace = trace_of(ray.forward(torch.from_numpy(metal).float()))
    seen = ray.forward(torch.from_numpy(change) * (MU_WATER / 1000))
    on, off = (float(seen[mask].square().mean().sqrt()) for mask in (trace, ~trace))
    # What a sinogram with edges loses when it is reconstructed and projected again on the same sampling.
    assert on > 0.05 and off < 0.12 * on
    # The control: a change of other rays is found there.
    other = ray.forward(torch.from_numpy(np.roll(change, 25, axis=0)) * (MU_WATER / 1000))
    assert float(other[~trace].square().mean().sqrt()) > 0.3 * on


def test_it_equals_the_plain_formula_but_for_the_metals_edge(with_rods: Scan) -> None:
    """``stored + FBP(ŷ - p)`` with all of the metal in ``p``; that is as sharp as its edge allows."""
    stored = torch.from_numpy(with_rods[0]).float()
    metal = torch.from_numpy(find_metal(with_rods[0], SPACING_MM**2, RULE))
    ray = virtual_ray(tuple(stored.shape), SPACING_MM)
    path = ray.forward(metal.float())
    views = Views(ray.forward(hu_to_mu(without_metal(stored, metal), MU_WATER)), trace_of(path), path, ray)
    image = Slice(stored, metal)
    y = Classical("nmar").complete([image], views)
    plain = stored + ray.fbp(torch.where(views.trace, y - views.measured(image), 0.0)) * 1000 / MU_WATER
    here = correct(with_rods[0][None], VOXEL, rule=RULE, method="nmar")[0]
    far = disk(-28, -10, 20) + disk(32, -14, 20) == 0
    assert float(np.abs(plain.numpy() - here)[far].mean()) < 20  # of metal of 20,000 HU
    assert errors(here, with_rods) < errors(plain.numpy(), with_rods)


def test_padding_is_neither_read_nor_written(with_rods: Scan) -> None:
    stored = with_rods[0].astype(np.float32)
    circle = disk(0, 0, 110) > 0
    images = [np.where(circle, stored, np.float32(value)) for value in (-1500, -3024)]
    corrected = [correct(image[None], VOXEL, rule=RULE)[0] for image in images]
    assert np.array_equal(padding_mask(images[0]), ~circle)
    for image, out in zip(images, corrected, strict=True):
        assert np.array_equal(out[~circle], image[~circle])
    assert np.array_equal(corrected[0][circle], corrected[1][circle])


def test_dark_streaks_are_no_padding() -> None:
    image = body()
    image[:3] = np.random.default_rng(0).normal(-1600, 50, (3, image.shape[1]))
    assert not padding_mask(image).any()


def test_a_body_cut_by_the_field_of_view_is_corrected_all_the_same(with_rods: Scan) -> None:
    cut = slice(22, 90)
    stored, reference, share = (image[cut, cut] for image in with_rods)
    corrected = correct(stored[None], VOXEL, rule=RULE, method="nmar")[0]
    near = near_metal_mask(
        torch.ones(stored.shape, dtype=torch.bool), torch.from_numpy(share > 0.1), SPACING_MM
    )
    before, after = (np.sqrt(np.mean((x - reference)[near.numpy()] ** 2)) for x in (stored, corrected))
    assert after < 0.8 * before


def test_pixels_that_are_not_square_change_little(with_rods: Scan) -> None:
    stored = with_rods[0].astype(np.float32)
    tall = _resampled(stored, (84, 112))
    corrected = correct(tall[None], (SPACING_MM, SPACING_MM * 112 / 84, 2.0), rule=RULE, method="nmar")[0]
    assert errors(_resampled(corrected, (112, 112)), with_rods) < 0.8 * errors(
        _resampled(tall, (112, 112)), with_rods
    )


def test_methods_disagree_near_metal_most(with_rods: Scan) -> None:
    stored = with_rods[0].astype(np.float32)
    metal = find_metal(stored, SPACING_MM**2, RULE)
    corrector = SliceCorrector(stored.shape, (SPACING_MM, SPACING_MM))
    spread = corrector.correct([stored], [metal], with_spread=True).spread_hu
    assert spread is not None and (spread[metal] == 0).all()
    near, far = disk(0, -12, 45) > 0, (disk(0, 0, 90) > 0) & (disk(0, -12, 70) == 0)
    assert spread[near & ~metal].mean() > 2 * spread[far].mean() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "method must be one of li, nmar"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "pixel spacing must be positive"),
        ({"volume_hu": np.zeros((8, 8))}, "slice, row and column"),
        ({"volume_hu": np.full((1, 8, 8), np.nan)}, "finite, got 64 NaN"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    arguments = {"volume_hu": np.zeros((1, 8, 8)), "spacing_mm": (1.0, 1.0, 1.0)} | change
    with pytest.raises(CtmarError, match=message):
        correct(**arguments)
