"""The page holds everything in itself."""

import re
from html.parser import HTMLParser

import numpy as np

from ctmar.evaluation import evaluate
from ctmar.report.figures import distribution_figure
from ctmar.report.page import page
from tests.evaluation.test_evaluation import METHODS, make_case


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_a_run_leaves_one_page_without_references_to_the_outside(tmp_path) -> None:
    cases = [make_case(n) for n in range(3)]
    evaluate(METHODS, cases, tmp_path, num_panels=1, progress=False, config={"seed": 7})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    tags = parsed(text)
    images = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
    # A distribution, and four windows of the median, the worst and the first case.
    assert len(images) >= 1 + 4 * 2 and all(src.startswith("data:image/png;base64,") for src in images)
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    for expected in (
        "worst case of model",
        "&quot;seed&quot;: 7",
        "torch 2",
        "off the metal trace: 0",
        "3 cases",
    ):
        assert expected in text, expected
    assert (tmp_path / "images" / "test-0.npz").is_file() and (tmp_path / "config.json").is_file()


def test_without_panels_there_is_no_page(tmp_path) -> None:
    evaluate(METHODS, [make_case()], tmp_path, num_panels=0, progress=False)
    assert not (tmp_path / "report.html").exists()


def test_what_comes_from_users_cannot_become_markup() -> None:
    text = page("<b>", [])
    parsed(text)
    assert "<title>&lt;b&gt;</title>" in text


def test_distributions_leave_out_what_is_not_a_number() -> None:
    figure = distribution_figure({"a": {"li": [1.0, np.nan, 3.0], "nmar": [np.nan]}}, "HU")
    assert [line.get_xydata().shape[0] for line in figure.axes[0].lines if line.get_marker() == "."] == [2, 0]
    assert figure.axes[0].get_title() == "a (2)"
