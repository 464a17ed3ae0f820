"""Metrics of a user's own: their names, what they are given and what they may return."""

import math
from functools import partial

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.metrics import Truth, check_metrics, own_metrics
from ctmar.report.page import metric_table
from ctmar.report.table import benchmark_text
from tests.evaluation.test_evaluation import METHODS, make_case

IMAGE = torch.full((1, 4, 5), 7.0)
MASK = torch.zeros(1, 4, 5, dtype=torch.bool)
TRUTH = Truth(IMAGE - 3, IMAGE, IMAGE, MASK, ~MASK, MASK.byte(), 1.0)


def distance(image_hu, truth, power=1):
    return (image_hu - truth.reference_hu).abs().pow(power).mean()


def test_each_is_measured_under_its_name() -> None:
    found = own_metrics({"d": distance, "d2": partial(distance, power=2)}, IMAGE, TRUTH)
    assert found == {"d": 3.0, "d2": 9.0}


@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2]), torch.full((1, 1), 2.0)])
def test_one_number_in_any_form_is_one(value) -> None:
    assert own_metrics({"m": lambda image_hu, truth: value}, IMAGE, TRUTH) == {"m": 2.0}


def test_nan_is_an_answer_and_the_image_is_a_copy() -> None:
    image = IMAGE.clone()
    found = own_metrics({"m": lambda image_hu, truth: image_hu.mul_(torch.nan).mean()}, image, TRUTH)
    assert math.isnan(found["m"]) and torch.equal(image, IMAGE)


@pytest.mark.parametrize(
    "value", [None, True, "3", torch.zeros(2), torch.zeros(0), torch.tensor(1j), [1.0], {"a": 1.0}]
)
def test_another_return_is_refused(value) -> None:
    with pytest.raises(CtmarError, match="metric 'm' must return one number, got .* in case-1"):
        own_metrics({"m": lambda image_hu, truth: value}, IMAGE, TRUTH, "case-1")


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("rmse_hu_near", distance, "'rmse_hu_near' must have another name"),
        ("part", distance, "'part' must have another name"),
        ("a/b", distance, "must be a word of letters, digits and _, got 'a/b'"),
        ("m", 3, "must be called with image_hu and truth"),
        ("m", lambda image_hu: 0.0, "must be called with image_hu and truth"),
        ("m", lambda image_hu, truth, more: 0.0, "must be called with image_hu and truth"),
    ],
)
def test_what_cannot_be_one_is_refused_before_a_case_is_scored(name, metric, message, tmp_path) -> None:
    def cases():
        raise AssertionError("a case was asked for")
        yield

    with pytest.raises(CtmarError, match=message):
        evaluate(METHODS, cases(), tmp_path, metrics={name: metric})
    check_metrics({"m": distance})


def test_pages_and_tables_have_it_and_call_none_best(tmp_path) -> None:
    summary = evaluate(
        METHODS, [make_case()], tmp_path, metrics={"mine": distance}, num_panels=0, progress=False
    )
    heading = benchmark_text(summary).splitlines()[0]
    assert heading.endswith("mine") and "mine, paired" in benchmark_text(summary)
    table = metric_table(summary)
    assert "<th>mine</th>" in table
    cells = [row.split("<td")[-1] for row in table.split("<tr>")[2:]]
    assert len(cells) == len(METHODS) + 1 and not any("best" in cell for cell in cells)
