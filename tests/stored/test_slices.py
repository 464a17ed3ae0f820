"""Laws of the correction, and what it does to simulated scans from their images alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.clinical import STORED, MetalRule, SliceCorrector, correct, find_metal
from ctmar.errors import CtmarError
from ctmar.methods import NMAR, Method
from ctmar.metrics import near_metal_mask
from ctmar.stored import MU_WATER, stored_scan
from ctmar.stored.corrected import Corrected
from ctmar.stored.padding import padding_mask
from ctmar.stored.slices import _resampled, corrected_slices
from ctmar.stored.virtual import trace_of, virtual_ray
from tests.stored_images import SPACING_MM, body, disk

RULE = MetalRule(2500, 2000)
VOXEL = (SPACING_MM, SPACING_MM, 2.0)
Stored = tuple[np.ndarray, np.ndarray, np.ndarray]


def errors(image: np.ndarray, scan: Stored) -> float:
    """RMSE in HU near metal."""
    near = near_metal_mask(
        torch.from_numpy(body() > -500), torch.from_numpy(scan[2] > 0.1), SPACING_MM
    ).numpy()
    return float(np.sqrt(np.mean((image - scan[1])[near] ** 2)))


def put_back(stored: np.ndarray) -> np.ndarray:
    """What of the bright pixels of a slice is put back as metal."""
    metal = next(corrected_slices(stored[None], VOXEL, "li", RULE)).metal
    assert metal.any() and not (metal & ~find_metal(stored, SPACING_MM**2, RULE)).any()
    return metal


@pytest.mark.parametrize("method", STORED)
def test_near_metal_the_error_falls(method: str, with_rods: Stored) -> None:
    stored = with_rods[0]
    corrected = correct(stored[None], VOXEL, method=method)[0]
    # Behind a centimetre of steel hardly a photon is left for the beam-hardening correction to work with.
    least = 1.0 if method == "mbhc" else 0.7
    assert errors(corrected, with_rods) < least * errors(stored, with_rods)


def test_slices_without_metal_and_metal_itself_stay_bit_for_bit(with_rods: Stored) -> None:
    stored = with_rods[0].astype(np.float32)
    plain = body().astype(np.float32)
    volume = np.stack([plain, stored, plain])
    before = volume.copy()
    corrected = correct(volume, VOXEL, rule=RULE)
    metal = put_back(stored)
    assert np.array_equal(volume, before)
    assert np.array_equal(corrected[0], plain) and np.array_equal(corrected[2], plain)
    assert np.array_equal(corrected[1][metal], stored[metal])
    assert not np.array_equal(corrected[1][~metal], stored[~metal])


class Known(Method):
    """Completes the trace with line integrals that it is given."""

    name = "known"

    def __init__(self, sinogram: Tensor) -> None:
        self.sinogram = sinogram

    def trace(self, scan: Scan) -> Tensor:
        return self.sinogram.expand(scan.measured.shape)


def changed(image: np.ndarray, metal: np.ndarray, add: Tensor | float) -> np.ndarray:
    """What comes of line integrals that lie ``add`` above those of the image without its metal; not in it."""
    stored, spacing = image.astype(np.float32), (SPACING_MM, SPACING_MM)
    ray = virtual_ray(stored.shape, SPACING_MM)
    bare = stored_scan(torch.from_numpy(stored)[None], torch.from_numpy(metal)[None], ray).bare
    outcome = SliceCorrector(stored.shape, spacing, Known(bare + add)).correct([stored], [metal])
    assert not (outcome.metal & ~metal).any()
    return np.where(metal, 0.0, outcome.image_hu - image)


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


def test_reprojecting_the_change_finds_it_on_the_trace_alone(with_rods: Stored) -> None:
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
    assert float(other[~trace].square().mean().sqrt()) > 0.25 * on


def test_it_equals_the_plain_formula_but_for_the_metals_edge(with_rods: Stored) -> None:
    """``stored + FBP(ŷ - p)`` with all of the metal in ``p``; that is as sharp as its edge allows."""
    stored = torch.from_numpy(with_rods[0]).float()
    metal = torch.from_numpy(find_metal(with_rods[0], SPACING_MM**2, RULE))
    ray = virtual_ray(tuple(stored.shape), SPACING_MM)
    scan = stored_scan(stored[None], metal[None], ray, clipped=True).scan
    y = NMAR().complete(scan).sinogram
    plain = stored + ray.fbp(y - scan.measured)[0, 0] * 1000 / MU_WATER
    here = correct(with_rods[0][None], VOXEL, rule=RULE, method="nmar")[0]
    far = disk(-28, -10, 20) + disk(32, -14, 20) == 0
    assert float(np.abs(plain.numpy() - here)[far].mean()) < 20  # of metal of 20,000 HU
    assert errors(here, with_rods) < errors(plain.numpy(), with_rods)


def test_padding_is_neither_read_nor_written(with_rods: Stored) -> None:
    stored = with_rods[0].astype(np.float32)
    circle = disk(0, 0, 110) > 0
    images = [np.where(circle, stored, np.float32(value)) for value in (-1500, -3024)]
    corrected = [correct(image[None], VOXEL, rule=RULE)[0] for image in images]
    assert np.array_equal(padding_mask(images[0]), ~circle)
    for image, out in zip(images, corrected, strict=True):
        assert np.array_equal(out[~circle], image[~circle])
    assert np.array_equal(corrected[0][circle], corrected[1][circle])


def test_a_body_cut_by_the_field_of_view_is_corrected_all_the_same(with_rods: Stored) -> None:
    cut = slice(22, 90)
    stored, reference, share = (image[cut, cut] for image in with_rods)
    corrected = correct(stored[None], VOXEL, rule=RULE, method="nmar")[0]
    near = near_metal_mask(
        torch.ones(stored.shape, dtype=torch.bool), torch.from_numpy(share > 0.1), SPACING_MM
    )
    before, after = (np.sqrt(np.mean((x - reference)[near.numpy()] ** 2)) for x in (stored, corrected))
    assert after < 0.8 * before


def test_pixels_that_are_not_square_change_little(with_rods: Stored) -> None:
    stored = with_rods[0].astype(np.float32)
    tall = _resampled(stored, (84, 112))
    corrected = correct(tall[None], (SPACING_MM, SPACING_MM * 112 / 84, 2.0), rule=RULE, method="nmar")[0]
    assert errors(_resampled(corrected, (112, 112)), with_rods) < 0.8 * errors(
        _resampled(tall, (112, 112)), with_rods
    )


def test_methods_disagree_near_metal_most(with_rods: Stored) -> None:
    stored = with_rods[0].astype(np.float32)
    metal = find_metal(stored, SPACING_MM**2, RULE)
    corrector = SliceCorrector(stored.shape, (SPACING_MM, SPACING_MM))
    spread = corrector.correct([stored], [metal], with_spread=True).spread_hu
    assert spread is not None and (spread[put_back(stored)] == 0).all()
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


class Mine(Method):
    """A method of one's own: ``trace`` alone, which knows nothing off the trace."""

    def trace(self, scan: Scan) -> Tensor:
        return torch.where(scan.metal_trace, scan.fills["nmar"] + 0.05, float("nan"))


