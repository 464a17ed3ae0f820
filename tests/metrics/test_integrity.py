import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics.integrity import bone_mask, dice, stopping_power, volume_error, water_path_error_mm


def square(rows: slice, columns: slice, size: int = 20) -> torch.Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[0, rows, columns] = True
    return mask


def test_dice_and_volume_by_hand() -> None:
    a, b = square(slice(0, 10), slice(0, 10)), square(slice(5, 10), slice(0, 10))
    assert dice(a, b).item() == pytest.approx(2 * 50 / 150)
    assert volume_error(a, b).item() == pytest.approx(1.0) and volume_error(b, a).item() == pytest.approx(0.5)
    assert dice(a, ~a).item() == 0.0 and dice(a, a).item() == 1.0
    assert math.isnan(dice(a & False, a & False).item()) and math.isnan(volume_error(a, a & False).item())
    with pytest.raises(CtmarError, match="masks must be bool"):
        dice(a.float(), b)


def test_bone_is_a_range_of_ct_numbers() -> None:
    image = torch.tensor([[[100.0, 150.0, 2500.0, 2600.0]]])
    assert bone_mask(image, image > 0).tolist() == [[[False, True, True, False]]]
    assert not bone_mask(image, image < 0).any()


def test_stopping_power_at_the_tables_points_and_between() -> None:
    given = torch.tensor([-2000.0, -1000.0, -20.0, 50.0, 15.0, 5000.0])
    expected = [0.0, 0.0, 1.003, 1.038, 1.0205, 3.2]
    np.testing.assert_allclose(stopping_power(given).numpy(), expected, rtol=1e-9)


def test_path_error_by_hand() -> None:
    reference = torch.full((1, 20, 20), -20.0)  # 1.003 of water
    image = reference.clone()
    image[0, 4, 5:15] = 50.0  # one row of ten pixels with 1.038
    everywhere = reference < 0
    near = square(slice(4, 5), slice(0, 1))  # the beams along row 4 and along column 0
    error = water_path_error_mm(image, reference, everywhere, near, 2.0).item()
    # The row's beam is 10 · 0.035 · 2 mm too long, the column's right.
    assert error == pytest.approx(math.sqrt(0.7**2 / 2), rel=1e-6)
    elsewhere = square(slice(10, 11), slice(0, 1))
    assert water_path_error_mm(image, reference, everywhere, elsewhere, 2.0).item() == 0.0
    unscored = ~square(slice(4, 5), slice(0, 20))
    assert water_path_error_mm(image, reference, unscored, near, 2.0).item() == 0.0
    assert math.isnan(water_path_error_mm(image, reference, everywhere, near & False, 2.0).item())


def test_each_image_of_a_batch_is_scored_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    images = 100 * torch.randn(3, 1, 20, 20, generator=generator)
    reference, near = torch.zeros(1, 20, 20), square(slice(4, 9), slice(4, 9))
    everywhere = reference == 0
    together = water_path_error_mm(images, reference, everywhere, near, 1.0)
    alone = [water_path_error_mm(images[n : n + 1], reference, everywhere, near, 1.0) for n in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
