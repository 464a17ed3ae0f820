"""Differences, groups and what is printed of them."""

import math

import pytest

from ctmar.metrics import CASE_METRICS
from ctmar.report.summary import as_csv, summarise
from ctmar.report.table import alloy_text, benchmark_text, order_text


def rows(near: dict[str, list[float]], parts: tuple[str, ...] = ("a", "b")) -> list[dict]:
    """One case a value; every other metric is NaN."""
    return [
        {"case_id": f"c{n}", "method": method}
        | dict.fromkeys(CASE_METRICS, math.nan)
        | {"rmse_hu_near": values[n], "near_pixels": 9, "off_trace_max_abs_change": 0.0}
        | {"part": parts[n % len(parts)], "metal_size": "below 100 mm²", "materials": "Ti", "kind": ""}
        for n in range(len(next(iter(near.values()))))
        for method, values in near.items()
    ]


ORDERED = {"uncorrected": [40.0, 60.0], "li": [30.0, 40.0], "nmar": [20.0, 30.0], "model": [10.0, 10.0]}


def test_differences_are_paired_and_to_every_baseline_once() -> None:
    found = summarise(rows(ORDERED))["differences"]["rmse_hu_near"]
    assert set(found) == {
        "li - uncorrected",
        "nmar - uncorrected",
        "model - uncorrected",
        "nmar - li",
        "model - li",
        "model - nmar",
    }
    assert found["model - uncorrected"] == {"mean": -40.0, "low": -50.0, "high": -30.0, "n": 2}
    assert summarise(rows(ORDERED))["differences"]["rmse_hu_body"]["nmar - li"]["mean"] is None


def test_groups_hold_their_own_cases() -> None:
    groups = summarise(rows(ORDERED))["groups"]
    assert groups["part"]["a"]["li"]["rmse_hu_near"]["mean"] == 30.0
    assert groups["part"]["b"]["li"]["rmse_hu_near"]["mean"] == 40.0
    assert groups["metal_size"]["below 100 mm²"]["li"]["rmse_hu_near"]["n"] == 2
    assert groups["kind"] == {}  # nothing is known of it


def test_the_order_is_printed_and_where_it_does_not_hold() -> None:
    text = order_text(summarise(rows(ORDERED)))
    assert "all cases: nmar 25.0 < li 35.0 < uncorrected 50.0 HU holds" in text
    worse = summarise(rows(ORDERED | {"li": [30.0, 90.0]}))
    assert "all cases: nmar 25.0 < li 60.0 < uncorrected 50.0 HU DOES NOT HOLD" in order_text(worse)
    assert "a: nmar 20.0 < li 30.0 < uncorrected 40.0 HU holds" in order_text(worse)
    assert order_text(summarise(rows({"uncorrected": [1.0, 2.0]}))) == ""


def test_screws_are_told_apart_by_part_and_alloy() -> None:
    table = rows(ORDERED)
    for row in table:
        row |= {"kind": "realistic", "materials": "316L" if row["case_id"] == "c0" else "Ti-6Al-4V"}
    summary = summarise(table)
    text = alloy_text(summary).splitlines()
    assert text[0].split()[-4:] == list(ORDERED)
    assert [line.split() for line in text[2:]] == [
        ["a,", "316L", "(1)", "40.0", "30.0", "20.0", "10.0"],
        ["b,", "Ti-6Al-4V", "(1)", "60.0", "40.0", "30.0", "10.0"],
    ]
    assert alloy_text(summarise(rows(ORDERED))) == ""  # random metal is no screw


def test_everything_is_printed_with_its_reasons() -> None:
    summary = summarise(rows(ORDERED))
    summary["benchmark"] = {"name": "spine-v1", "left_out": ["thorax: no file"], "changed_cases": ["a-00000"]}
    summary["benchmark"]["rescanned_cases"] = ["b-00001"]
    text = benchmark_text(summary)
    for expected in (
        "rmse_hu_near by part",
        "PSNR dB / SSIM",
        "model - nmar",
        "aapm_score leaves out rmse_hu_aapm: no mean of both nmar and uncorrected",
        "left out of spine-v1: thorax: no file",
        "1 of 2 cases are not the frozen ones of spine-v1",
        "1 of 2 cases are the frozen scenes of spine-v1, scanned otherwise (b-00001",
    ):
        assert expected in text


def test_rows_get_the_score_that_the_summary_explains() -> None:
    table = rows(ORDERED)
    for row in table:
        row["streak_hu"] = row["rmse_hu_near"]
    summary = summarise(table)
    assert summary["aapm"]["anchors"] == {"streak_hu": [25.0, 50.0]}
    assert summary["methods"]["model"]["aapm_score"]["mean"] == pytest.approx(0.8)
    assert "aapm_score" in as_csv(table).splitlines()[0]