class Namesake(Mine):
    """Of the name of a completion that is at hand."""

    name = "nmar"


class Heir(NMAR):
    """NMAR with something added, which keeps its name."""

    def trace(self, scan: Scan) -> Tensor:
        return super().trace(scan) + 0.05


@pytest.mark.parametrize("kind", [Mine, Namesake, Heir])
def test_a_method_of_ones_own_is_asked(kind: type[Method], with_rods: Stored) -> None:
    volume = np.stack([body(), with_rods[0]]).astype(np.float32)
    mine, by_name = (correct(volume, VOXEL, method=method, rule=RULE) for method in (kind(), "nmar"))
    assert np.isfinite(mine).all() and np.array_equal(mine[0], volume[0])
    metal = put_back(with_rods[0])
    assert np.array_equal(mine[1][metal], volume[1][metal])
    assert np.abs(mine[1] - by_name[1]).max() > 1


class Above(Method):
    """Needs three slices, and completes each with what lies on the trace of the one before it."""

    name, slices = "above", 3

    def trace(self, scan: Scan) -> Tensor:
        assert scan.slices == 3
        return scan.measured.roll(1, 1)


def test_a_method_of_three_slices_sees_the_neighbours_and_the_ends_again(with_rods: Stored) -> None:
    first, last = with_rods[0].astype(np.float32), (with_rods[0] - 30).astype(np.float32)
    seen: list[Scan] = []

    class Spy(Above):
        def trace(self, scan: Scan) -> Tensor:
            seen.append(scan)
            return super().trace(scan)

    corrected = correct(np.stack([first, last]), VOXEL, method=Spy(), rule=RULE)
    ray = virtual_ray(first.shape, SPACING_MM)
    metals = [torch.from_numpy(find_metal(x, SPACING_MM**2, RULE)) for x in (first, last)]
    alone = [
        stored_scan(torch.from_numpy(x)[None], metal[None], ray).scan.measured[0, 0]
        for x, metal in zip((first, last), metals, strict=True)
    ]
    assert len(seen) == 2
    for scan, order in zip(seen, ((0, 0, 1), (0, 1, 1)), strict=True):
        assert all(torch.equal(scan.measured[0, k], alone[n]) for k, n in enumerate(order))
    assert not np.array_equal(corrected[1], last)


def test_one_slice_of_three_is_corrected_as_it_is_alone(with_rods: Stored) -> None:
    stored = with_rods[0].astype(np.float32)
    metal = find_metal(stored, SPACING_MM**2, RULE)
    corrector = SliceCorrector(stored.shape, (SPACING_MM, SPACING_MM), "nmar")
    alone: Corrected = corrector.correct([stored], [metal])
    among = corrector.correct([stored * 0.9, stored, stored * 1.1], [metal] * 3)
    assert np.array_equal(alone.image_hu, among.image_hu) and np.array_equal(alone.metal, among.metal)
