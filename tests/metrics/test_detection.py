import math

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.metrics.detection import (
    OwnObserver,
    Readings,
    estimate,
    folds_auc,
    folds_of,
    read_in_folds,
    resampled_auc,
    resampling,
)
from ctmar.metrics.observer import laguerre_gauss
from ctmar.metrics.outside import MarEval, mar_eval_version
from ctmar.metrics.statistics import auc

SIDE, WIDTH, COUNT = 25, 8.0, 300
JUDGE = OwnObserver(SIDE, WIDTH)
installed = pytest.mark.skipif(mar_eval_version() is None, reason="the extra judges is not installed")


def patches(strength: float, seed: int = 0, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """White noise of 10 HU around 54; the lesion is the first channel, of unit norm."""
    noise = np.random.default_rng(seed).normal(54.0, 10.0, (2, count, SIDE, SIDE))
    lesion = 10 * strength * laguerre_gauss(SIDE, WIDTH)[:, 0].reshape(SIDE, SIDE)
    return noise[0] + lesion, noise[1]


def test_no_lesion_is_chance_and_a_strong_one_is_always_seen() -> None:
    drawn = resampling(COUNT, 500)
    none = estimate(resampled_auc(read_in_folds(JUDGE, *patches(0.0)), drawn))
    assert none.low < 0.5 < none.high and none.high - none.low < 0.2
    assert estimate(resampled_auc(read_in_folds(JUDGE, *patches(12.0)), drawn)) == (1.0, 1.0, 1.0)


def test_auc_and_its_interval_are_those_of_theory() -> None:
    readings = read_in_folds(JUDGE, *patches(1.5))
    found = estimate(resampled_auc(readings, resampling(COUNT, 2000)))
    theory = 0.5 * (1 + math.erf(1.5 / 2))
    assert found.value == pytest.approx(theory, abs=0.03) and found.low < theory < found.high
    assert found.value == pytest.approx(folds_auc(JUDGE, readings), abs=1e-12)
    # Hanley & McNeil's standard error of one AUC of 300 and 300 images.
    q1, q2 = theory / (2 - theory), 2 * theory**2 / (1 + theory)
    spread = (theory * (1 - theory) + (COUNT - 1) * (q1 + q2 - 2 * theory**2)) / COUNT**2
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(spread), rel=0.2)


def test_no_image_is_read_by_what_was_trained_on_it() -> None:
    class Remembers:
        name = "remembers"

        def read(self, present: np.ndarray, absent: np.ndarray, images: np.ndarray) -> np.ndarray:
            known = {row.tobytes() for row in np.concatenate([present, absent])}
            return np.array([row.tobytes() in known for row in images], float)

        def auc(self, present: np.ndarray, absent: np.ndarray) -> float:
            return auc(present, absent)

    readings = read_in_folds(Remembers(), *patches(0.0, count=20))
    assert not readings.present.any() and not readings.absent.any()
    assert np.bincount(readings.fold).tolist() == [10, 10]


def test_drawings_are_as_many_as_each_fold_has_and_ties_count_half() -> None:
    yes, no = resampling(20, 50)
    fold = folds_of(20)
    for drawn in (yes, no):
        assert (drawn[0] == 1).all() and (drawn[:, fold == 0].sum(1) == 10).all()
    assert not np.array_equal(yes, no)
    tied = Readings(np.zeros(20), np.zeros(20), fold)
    assert (resampled_auc(tied, (yes, no)) == 0.5).all()


def test_too_few_and_odd_patches_are_refused() -> None:
    with pytest.raises(CtmarError, match="realisations must be 8 or more to train and test on, got 7"):
        read_in_folds(JUDGE, *patches(1.0, count=7))
    present, absent = patches(1.0, count=10)
    with pytest.raises(CtmarError, match=r"as many with as without, got \(9, 25, 25\) and \(10, 25, 25\)"):
        read_in_folds(JUDGE, present[:9], absent)


@installed
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_mar_eval_agrees_with_the_own_observer_on_the_same_channels(strength: float) -> None:
    judge = MarEval(JUDGE.channels)
    pairs = patches(strength, seed=3)
    theirs, own = read_in_folds(judge, *pairs), read_in_folds(JUDGE, *pairs)
    assert folds_auc(judge, theirs) == pytest.approx(folds_auc(JUDGE, own), abs=0.02)
    assert folds_auc(judge, theirs) == pytest.approx(resampled_auc(theirs, resampling(COUNT, 1))[0], abs=1e-9)


@installed
def test_mar_eval_with_channels_of_its_own_tells_a_lesion_from_none() -> None:
    judge = MarEval()
    assert folds_auc(judge, read_in_folds(judge, *patches(0.0))) == pytest.approx(0.5, abs=0.1)
    assert folds_auc(judge, read_in_folds(judge, *patches(8.0))) > 0.95
    low, high = np.array([0.6, 0.7, 0.8]), np.array([0.7, 0.75, 0.95])
    assert (judge.verdict(low, high), judge.verdict(high, low)) == ("improved", "worse")


def test_a_missing_toolkit_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mareval", None)
    with pytest.raises(CtmarError, match=r"mar-eval is not installed: pip install 'ctmar\[judges\]'"):
        MarEval()
