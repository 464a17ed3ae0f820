"""Virtual rays, and where a stored image holds nothing that they could see."""

import numpy as np

from ctmar.stored.virtual import padding_mask
from tests.stored_images import body


def test_dark_streaks_are_no_padding() -> None:
    image = body()
    image[:3] = np.random.default_rng(0).normal(-1600, 50, (3, image.shape[1]))
    assert not padding_mask(image).any()
