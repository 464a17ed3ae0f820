"""Virtual rays, and where a stored image holds nothing that they could see."""

import numpy as np
import pytest
from scipy import ndimage

from ctmar.stored.padding import NOWHERE_HU, dilated, padding_mask
from tests.stored_images import body


def test_dark_streaks_are_no_padding() -> None:
    image = body()
    image[:3] = np.random.default_rng(0).normal(-1600, 50, (3, image.shape[1]))
    assert not padding_mask(image).any()


def circle(pixels: int = 112) -> np.ndarray:
    return np.hypot(*(np.indices((pixels, pixels)) - (pixels - 1) / 2)) < pixels / 2 - 2


@pytest.mark.parametrize("value", [-1024.0, -1000.0, -2000.0, -3024.0, 0.0, 3071.0])
def test_one_value_in_all_corners_is_padding(value: float) -> None:
    image = body() + np.random.default_rng(0).normal(0, 10, body().shape).round()
    image[~circle()] = value
    found = padding_mask(image)
    assert found[~circle()].all() and not found[ndimage.binary_erosion(circle(), iterations=2)].any()


def test_blurred_padding_is_all_that_is_low_and_connected_and_a_pixel_around() -> None:
    image = body() + np.random.default_rng(0).normal(0, 10, body().shape)
    image[~circle()] = -2000
    image = ndimage.gaussian_filter(image, 0.6) + np.random.default_rng(1).normal(0, 5, image.shape)
    found = padding_mask(image)
    assert found[~circle()].all() and found[image < -1100].all()
    assert not found[ndimage.binary_erosion(circle(), iterations=4)].any()
    assert not padding_mask(image, blurred=False).any()


def test_noisy_air_in_the_corners_is_no_padding() -> None:
    image = (body() + np.random.default_rng(0).normal(0, 10, body().shape)).clip(-1024, None)
    assert not padding_mask(image).any()


def test_a_dark_streak_does_not_become_padding_where_it_meets_it() -> None:
    image = body() + np.random.default_rng(0).normal(0, 10, body().shape)
    image[~circle()] = -1024
    image[55:57, :60] = -1024
    assert not padding_mask(image)[55:57, 8:60].any() and padding_mask(image)[0, 0]


def test_declared_padding_is_known_wherever_it_lies() -> None:
    image = body()
    image[50:53, 50] = NOWHERE_HU
    assert np.array_equal(np.argwhere(padding_mask(image)), [[50, 50], [51, 50], [52, 50]])


def test_a_mask_grows_and_shrinks_as_by_scipy() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        mask = random.random(random.integers(1, 20, 2)) < random.random()
        assert np.array_equal(dilated(mask), ndimage.binary_dilation(mask, np.ones((3, 3))))
        assert np.array_equal(~dilated(~mask), ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1))
