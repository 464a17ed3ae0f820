"""A grid must hold the body, unless the body is already cut."""

from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.scenes import require_cover


@pytest.fixture
def anatomy():
    return Anatomy(
        "block", np.zeros((4, 60, 100), np.float32), np.zeros((4, 60, 100), np.uint8), (2.0, 2.0, 3.0)
    )


@pytest.fixture
def body(anatomy):
    mask = np.zeros(anatomy.hu.shape, bool)
    mask[:, 10:50, 5:95] = True
    return mask


def test_a_grid_that_holds_the_body_passes(anatomy, body):
    require_cover(anatomy, ImageGrid((90, 90), 2.0), body, range(4))
    require_cover(anatomy, ImageGrid((40, 90), 2.0), body, range(4))


def test_a_grid_that_cuts_the_body_says_what_is_needed_and_given(anatomy, body):
    expected = r"must cover the body of block: 80 × 180 mm .* got 160 × 160 mm"
    with pytest.raises(CtmarError, match=expected) as caught:
        require_cover(anatomy, ImageGrid((80, 80), 2.0), body, range(4))
    assert "\n" not in str(caught.value)


def test_only_the_wanted_slices_count(anatomy, body):
    body[:2, :, :30] = False
    body[:2, :, 70:] = False
    require_cover(anatomy, ImageGrid((50, 50), 2.0), body, range(2))
    with pytest.raises(CtmarError, match="must cover"):
        require_cover(anatomy, ImageGrid((50, 50), 2.0), body, range(1, 3))


def test_a_stray_pixel_and_a_truncated_body_may_lie_outside(anatomy, body):
    body[0, 30, 0] = True
    require_cover(anatomy, ImageGrid((90, 90), 2.0), body, range(4))
    require_cover(replace(anatomy, truncated=True), ImageGrid((20, 20), 2.0), body, range(4))
    require_cover(anatomy, ImageGrid((20, 20), 2.0), np.zeros_like(body), range(4))


def test_a_body_of_another_shape_is_refused(anatomy, body):
    with pytest.raises(CtmarError, match="body must have the volume's shape"):
        require_cover(anatomy, ImageGrid((20, 20), 2.0), body[:2], range(2))
