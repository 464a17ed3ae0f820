"""A score after the AAPM CT-MAR challenge: eight figures on one scale, 0 the truth, 4 no correction.

Haneda et al., Med. Phys. 2025, and Peters et al. 2025. Each figure here is an error, 0 for the truth; its
mean under this project's NMAR is 2, its mean without correction is 4, straight lines between, 4 beyond.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

AAPM_METRICS: tuple[str, ...] = (
    "rmse_hu_aapm",
    "noise_error_hu",
    "sharpness_error",
    "streak_hu",
    "dssim_aapm",
    "bone_error",
    "metal_error",
    "rmse_wepl_mm",
)
"""CT number, noise, sharpness, streaks, similarity, bone, metal, proton range; all 0 for the truth."""

SCORE = "aapm_score"
MIDDLE, WORST = "nmar", "uncorrected"


def anchors(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Means of NMAR and of no correction by metric, and why a metric is left out.

    A metric counts if 0 < NMAR < uncorrected in the means: where two anchors coincide or change places
    there is no scale.

    Args:
        rows: Rows of cases and methods.

    Returns:
        ``(nmar, uncorrected)`` by metric, and a line for each metric that was dropped.
    """
    kept: dict[str, tuple[float, float]] = {}
    dropped: list[str] = []
    for metric in AAPM_METRICS:
        middle, worst = (_mean(rows, method, metric) for method in (MIDDLE, WORST))
        if math.isnan(middle) or math.isnan(worst):
            dropped.append(f"{metric}: no mean of both {MIDDLE} and {WORST}")
        elif not 0 < middle < worst:
            dropped.append(
                f"{metric}: anchors must be ordered 0 < nmar < uncorrected, got {middle:.4g} and {worst:.4g}"
            )
        else:
            kept[metric] = (middle, worst)
    return kept, dropped


def score(row: Mapping[str, Any], scale: Mapping[str, tuple[float, float]]) -> float:
    """A row's mean over the metrics of ``scale``, 0 to 4 each; NaN where it lacks one or there is none."""
    marks = [
        math.nan
        if math.isnan(row[metric])
        else float(np.interp(row[metric], (0.0, *scale[metric]), (0.0, 2.0, 4.0)))
        for metric in scale
    ]
    return float(np.mean(marks)) if marks else math.nan


def _mean(rows: Sequence[Mapping[str, Any]], method: str, metric: str) -> float:
    values = [row[metric] for row in rows if row["method"] == method and not math.isnan(row[metric])]
    return float(np.mean(values)) if values else math.nan
