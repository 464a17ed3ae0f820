"""Scoring: one path for every method, trained or not, of sinograms or of images."""

from ctmar.evaluation.cases import (
    CLEAN,
    UNCORRECTED,
    CaseResult,
    ImageMethod,
    Method,
    evaluate_case,
    find_materials,
    has_own_image,
    off_trace_change,
    reprojected_change,
)
from ctmar.evaluation.run import evaluate
from ctmar.metrics import CASE_METRICS as METRICS
from ctmar.report.summary import summarise
from ctmar.report.table import format_table

__all__ = [
    "CLEAN",
    "METRICS",
    "UNCORRECTED",
    "CaseResult",
    "ImageMethod",
    "Method",
    "evaluate",
    "evaluate_case",
    "find_materials",
    "format_table",
    "has_own_image",
    "off_trace_change",
    "reprojected_change",
    "summarise",
]
