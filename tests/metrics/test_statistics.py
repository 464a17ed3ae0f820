import math

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.metrics import auc, bootstrap_mean, paired_bootstrap, size_group


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    cases = np.array([10.0, 200.0, 50.0])
    interval = paired_bootstrap(cases + 3, cases)
    assert interval == pytest.approx((3.0, 3.0, 3.0, 3))


def test_pairing_is_what_makes_the_interval_narrow() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 500, 60)
    better, worse = hard + rng.normal(0, 5, 60), hard + 10 + rng.normal(0, 5, 60)
    paired = paired_bootstrap(better, worse)
    assert paired.low < -10 < paired.high < -6
    shuffled = paired_bootstrap(better, rng.permutation(worse))
    assert shuffled.high - shuffled.low > 10 * (paired.high - paired.low)


def test_the_interval_is_that_of_theory_for_many_normal_values() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_cases_that_lack_a_value_are_left_out_and_one_case_is_enough() -> None:
    interval = paired_bootstrap([1.0, math.nan, 5.0], [0.0, 2.0, math.inf])
    assert interval == (1.0, 1.0, 1.0, 1)
    assert paired_bootstrap([math.nan], [1.0]).n == 0
    assert math.isnan(paired_bootstrap([], []).mean)
    with pytest.raises(CtmarError, match="one value a case"):
        paired_bootstrap([1.0, 2.0], [1.0])


def test_auc_by_hand_and_of_chance() -> None:
    # Pairs: 3 > 1, 3 > 2, 2 > 1, 2 = 2: (3 + ½) / 4.
    assert auc([3.0, 2.0], [1.0, 2.0]) == pytest.approx(0.875)
    assert auc([1.0, 2.0], [3.0, 2.0]) == pytest.approx(0.125)
    rng = np.random.default_rng(0)
    assert auc(rng.normal(size=500), rng.normal(size=500)) == pytest.approx(0.5, abs=0.05)
    assert math.isnan(auc([], [1.0]))


def test_size_groups_have_their_lower_end() -> None:
    assert size_group(0.0) == "below 100 mm²" and size_group(100.0) == "100 to 300 mm²"
    assert size_group(5000.0) == "from 600 mm²"
    with pytest.raises(CtmarError, match="area_mm2 must be 0 or more, got -1"):
        size_group(-1.0)
