"""The uncertainty of weights, fitted on validation cases and put on their card: ``scripts/calibrate.py``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctmar.config.build import build_data
from ctmar.config.cases import case_settings
from ctmar.config.composing import composed
from ctmar.data.dataset import CaseDataset
from ctmar.data.fingerprint import fingerprint
from ctmar.files import write_text
from ctmar.jobs.export import card_text
from ctmar.learned.pretrained import Pretrained, load
from ctmar.learned.uncertainty import ErrorModel, fit_error_model, rank_correlation
from ctmar.learned.weights import rewrite_card
from ctmar.report.provenance import made_now
from ctmar.report.record import Cell, Table, write_measured

BANDS = 5


def run(arguments: argparse.Namespace) -> None:
    """Fits, writes the card, and prints the coverage on test cases."""
    counts = arguments.cases, arguments.test_cases
    given = arguments.weights, arguments.overrides, *counts, arguments.coverage, arguments.out
    print(calibrate(*given, arguments.json))


def calibrate(
    weights: str,
    overrides: Sequence[str] = (),
    cases: int = 40,
    test_cases: int = 40,
    coverage: float = 0.9,
    out: Path | None = None,
    json: Path | None = None,
) -> str:
    """Fits the error model of weights and puts it on their card.

    Args:
        weights: File, or name of weights that ctmar ships.
        overrides: Of ``configs/train.yaml``, for cases like those of the training.
        cases: Validation cases: the first half for the weights of the features, the second for the factor.
        test_cases: Cases of the test split, which tell what the intervals are worth.
        coverage: Share of the errors on the trace that shall lie within.
        out: Where the file with the new card goes; its own place where None.
        json: Where the figures go, for ``ctmar results add``.

    Returns:
        A line with the coverage on the test cases and the errors' RMS, in fifths by the predicted width;
        and the rank correlation of width and error.
    """
    counts = f"data.num_cases={{train: 1, val: {cases}, test: {test_cases}}}"
    cfg = composed("train", [*(overrides or ("experiment=unet_pretrain",)), counts])
    data = build_data(cfg, 1)
    model = load(weights)
    model.check(data.source.ray)
    data.prepare("val", "test")
    fitted = fit_error_model(*_rays(model, data.sets["val"]), coverage)
    features, errors = _rays(model, data.sets["test"])
    told = tell(fitted, features, errors) | {"cases": cases, "test_cases": test_cases}
    entry = {"uncertainty": fitted.to_dict() | told}
    file = rewrite_card(weights, entry, out)
    if json is not None:
        _write(json, file.stem, told, fingerprint(case_settings(cfg, 1)))
    parameters = sum(value.numel() for value in model.network.generator.parameters())
    write_text(file.with_suffix(".md"), card_text(file.stem, model.card | entry, parameters))
    shares, sizes = (", ".join(map(str, told[f"{name}_by_width"])) for name in ("coverage", "rms"))
    return (
        f"{cases} validation cases: {coverage:g} of the errors within; {test_cases} test cases:"
        f" {told['test_coverage']:.3f} in all; from the narrowest fifth to the widest {shares}, where the"
        f" errors' RMS is {sizes}; rank correlation {told['rank']:.2f}"
    )


def _write(path: Path, weights: str, told: dict[str, Any], hash: str) -> None:
    rows: list[list[Cell]] = [["all", told["test_coverage"], None]]
    bands = zip(told["coverage_by_width"], told["rms_by_width"], strict=True)
    rows += [[f"fifth {n} by width", share, size] for n, (share, size) in enumerate(bands, start=1)]
    rank: list[list[Cell]] = [["of width and error", told["rank"]]]
    columns = ["rays", "share within", "RMS of the errors"]
    write_measured(
        path,
        "uncertainty",
        "What the half width of a ray is worth",
        made_now(f"ctmar calibrate {weights}", f"{told['test_cases']} test cases", hash),
        [
            Table("Coverage on test cases", columns, rows, ["", ".2f", ".3f"]),
            Table("Rank correlation", ["what", "correlation"], rank, ["", ".2f"]),
        ],
        f"fitted on {told['cases']} validation cases",
    )


def tell(model: ErrorModel, features: Tensor, errors: Tensor) -> dict[str, Any]:
    """Coverage and RMS of the errors on other rays, in all and from the narrowest fifth to the widest."""
    width = model.half_width(features)
    within = (errors.abs() <= width).double()
    bands = width.argsort().tensor_split(BANDS)
    return {
        "test_coverage": round(float(within.mean()), 3),
        "coverage_by_width": [round(float(within[band].mean()), 3) for band in bands],
        "rms_by_width": [round(float(errors[band].square().mean().sqrt()), 4) for band in bands],
        "rank": round(rank_correlation(width, errors.abs()), 3),
    }


def _rays(model: Pretrained, cases: CaseDataset) -> tuple[Tensor, Tensor]:
    """Features and errors of all rays on the traces of a data set, case after case."""
    features, errors = [], []
    for index in range(len(cases)):
        case = cases[index].center()
        with torch.inference_mode():
            completed, known = model.known_rays(case.scan)
        features.append(known)
        errors.append((completed - case.truth.clean)[case.scan.metal_trace])
    return torch.cat(features), torch.cat(errors)
