"""What the judges say of a detection study: AUC by dose and contrast, differences to no method, bias."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import Scanned, bias_hu, cells, methods_of
from ctmar.evaluation.cases import UNCORRECTED
from ctmar.metrics.detection import (
    Estimate,
    Judge,
    OwnObserver,
    estimate,
    folds_auc,
    read_in_folds,
    resampled_auc,
    resampling,
)
from ctmar.metrics.outside import MarEval, mar_eval_version

RESAMPLES = 2000
LOWEST = 2
"""So many of the smallest contrasts have a figure of their own."""
JUDGES = ("auto", "ctmar", "mar-eval")
Array = NDArray[np.float64]
Curves = dict[str, Array]
"""By method, ``(cell, 1 + resamples)``."""


def judges_of(choice: str, side: int, width: float) -> list[Judge]:
    """The judges, the one that the table is of first.

    Args:
        choice: ``mar-eval``, ``ctmar``, or ``auto`` for the first where it is installed.
        side: Pixels along an edge of the patches, odd.
        width: The lesion's diameter in pixels.

    Raises:
        CtmarError: The choice is none of these, or ``mar-eval`` is not installed.
    """
    if choice not in JUDGES:
        raise CtmarError(f"judge must be one of {', '.join(JUDGES)}, got {choice!r}")
    own = OwnObserver(side, width)
    if choice == "ctmar" or (choice == "auto" and mar_eval_version() is None):
        return [own]
    return [MarEval(), MarEval(own.channels), own]


def judge_study(scanned: Scanned, judges: Sequence[Judge], seed: int = 0) -> dict[str, Any]:
    """The summary of a study.

    Args:
        scanned: What is judged.
        judges: The first is the table's, the others stand beside it.
        seed: Of the intervals' drawings.

    Returns:
        ``methods``: ``auc`` and ``delta_auc`` (to ``uncorrected``) over doses and contrasts with intervals of
        95 % over realisations, ``delta_auc_lowest`` at the two smallest contrasts, ``bias_hu`` where
        there is a reference; ``cells``: one row a judge, dose, contrast and method; ``judges``: the same
        means by every judge; ``agreement``: how far mar-eval and the own observer lie apart in a cell.
    """
    drawn = resampling(scanned.realisations, RESAMPLES, seed)
    names = methods_of(scanned)
    curves = {judge.name: _curves(judge, scanned, names, drawn) for judge in judges}
    says = {judge.name: _says(judge, curves[judge.name], _lowest(scanned)) for judge in judges}
    biases = {name: bias_hu(scanned, name) for name in names}
    told = {
        name: {} if bias is None else {"bias_hu": _figure(bias[:, None] * drawn[1].T)}
        for name, bias in biases.items()
    }
    return {
        "schema": 1,
        "num_cases": len(scanned),
        "off_trace_max_abs_change": scanned.off_trace_max_abs_change,
        "judge": judges[0].name,
        "dose": scanned.dose,
        "baseline": scanned.baseline,
        "methods": {name: says[judges[0].name][name] | bias for name, bias in told.items()},
        "cells": [row for judge, curve in curves.items() for row in _rows(judge, scanned, curve)],
        "judges": says,
        "agreement": _agreement(curves, judges),
    }


def _curves(judge: Judge, scanned: Scanned, names: Sequence[str], drawn: tuple[Array, Array]) -> Curves:
    found: dict[str, list[Array]] = {name: [] for name in names}
    for _, _, present, absent in cells(scanned):
        for name in names:
            readings = read_in_folds(judge, present[name], absent[name])
            curve = resampled_auc(readings, drawn)
            curve[0] = folds_auc(judge, readings)  # the judge's own word
            found[name].append(curve)
    return {name: np.stack(each) for name, each in found.items()}


def _lowest(scanned: Scanned) -> list[int]:
    """Cells of the smallest contrasts, in the order of :func:`cells`."""
    contrasts = [contrast for _, contrast in scanned.present]
    small = sorted(dict.fromkeys(contrasts), key=abs)[:LOWEST]
    return [n for n, contrast in enumerate(contrasts) if contrast in small]


def _rows(judge: str, scanned: Scanned, table: Curves) -> list[dict[str, Any]]:
    rows = []
    for n, (dose, contrast, *_) in enumerate(cells(scanned)):
        for name, curve in table.items():
            row: dict[str, Any] = {"judge": judge, scanned.dose: dose, "contrast_hu": contrast}
            row |= {"method": name} | _prefixed("auc", estimate(curve[n]))
            row |= _prefixed("delta_auc", estimate(curve[n] - table[UNCORRECTED][n]))
            rows.append(row)
    return rows


def _says(judge: Judge, curves: Curves, lowest: list[int]) -> dict[str, dict[str, Any]]:
    """A judge's means by method, and mar-eval's own word on the differences."""
    told: dict[str, dict[str, Any]] = {}
    for name, curve in curves.items():
        told[name] = {"auc": _figure(curve)}
        if name == UNCORRECTED:
            continue
        difference = curve - curves[UNCORRECTED]
        told[name] |= {"delta_auc": _figure(difference), "delta_auc_lowest": _figure(difference[lowest])}
        if isinstance(judge, MarEval):
            pair = (curves[UNCORRECTED][:, 0], curve[:, 0])
            told[name]["status"] = judge.verdict(*pair)
    return told


def _agreement(curves: Mapping[str, Curves], judges: Sequence[Judge]) -> dict[str, Any] | None:
    """Largest difference of AUC in a cell between mar-eval and the own observer; None without mar-eval."""
    own = next((judge.name for judge in judges if isinstance(judge, OwnObserver)), None)
    theirs = [judge.name for judge in judges if isinstance(judge, MarEval)]
    if own is None or not theirs:
        return None
    apart = {
        name: max(float(abs(curves[name][m][:, 0] - curves[own][m][:, 0]).max()) for m in curves[own])
        for name in theirs
    }
    return {"with": own, "largest_difference": apart}


def _figure(values: Array) -> dict[str, float]:
    """A metric of the summary: values ``(cell or realisation, 1 + resamples)``, the interval of the mean."""
    found, own = estimate(values.mean(0)), values[:, 0]
    spread = {"std": float(own.std()), "median": float(np.median(own))}
    return {"mean": found.value, **spread, "low": found.low, "high": found.high}


def _prefixed(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
