"""The figures of a case: composites by hand; every one under a wrong mask, a wrong range, and alone."""

import math
from dataclasses import replace

import pytest
import torch

from ctmar.metrics import (
    CHANGE_METRICS,
    IMAGE_METRICS,
    METAL_METRICS,
    REGION_METRICS,
    TEXTURE_METRICS,
    Truth,
    change_metrics,
    image_metrics,
    region_metrics,
    texture_metrics,
)

EVERY = (*IMAGE_METRICS, *REGION_METRICS, *TEXTURE_METRICS, *CHANGE_METRICS)
SIZE = 80


def box(rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[0, rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


METAL = box((26, 63), (31, 34))
BONE = box((20, 56), (30, 50)) & ~box((38, 50), (34, 46))


@pytest.fixture(scope="module")
def truth() -> Truth:
    """80 mm at 1 mm: a vertebra with its canal, a screw in its side, lung before, fat and muscle behind."""
    hu = torch.full((1, SIZE, SIZE), 40.0)
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    for mask, value, number in (
        (BONE, 400.0, 31),
        (box((2, 12), (10, 30)), -800.0, 10),
        (box((56, 61), (10, 70)), -100.0, 0),
        (box((61, 72), (10, 70)), 50.0, 86),
    ):
        hu[mask], labels[mask] = value, number
    noise = torch.randn(hu.shape, generator=torch.Generator().manual_seed(9))
    body = box((1, 79), (1, 79))
    return Truth(hu, hu + 5 * noise, hu + 60 * noise, METAL, body, labels, 1.0)


def figures(images: torch.Tensor, truth: Truth) -> dict[str, torch.Tensor]:
    """Every figure of images ``(method, slice, row, column)`` that show their own metal."""
    masks = truth.metal_mask, truth.body_mask
    found = image_metrics(images, truth.reference_hu, *masks, truth.spacing_mm)
    shown = torch.zeros(len(images), dtype=torch.bool)
    return (
        found
        | region_metrics(images, truth)
        | texture_metrics(images, truth, shown, found["ssim_aapm"])
        | change_metrics(images, truth)
    )


@pytest.fixture(scope="module")
def images(truth: Truth) -> torch.Tensor:
    """Three corrections: noise, a streak, and a screw that is shown short and thick."""
    out = []
    for n in range(3):
        image = truth.reference_hu + 30 * torch.randn(
            truth.reference_hu.shape, generator=torch.Generator().manual_seed(n)
        )
        image[0, 30 + n] += 80.0 * (n + 1)
        image[box((30 + n, 63), (31 - n, 34))] = 9000.0
        out.append(image)
    return torch.stack(out)


@pytest.fixture(scope="module")
def measured(images: torch.Tensor, truth: Truth) -> dict[str, torch.Tensor]:
    return figures(images, truth)


def test_the_phantom_has_all_that_is_measured(measured) -> None:
    assert set(measured) == set(EVERY)
    assert not [name for name, values in measured.items() if not torch.isfinite(values).all()]


@pytest.mark.parametrize("n", range(3))
def test_an_image_alone_is_scored_as_among_others(n: int, images, truth, measured) -> None:
    alone = figures(images[n : n + 1], truth)
    for name in EVERY:
        assert alone[name].shape == (1, 1) and alone[name].dtype == torch.float64, name
        torch.testing.assert_close(alone[name], measured[name][n : n + 1], msg=name)


@pytest.fixture(scope="module")
def elsewhere(images, truth) -> dict[str, torch.Tensor]:
    """Figures with the metal's mask in a wrong place, over the lung, bone and muscle."""
    metal = METAL.roll((-18, -6), (-2, -1)) | box((40, 70), (50, 54))
    return figures(images, replace(truth, metal_mask=metal))


@pytest.fixture(scope="module")
def rescaled(images, truth) -> dict[str, torch.Tensor]:
    """Figures of images whose HU were stored with another scale and origin."""
    return figures(images / 8 + 1024, truth)


@pytest.mark.parametrize("name", EVERY)
def test_a_wrong_mask_gives_another_figure(name: str, measured, elsewhere) -> None:
    assert not torch.allclose(measured[name], elsewhere[name], rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_a_wrong_range_gives_another_figure(name: str, measured, rescaled) -> None:
    same = torch.allclose(measured[name], rescaled[name], rtol=1e-4, equal_nan=True)
    # A ratio of contrast and noise has no range to be wrong in.
    assert same == (name == "cnr_muscle_fat")


def test_the_truth_itself_has_no_error(truth) -> None:
    perfect = torch.where(METAL, 9000.0, truth.reference_hu)
    found = figures(torch.stack([perfect]), replace(truth, clean_hu=truth.reference_hu))
    errors = [n for n in EVERY if n.startswith(("rmse", "mae", "bias", "streak")) or n.endswith("_error")]
    errors += ["noise_error_hu", "dssim_aapm", "artifact_index_hu", "screw_tip_error_mm"]
    errors += ["screw_diameter_error_mm"]
    assert {name: float(found[name]) for name in errors} == pytest.approx(
        dict.fromkeys(errors, 0.0), abs=1e-9
    )
    assert float(found["bone_dice"]) == float(found["metal_dice"]) == 1.0


def test_composites_by_hand(truth) -> None:
    flat = torch.full((1, SIZE, SIZE), 40.0)
    bone = box((20, 40), (20, 30))
    flat[bone] = 400.0
    metal = box((20, 36), (10, 14))
    plain = Truth(flat, flat, flat, metal, box((0, SIZE), (0, SIZE)), truth.tissue_labels & 0, 1.0)
    image = flat.clone()
    image[box((20, 40), (25, 30))] = 40.0  # half of the 200 mm² of bone is lost
    image[box((20, 36), (10, 12))] = 9000.0  # and half of the 64 mm² of metal
    found = figures(image[None], plain)
    # Dice 2 · 100 / (100 + 200), volume wrong by a half; for metal alike.
    assert float(found["bone_dice"]) == pytest.approx(2 / 3)
    assert float(found["bone_error"]) == pytest.approx((0.5 + 1 / 3) / 2)
    assert float(found["metal_dice"]) == pytest.approx(2 / 3)
    assert float(found["metal_error"]) == pytest.approx((0.5 + 1 / 3) / 2)
    assert float(found["screw_diameter_error_mm"]) == pytest.approx(2.0)
    assert float(found["screw_tip_error_mm"]) == 0.0
    pasted = texture_metrics(image[None], plain, torch.ones(1, dtype=torch.bool), found["ssim_aapm"])
    assert [float(pasted[name]) for name in METAL_METRICS] == [1.0, 0.0, 0.0, 0.0]


def test_noise_and_sharpness_are_held_against_the_clean_image(truth) -> None:
    noise = torch.randn(truth.reference_hu.shape, generator=torch.Generator().manual_seed(3))
    clean, image = (truth.reference_hu + sd * noise for sd in (10.0, 4.0))
    found = figures(image[None], replace(truth, clean_hu=clean))
    soft = truth.near & (truth.reference_hu > -50) & (truth.reference_hu < 100)
    both = [(truth.reference_hu + sd * noise)[soft].double().std(correction=0) for sd in (10.0, 4.0)]
    assert float(found["noise_error_hu"]) == pytest.approx(float(both[0] - both[1]), rel=1e-6)
    halved = figures((truth.reference_hu / 2)[None], replace(truth, clean_hu=truth.reference_hu))
    assert float(halved["sharpness_error"]) == pytest.approx(0.5)


def test_change_is_that_of_the_uncorrected_image_by_shell(truth) -> None:
    shells = truth.shells
    image = truth.uncorrected_hu + 10.0 * shells["0_5mm"] - 3.0 * shells["20mm_up"]
    found = {name: float(values) for name, values in change_metrics(image[None], truth).items()}
    expected = dict(zip(CHANGE_METRICS, (10.0, 0.0, 0.0, 3.0), strict=True))
    assert found == pytest.approx(expected, abs=1e-4) and math.isfinite(sum(found.values()))
