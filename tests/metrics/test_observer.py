import math

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.metrics.observer import detectability, hotelling_template, laguerre_gauss

SIDE, WIDTH = 25, 8.0


def blob(strength: float) -> np.ndarray:
    return strength * laguerre_gauss(SIDE, WIDTH)[:, 0].reshape(SIDE, SIDE)


def patches(strength: float, count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, count, SIDE, SIDE))
    return noise[0] + blob(strength), noise[1], np.repeat(np.arange(count // 2), 2)


def test_channels_are_orthonormal() -> None:
    channels = laguerre_gauss(41, 8.0, 4)
    np.testing.assert_allclose(channels.T @ channels, np.eye(4), atol=0.01)
    with pytest.raises(CtmarError, match="an odd side and a positive width, got 40"):
        laguerre_gauss(40, 8.0)


def test_template_by_hand() -> None:
    # Means one apart in the first channel; variances 1 and 4, uncorrelated: (1 / 1, 0).
    base = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]) * math.sqrt(3 / 4)
    template = hotelling_template(base + [1.0, 0.0], base)
    np.testing.assert_allclose(template, [1.0, 0.0], atol=5e-3)


def test_auc_is_that_of_theory_for_white_noise() -> None:
    # The lesion is a channel of unit norm: d' is its strength, AUC = Φ(d' / √2).
    found = detectability(*patches(1.5), width=WIDTH)
    theory = 0.5 * (1 + math.erf(1.5 / 2))
    assert found.low < theory < found.high and found.auc == pytest.approx(theory, abs=0.04)
    assert found.n == 200


def test_nothing_planted_is_chance_on_cases_never_trained_on() -> None:
    found = detectability(*patches(0.0), width=WIDTH)
    assert found.low < 0.5 < found.high
    present, absent, _ = patches(0.0, count=40)
    # Tested on the cases that it was trained on, a template would pretend to see something.
    channels = laguerre_gauss(SIDE, WIDTH)
    yes, no = (x.reshape(40, -1) @ channels for x in (present, absent))
    template = hotelling_template(yes, no)
    assert (yes @ template).mean() - (no @ template).mean() > 0.1


def test_sites_of_one_case_are_never_on_both_sides() -> None:
    present, absent, _ = patches(0.0, count=40)
    # Each case has a texture of its own, the same in both its sites: pairs told apart would show as skill.
    case = np.repeat(np.arange(20), 2)
    assert detectability(present, absent, case, width=WIDTH).n == 20


def test_too_few_cases_have_no_figure_and_odd_pairs_are_refused() -> None:
    present, absent, case = patches(1.0, count=6)
    assert math.isnan(detectability(present, absent, case, width=WIDTH).auc)
    with pytest.raises(CtmarError, match="patches must come in pairs"):
        detectability(present[:3], absent, case, width=WIDTH)
