import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics.lesions import Lesion, choose_sites, measured_contrast, patch

SIZE = 80


def slice_with_metal() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    reference = torch.full((SIZE, SIZE), 40.0)
    reference[:, 60:] = 600.0  # bone on the right
    metal = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    metal[38:42, 38:42] = True
    return reference, torch.ones_like(metal), metal


def test_a_disc_has_its_area_and_contrast() -> None:
    image = Lesion(40, 40, 5.0, 60.0).image_hu((SIZE, SIZE), 0.5)
    assert image[40, 40] == 60.0 and image[0, 0] == 0.0
    assert image.sum().item() == pytest.approx(60 * math.pi * 10**2, rel=0.01)


def test_sites_lie_in_soft_tissue_near_metal_apart_and_always_the_same() -> None:
    reference, body, metal = slice_with_metal()
    first, again = (choose_sites(reference, body, metal, 1.0, np.random.default_rng(3)) for _ in range(2))
    assert first == again and len(first) == 3
    for n, site in enumerate(first):
        disc = site.image_hu((SIZE, SIZE), 1.0) > 0
        assert not (disc & metal).any() and (reference[disc] == 40).all()
        rows, columns = metal.numpy().nonzero()
        assert 4 < np.hypot(rows - site.row, columns - site.column).min() <= 20
        assert all(np.hypot(site.row - o.row, site.column - o.column) >= 16 for o in first[:n])
    assert choose_sites(reference + 500, body, metal, 1.0, np.random.default_rng(3)) == []
    with pytest.raises(CtmarError, match="need a count, a radius and a contrast"):
        choose_sites(reference, body, metal, 1.0, np.random.default_rng(0), radius_mm=0)


def test_contrast_by_hand() -> None:
    reference, body, metal = slice_with_metal()
    lesion = Lesion(20, 20, 5.0, 60.0)
    image = reference + lesion.image_hu((SIZE, SIZE), 1.0)
    assert measured_contrast(image, lesion, body, 1.0).item() == pytest.approx(60.0)
    assert measured_contrast(reference, lesion, body, 1.0).item() == 0.0
    assert measured_contrast(image, Lesion(40, 20, 5.0, 60.0), body, 1.0).item() == 0.0  # the wrong place
    assert math.isnan(measured_contrast(image, lesion, body & False, 1.0).item())
    spoiled = image + 1000 * (body & (image == 40) & (torch.arange(SIZE) < 18))
    assert measured_contrast(spoiled, lesion, spoiled < 900, 1.0).item() == pytest.approx(60.0)


def test_a_patch_is_centred_and_stays_inside() -> None:
    image = torch.arange(SIZE * SIZE).reshape(1, SIZE, SIZE)
    assert patch(image, Lesion(20, 30, 4.0, 60.0), 2)[0, 2, 2] == image[0, 20, 30]
    assert patch(image, Lesion(0, 0, 4.0, 60.0), 3).shape == (1, 7, 7)
