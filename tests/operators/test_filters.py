"""Filters of the backprojection."""

import pytest

from ctmar.operators.filters import padded_length


@pytest.mark.parametrize("bins", [*range(1, 70), 367, 511, 512, 513, 729, 888, 1453, 1536])
def test_views_are_padded_to_the_least_length_that_does_not_wrap_round(bins: int) -> None:
    length, least = padded_length(bins), 2 * bins - 1
    quick = {2**k for k in range(14)} | {3 * 2**k for k in range(13)}
    assert length in quick and length >= least
    assert not [other for other in quick if least <= other < length]
