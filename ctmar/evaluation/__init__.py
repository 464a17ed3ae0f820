"""Scoring: one path for every method, trained or not, of sinograms or of images."""

from ctmar.evaluation.cases import (
    CLEAN,
    LIMIT,
    UNCORRECTED,
    CaseResult,
    evaluate_case,
    find_materials,
)
from ctmar.evaluation.run import evaluate
from ctmar.evaluation.untouched import off_trace_change, reprojected_change
from ctmar.metrics import CASE_METRICS as METRICS
from ctmar.report.summary import summarise
from ctmar.report.table import format_table

__all__ = [
    "CLEAN",
    "LIMIT",
    "METRICS",
    "UNCORRECTED",
    "CaseResult",
    "evaluate",
    "evaluate_case",
    "find_materials",
    "format_table",
    "off_trace_change",
    "reprojected_change",
    "summarise",
]
