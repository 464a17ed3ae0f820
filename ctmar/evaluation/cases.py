"""One case under every method: completed, reconstructed and scored alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ctmar.case import Case, Scan, middle_of
from ctmar.errors import CtmarError
from ctmar.evaluation.untouched import bond, off_trace_change
from ctmar.methods.base import Method
from ctmar.metrics import (
    CASE_METRICS,
    METAL_METRICS,
    Metric,
    change_metrics,
    helgason_ludwig,
    image_metrics,
    own_metrics,
    region_metrics,
    rmse,
    size_group,
    texture_metrics,
)
from ctmar.metrics import Truth as ImageTruth
from ctmar.units import mu_to_hu

UNCORRECTED = "uncorrected"

CLEAN = "clean"
"""Name of the row that reconstructs the clean sinogram itself: the noise floor, not a method."""

LIMIT = "limit"
"""Name of the row of the photon limit (:mod:`ctmar.evaluation.limit`), which is no method either."""

FACTS = (
    "case_id",
    "method",
    "off_trace_max_abs_change",
    "changes_untouched_rays",
    "near_pixels",
    "metal_area_mm2",
    "metal_size",
    "materials",
    "kind",
    "body",
    "part",
)
"""What a row holds besides metrics; no metric may be called so."""


@dataclass(frozen=True)
class CaseResult:
    """One case under every method.

    Attributes:
        case_id: The case's name.
        rows: The case's rows of ``cases.csv``, one a method, ``limit`` and ``clean`` last.
        images_hu: The centre slice by method, HU, ``(row, column)``.
        completed: The centre slice's completed sinograms by method, ``(angle, detector)``; methods of
            images alone have none.
    """

    case_id: str
    rows: list[dict[str, Any]]
    images_hu: dict[str, Tensor]
    completed: dict[str, Tensor]

    def near_rmse(self) -> dict[str, float]:
        """Near-metal RMSE in HU by method."""
        return {row["method"]: row["rmse_hu_near"] for row in self.rows}


@torch.inference_mode()
def evaluate_case(
    methods: Mapping[str, Method],
    case: Case,
    filter: str = "ram-lak",
    metrics: Mapping[str, Metric] | None = None,
    limit: Tensor | None = None,
) -> CaseResult:
    """Completes, reconstructs (all methods in one call) and scores one case; see :func:`evaluate`.

    Args:
        methods: By name.
        case: A batch of one.
        filter: Of the FBP.
        metrics: The caller's own besides.
        limit: The case's photon limit, a sinogram of its shape, where that is to have a row.
    """
    if len(case) != 1:
        raise CtmarError(f"samples must be batches of one case, got {len(case)}")
    completed = _completions(methods, case, {} if limit is None else {LIMIT: limit})
    center, sinograms = case.center(), _centers(completed)
    images, reconstructed, uncorrected_hu = _images(methods, case, sinograms, filter)
    scores, facts, truth = _score_images(methods, images, uncorrected_hu, center)
    case_id = case.scan.case_id[0]
    rows = [
        {"case_id": case_id, "method": name}
        | dict.fromkeys(CASE_METRICS, math.nan)
        | {metric: float(figures[index, 0]) for metric, figures in scores.items()}
        | own_metrics(metrics or {}, images[name][0], truth, case_id)
        | _sinogram_scores(name, completed, sinograms, case)
        | bond(methods.get(name), images[name], reconstructed.get(name), center.scan)
        | facts
        for index, name in enumerate(images)
    ]
    return CaseResult(
        case_id,
        rows,
        {name: image[0, 0] for name, image in images.items()},
        {name: sinogram[0, 0] for name, sinogram in sinograms.items()},
    )


@torch.inference_mode()
def center_images(methods: Mapping[str, Method], case: Case, filter: str = "ram-lak") -> dict[str, Tensor]:
    """The centre slice in HU by method, ``clean`` last, each ``(1, 1, row, column)``; nothing is scored."""
    return images_and_change(methods, case, filter)[0]


@torch.inference_mode()
def images_and_change(
    methods: Mapping[str, Method], case: Case, filter: str = "ram-lak"
) -> tuple[dict[str, Tensor], float]:
    """:func:`center_images`, and the largest absolute change that a method made off the trace."""
    completed = _completions(methods, case)
    change = max(off_trace_change(sinogram, case.scan) for sinogram in completed.values())
    return _images(methods, case, _centers(completed), filter)[0], change


def _completions(
    methods: Mapping[str, Method], case: Case, known: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """All slices completed by every method that completes sinograms, those known, and the clean ones."""
    for name, method in methods.items():
        if not isinstance(method, Method):
            raise CtmarError(f"method {name!r} must be a Method, got {method!r}")
    found = {name: _complete(name, method, case.scan) for name, method in methods.items() if method.completes}
    return found | dict(known or {}) | {CLEAN: case.truth.clean}


def _centers(completed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The centre slices, ``(1, 1, angle, detector)``."""
    return {name: p[:, middle_of(p.shape[1])] for name, p in completed.items()}


