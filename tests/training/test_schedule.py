"""The learning rate over the steps and over the clock."""

import pytest

from ctmar.training.schedule import cosine_factor


def test_cosine_warms_up_and_comes_down() -> None:
    factors = [cosine_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.03
    assert max(factors) > 0.98
    assert factors[-1] == pytest.approx(0.01, abs=1e-4)


def test_cosine_follows_the_clock_where_that_is_further_on() -> None:
    assert cosine_factor(100, 1000, 0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert cosine_factor(100, 1000, 1.3) == pytest.approx(0.01)
    assert cosine_factor(500, 1000, 0.2) == cosine_factor(500, 1000)
