import math

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics import bias, mae, masked_mean, rmse

REFERENCE = torch.zeros(1, 1, 2, 2)
IMAGE = torch.tensor([[[[3.0, -4.0], [100.0, 0.0]]]])
MASK = torch.tensor([[[[True, True], [False, False]]]])


def test_errors_worked_by_hand():
    assert rmse(IMAGE, REFERENCE, MASK).item() == pytest.approx(math.sqrt(12.5))
    assert mae(IMAGE, REFERENCE, MASK).item() == pytest.approx(3.5)
    assert bias(IMAGE, REFERENCE, MASK).item() == pytest.approx(-0.5)


def test_a_wrong_mask_gives_another_figure():
    assert rmse(IMAGE, REFERENCE, ~MASK).item() == pytest.approx(math.sqrt(5000))
    assert mae(IMAGE, REFERENCE, torch.ones_like(MASK)).item() == pytest.approx(26.75)


def test_bias_has_the_sign_of_too_bright():
    assert bias(REFERENCE + 5, REFERENCE, MASK).item() == 5.0
    assert bias(REFERENCE, REFERENCE + 5, MASK).item() == -5.0


@pytest.mark.parametrize("metric", [rmse, mae, bias])
def test_empty_mask_is_nan_for_its_own_case_only(metric):
    masks = torch.cat([torch.zeros_like(MASK), MASK])
    values = metric(IMAGE.expand(2, 1, 2, 2), REFERENCE, masks)
    assert values.shape == (2, 1)
    assert torch.isnan(values[0, 0]) and not torch.isnan(values[1, 0])


@pytest.mark.parametrize("metric", [rmse, mae, bias])
def test_what_lies_outside_the_mask_has_no_influence(metric):
    spoiled = torch.where(MASK, IMAGE, torch.nan)
    assert torch.equal(metric(spoiled, REFERENCE, MASK), metric(IMAGE, REFERENCE, MASK))


def test_nan_under_the_mask_shows():
    spoiled = torch.where(MASK, torch.nan, IMAGE)
    assert torch.isnan(rmse(spoiled, REFERENCE, MASK)).all()


def test_batch_of_one_scores_like_its_place_in_a_batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 1, 5, 7, generator=generator)
    masks = torch.rand(3, 1, 5, 7, generator=generator) > 0.5
    together = rmse(images, torch.zeros(1, 1, 5, 7), masks)
    alone = [rmse(images[i : i + 1], torch.zeros(1, 1, 5, 7), masks[i : i + 1]) for i in range(3)]
    assert all(value.shape == (1, 1) for value in alone)
    assert torch.equal(together, torch.cat(alone))


def test_single_row_and_column_images_keep_their_axes():
    assert rmse(torch.ones(1, 1, 1, 4), torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4) > 0).shape == (1, 1)


def test_large_images_are_summed_in_double():
    image = torch.full((1, 1, 1024, 1024), 3000.1)
    assert mae(image, torch.zeros(1, 1, 1024, 1024), image > 0).item() == pytest.approx(3000.1, rel=1e-6)


def test_other_rows_and_float_masks_are_refused():
    with pytest.raises(CtmarError, match="same rows and columns"):
        rmse(IMAGE, REFERENCE[..., :1], MASK)
    with pytest.raises(CtmarError, match="same rows and columns"):
        masked_mean(IMAGE, MASK[..., :1])
    with pytest.raises(CtmarError, match=r"mask must be bool, got torch\.float32"):
        masked_mean(IMAGE, MASK.float())