def _score_images(
    methods: Mapping[str, Method], images: Mapping[str, Tensor], uncorrected_hu: Tensor, center: Case
) -> tuple[dict[str, Tensor], dict[str, Any], ImageTruth]:
    """Every figure of the images, ``(method, 1)``; facts of the case for its rows; the truth behind them."""
    scan, known, spacing_mm = center.scan, center.truth, center.scan.ray.grid.spacing_mm
    masks, parameters = (scan.metal_mask[0], known.body_mask[0]), known.parameters[0]
    truth = ImageTruth(
        reference_hu=known.reference_hu[0],
        clean_hu=images[CLEAN][0],
        uncorrected_hu=uncorrected_hu[0],
        metal_mask=masks[0],
        body_mask=masks[1],
        tissue_labels=known.tissue_labels[0],
        spacing_mm=spacing_mm,
    )
    stack = torch.cat(list(images.values()))
    # What completes sinograms gets its metal pasted back; an image shows its own, if it shows it.
    shows_own = {name for name, method in methods.items() if not method.completes}
    pasted = torch.tensor([name != UNCORRECTED and name not in shows_own for name in images])
    scores = image_metrics(stack, truth.reference_hu, *masks, spacing_mm)
    scores |= region_metrics(stack, truth) | change_metrics(stack, truth)
    scores |= texture_metrics(stack, truth, pasted, scores["ssim_aapm"])
    if parameters.get("metal_from") == "threshold":
        # The mask is the uncorrected image's own: held against it, metal would be shown without error.
        scores |= {name: torch.full_like(scores[name], torch.nan) for name in METAL_METRICS}
    area = float(masks[0].sum()) * spacing_mm**2
    facts = {
        "near_pixels": int(truth.near.sum()),
        "metal_area_mm2": area,
        "metal_size": size_group(area),
        "materials": "+".join(sorted(find_materials(parameters))),
        "kind": str(parameters.get("kind", "")),
        "body": str(parameters.get("body", "")),
        "part": str(parameters.get("part", "")),
    }
    return scores, facts, truth


def _images(
    methods: Mapping[str, Method], case: Case, sinograms: Mapping[str, Tensor], filter: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The centre slice by row, ``clean`` last: its own or its sinogram's FBP; all FBPs; as measured."""
    center = case.center().scan
    stack = center.ray.fbp(torch.cat([*sinograms.values(), center.measured]), filter=filter)
    *reconstructed, uncorrected_hu = mu_to_hu(stack, float(center.mu_water[0])).split(1)
    by_fbp = dict(zip(sinograms, reconstructed, strict=True))
    found = dict(by_fbp)
    expected = tuple(uncorrected_hu.shape)
    for name, method in methods.items():
        if not method.own_image:
            continue
        image = _own_image(method, case.scan, by_fbp.get(name, uncorrected_hu), uncorrected_hu, filter)
        if tuple(image.shape) != expected or not bool(torch.isfinite(image).all()):
            raise CtmarError(
                f"method {name!r} must return a finite image of shape {expected}, "
                f"got {tuple(image.shape)} in {case.scan.case_id[0]}"
            )
        found[name] = image.to(stack)
    rows = dict.fromkeys((*methods, *sinograms))
    return {name: found[name] for name in rows}, by_fbp, uncorrected_hu


def _own_image(
    method: Method, scan: Scan, corrected_hu: Tensor, uncorrected_hu: Tensor, filter: str
) -> Tensor:
    """The centre slice's image of a method that has more to show than an FBP."""
    scan = scan.to(method.device)
    if method.neighbours == 0:  # neighbours would be work for nothing
        chosen, pair = scan.center(), (corrected_hu.to(method.device), uncorrected_hu.to(method.device))
    else:
        chosen = method.select(scan)
        completed = method.complete(chosen).sinogram
        pair = (chosen.image_hu(completed, filter), chosen.image_hu(chosen.measured, filter))
    image = method.finish(chosen, *pair)
    return image[:, middle_of(image.shape[1])].cpu()


def _sinogram_scores(
    name: str, completed: Mapping[str, Tensor], sinograms: Mapping[str, Tensor], case: Case
) -> dict[str, float]:
    """Error on the trace, change off it, and inconsistency added; NaN for a method of images alone."""
    if name not in completed:
        return {"off_trace_max_abs_change": math.nan}
    center, beam = case.center(), case.scan.ray.beam
    error = rmse(sinograms[name], center.truth.clean, center.scan.metal_trace)
    added = helgason_ludwig(sinograms[name], beam) - helgason_ludwig(center.truth.clean, beam)
    return {
        "rmse_sinogram_trace": float(error[0, 0]),
        "hl_excess": float(added[0, 0]),
        "off_trace_max_abs_change": off_trace_change(completed[name], case.scan),
    }


def _complete(name: str, method: Method, scan: Scan) -> Tensor:
    """A method's completion of all slices, held to its shape and to being finite.

    One of a single slice answers a stack by its scored centre; the others stay as they were measured.
    """
    completed = method.complete_from(scan)
    if method.slices == 1 and scan.slices > 1:
        middle = middle_of(scan.slices)
        before, after = scan.measured[:, : middle.start], scan.measured[:, middle.stop :]
        completed = torch.cat([before, completed, after], dim=1)
    case, expected = scan.case_id[0], tuple(scan.measured.shape)
    if tuple(completed.shape) != expected:
        raise CtmarError(
            f"method {name!r} must return a sinogram of shape {expected}, "
            f"got {tuple(completed.shape)} in {case}"
        )
    wrong = int((~torch.isfinite(completed)).sum())
    if wrong:
        raise CtmarError(f"method {name!r} must return finite line integrals, got {wrong} others in {case}")
    return completed


def find_materials(parameters: Any) -> set[str]:
    """Names under the keys ``material`` and ``materials`` at any depth of a case's parameters."""
    found: set[str] = set()
    if isinstance(parameters, Mapping):
        for key, value in parameters.items():
            if key in ("material", "materials"):
                found |= set(_names(value))
            else:
                found |= find_materials(value)
    elif isinstance(parameters, (list, tuple)):
        for value in parameters:
            found |= find_materials(value)
    return found


def _names(value: Any) -> list[str]:
    """The strings in a string, a list or the values of a mapping."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [name for part in value for name in _names(part)] if isinstance(value, (list, tuple)) else []
