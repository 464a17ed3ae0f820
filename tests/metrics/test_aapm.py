import math

import pytest

from ctmar.metrics.aapm import AAPM_METRICS, anchors, score


def rows(**by_method: tuple[float, float]) -> list[dict]:
    """Two cases; every metric of a method has the same two values."""
    return [
        {"method": method, **dict.fromkeys(AAPM_METRICS, values[case])}
        for case in (0, 1)
        for method, values in by_method.items()
    ]


def test_anchors_are_means_and_the_scale_is_straight_between() -> None:
    table = rows(uncorrected=(30.0, 50.0), nmar=(5.0, 15.0), model=(5.0, 25.0))
    scale, dropped = anchors(table)
    assert scale == dict.fromkeys(AAPM_METRICS, (10.0, 40.0)) and dropped == []
    marks = {(row["method"], n // 3): score(row, scale) for n, row in enumerate(table)}
    assert marks["model", 0] == pytest.approx(1.0)  # half-way from the truth to NMAR
    assert marks["model", 1] == pytest.approx(3.0)  # half-way from NMAR to no correction
    assert marks["uncorrected", 1] == 4.0  # beyond the anchor
    assert score(dict.fromkeys(AAPM_METRICS, 0.0), scale) == 0.0


@pytest.mark.parametrize(("nmar", "worst"), [(40.0, 40.0), (50.0, 40.0), (0.0, 40.0)])
def test_anchors_that_coincide_or_change_places_drop_their_metric(nmar: float, worst: float) -> None:
    table = rows(uncorrected=(40.0, 40.0), nmar=(10.0, 10.0))
    for row in table:
        row["streak_hu"] = {"uncorrected": worst, "nmar": nmar}[row["method"]]
    scale, dropped = anchors(table)
    assert "streak_hu" not in scale and len(scale) == 7
    assert len(dropped) == 1 and dropped[0].startswith("streak_hu: anchors must be ordered 0 < nmar")
    assert score(table[0], scale) == 4.0


def test_without_nmar_there_is_no_score() -> None:
    scale, dropped = anchors(rows(uncorrected=(40.0, 40.0), model=(1.0, 1.0)))
    assert scale == {} and len(dropped) == 8 and "no mean of both" in dropped[0]
    assert math.isnan(score(rows(model=(1.0, 1.0))[0], scale))


def test_a_case_that_lacks_a_metric_has_no_score_and_leaves_the_means() -> None:
    table = rows(uncorrected=(40.0, 40.0), nmar=(10.0, 10.0))
    table[1]["bone_error"] = math.nan
    scale, _ = anchors(table)
    assert scale["bone_error"] == (10.0, 40.0)
    assert math.isnan(score(table[1], scale)) and score(table[3], scale) == 2.0
