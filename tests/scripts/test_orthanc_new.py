"""``scripts/orthanc.py`` without a server: what comes of a series that cannot be corrected."""

import sys

import pytest

from ctmar.errors import CtmarError
from scripts import orthanc


def test_a_series_that_is_refused_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def correct(url: str, series: str, method: str) -> str:
        if series == "b":
            raise CtmarError("the input must hold one CT series")
        return "corrected"

    monkeypatch.setattr(orthanc, "uncorrected", lambda url: ["a", "b", "c"])
    monkeypatch.setattr(orthanc, "correct_series", correct)
    monkeypatch.setattr(sys, "argv", ["orthanc.py", "http://localhost:1", "new"])
    assert orthanc.main() == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["a: corrected", "c: corrected"]
    assert said.err == "error: b: the input must hold one CT series\n"
