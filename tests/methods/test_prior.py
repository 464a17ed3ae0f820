import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.methods.prior import kmeans_thresholds, tissue_prior


def torso(bone_hu: float = 900.0) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.full((1, 1, 40, 40), -1000.0)
    image[..., 5:35, 5:35] = 40.0
    image[..., 15:25, 15:25] = bone_hu
    metal = torch.zeros(image.shape, dtype=torch.bool)
    metal[..., 19:21, 19:21] = True
    return image, metal


def test_prior_keeps_bone_and_flattens_the_rest() -> None:
    image, metal = torso()
    untouched = image.clone()
    prior = tissue_prior(image, metal, spacing_mm=1.4)
    assert prior[0, 0, 0, 0] == -1000 and prior[0, 0, 10, 10] == 0 and prior[0, 0, 19, 19] == 0
    assert prior[0, 0, 17, 17] > 850
    assert torch.equal(image, untouched)


def test_thresholds_decide_what_is_bone() -> None:
    image, metal = torso(bone_hu=250.0)
    default = tissue_prior(image, metal, 1.4, smoothing_mm=0)
    lower = tissue_prior(image, metal, 1.4, smoothing_mm=0, bone_above_hu=200.0)
    assert default[0, 0, 17, 17] == 0 and lower[0, 0, 17, 17] == 250


def test_kmeans_by_hand() -> None:
    # Means -1000, 40 and 800; half-way between them -480 and 420.
    image, metal = torso(bone_hu=800.0)
    air, bone = kmeans_thresholds(image, metal)
    assert air.shape == (1, 1, 1, 1)
    assert air.item() == pytest.approx(-480.0) and bone.item() == pytest.approx(420.0)


def test_kmeans_does_not_look_at_metal() -> None:
    image, metal = torso(bone_hu=800.0)
    image[metal] = 20000.0
    assert kmeans_thresholds(image, metal)[1].item() == pytest.approx(420.0)
    assert kmeans_thresholds(image, torch.zeros_like(metal))[1].item() == 500.0  # at the bound


def test_kmeans_finds_each_slice_its_own() -> None:
    (first, metal), (second, _) = torso(500.0), torso(800.0)
    both, masks = torch.cat([first, second]), torch.cat([metal, metal])
    _, bone = kmeans_thresholds(both, masks)
    assert bone.flatten().tolist() == pytest.approx([270.0, 420.0])
    together = tissue_prior(both, masks, 1.4, segmentation="kmeans")
    torch.testing.assert_close(together[:1], tissue_prior(first, metal, 1.4, segmentation="kmeans"))


def test_kmeans_of_a_slice_without_bone_stays_finite() -> None:
    image, metal = torso(bone_hu=40.0)
    air, bone = kmeans_thresholds(image, metal)
    assert torch.isfinite(air).all() and 150 <= bone.item() <= 500


def test_what_cannot_be_is_refused() -> None:
    image, metal = torso()
    with pytest.raises(CtmarError, match="segmentation must be one of thresholds, kmeans, got 'otsu'"):
        tissue_prior(image, metal, 1.4, segmentation="otsu")
    with pytest.raises(CtmarError, match="air_below_hu must be below bone_above_hu, got 400 and 300"):
        tissue_prior(image, metal, 1.4, air_below_hu=400)
