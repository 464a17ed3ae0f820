"""One case under every method: completed, reconstructed and scored alike."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics import (
    CASE_METRICS,
    METAL_METRICS,
    Truth,
    change_metrics,
    helgason_ludwig,
    image_metrics,
    region_metrics,
    rmse,
    size_group,
    texture_metrics,
)
from ctmar.operators import RayTransform
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu

Method = Callable[[MARSample], Tensor]
"""Takes a batch of one case; returns the completed sinogram in the shape of ``measured``."""

UNCORRECTED = "uncorrected"

CLEAN = "clean"
"""Name of the row that reconstructs the clean sinogram itself: the noise floor, not a method."""


@runtime_checkable
class ImageMethod(Protocol):
    """A method whose result is an image; that it may be callable too gives it a sinogram to score.

    Nothing binds such an image to the measured rays: reports name the method as able to change those that
    missed the metal. A model that could have an image of its own but has none says ``own_image = False``.
    """

    def image_hu(self, sample: MARSample) -> Tensor:
        """The centre slice's corrected image in HU, ``(1, 1, row, column)``."""
        ...


def has_own_image(method: Any) -> TypeGuard[ImageMethod]:
    """Whether a method shows an image of its own, and not the FBP of the sinogram that it completes."""
    return isinstance(method, ImageMethod) and bool(getattr(method, "own_image", True))


@dataclass(frozen=True)
class CaseResult:
    """One case under every method.

    Attributes:
        case_id: The case's name.
        rows: The case's rows of ``cases.csv``, one a method, ``clean`` last.
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


@torch.no_grad()
def evaluate_case(
    methods: Mapping[str, Method | ImageMethod], sample: MARSample, ray: RayTransform, filter: str = "ram-lak"
) -> CaseResult:
    """Completes, reconstructs (all methods in one call) and scores one case; see :func:`evaluate`."""
    if sample.measured.shape[0] != 1 or len(sample.case_id) != 1:
        raise CtmarError(f"samples must be batches of one case, got {sample.measured.shape[0]}")
    completed = _completions(methods, sample)
    center, sinograms = sample.center(), _centers(completed)
    images, reconstructed, uncorrected_hu = _images(methods, sample, sinograms, ray, filter)
    scores, facts = _score_images(methods, images, uncorrected_hu, center, ray.grid.spacing_mm)
    rows = [
        {"case_id": sample.case_id[0], "method": name}
        | dict.fromkeys(CASE_METRICS, math.nan)
        | {metric: float(figures[index, 0]) for metric, figures in scores.items()}
        | _sinogram_scores(name, completed, sinograms, sample, ray)
        | _bond(methods.get(name), images[name], reconstructed.get(name), center, ray)
        | facts
        for index, name in enumerate(images)
    ]
    return CaseResult(
        sample.case_id[0],
        rows,
        {name: image[0, 0] for name, image in images.items()},
        {name: sinogram[0, 0] for name, sinogram in sinograms.items()},
    )


def center_images(
    methods: Mapping[str, Method | ImageMethod], sample: MARSample, ray: RayTransform, filter: str = "ram-lak"
) -> dict[str, Tensor]:
    """The centre slice in HU by method, ``clean`` last, each ``(1, 1, row, column)``; nothing is scored."""
    return _images(methods, sample, _centers(_completions(methods, sample)), ray, filter)[0]


def _completions(methods: Mapping[str, Method | ImageMethod], sample: MARSample) -> dict[str, Tensor]:
    """All slices completed by every method that completes sinograms, and the clean ones."""
    for name, method in methods.items():
        if not callable(method) and not isinstance(method, ImageMethod):
            raise CtmarError(f"method {name!r} must be a function or have image_hu, got {method!r}")
    found = {name: _complete(name, method, sample) for name, method in methods.items() if callable(method)}
    return found | {CLEAN: sample.clean}


def _centers(completed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The centre slices, ``(1, 1, angle, detector)``."""
    return {name: p[:, p.shape[1] // 2 : p.shape[1] // 2 + 1] for name, p in completed.items()}


def _score_images(
    methods: Mapping[str, Any],
    images: Mapping[str, Tensor],
    uncorrected_hu: Tensor,
    center: MARSample,
    spacing_mm: float,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every figure of the images, ``(method, 1)``, and facts of the case for its rows."""
    masks = center.metal_mask[0], center.body_mask[0]
    truth = Truth(
        reference_hu=center.reference_hu[0],
        clean_hu=images[CLEAN][0],
        uncorrected_hu=uncorrected_hu[0],
        metal_mask=masks[0],
        body_mask=masks[1],
        tissue_labels=center.tissue_labels[0],
        spacing_mm=spacing_mm,
    )
    stack = torch.cat(list(images.values()))
    # What completes sinograms gets its metal pasted back; an image shows its own, if it shows it.
    pasted = torch.tensor([name != UNCORRECTED and callable(methods.get(name, callable)) for name in images])
    scores = image_metrics(stack, truth.reference_hu, *masks, spacing_mm)
    scores |= region_metrics(stack, truth) | change_metrics(stack, truth)
    scores |= texture_metrics(stack, truth, pasted, scores["ssim_aapm"])
    if center.parameters[0].get("metal_from") == "threshold":
        # The mask is the uncorrected image's own: held against it, metal would be shown without error.
        scores |= {name: torch.full_like(scores[name], torch.nan) for name in METAL_METRICS}
    area = float(masks[0].sum()) * spacing_mm**2
    facts = {
        "near_pixels": int(truth.near.sum()),
        "metal_area_mm2": area,
        "metal_size": size_group(area),
        "materials": "+".join(sorted(find_materials(center.parameters[0]))),
        "kind": str(center.parameters[0].get("kind", "")),
        "body": str(center.parameters[0].get("body", "")),
        "part": str(center.parameters[0].get("part", "")),
    }
    return scores, facts


def _images(
    methods: Mapping[str, Method | ImageMethod],
    sample: MARSample,
    sinograms: Mapping[str, Tensor],
    ray: RayTransform,
    filter: str,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The centre slice by method, ``clean`` last: its own or its sinogram's FBP; all FBPs; as measured."""
    center = sample.center()
    stack = ray.fbp(torch.cat([*sinograms.values(), center.measured]), filter=filter)
    *reconstructed, uncorrected_hu = mu_to_hu(stack, float(sample.mu_water[0])).split(1)
    by_fbp = dict(zip(sinograms, reconstructed, strict=True))
    found = dict(by_fbp)
    expected = tuple(center.reference_hu.shape)
    for name, method in methods.items():
        if not has_own_image(method):
            continue
        image = method.image_hu(sample)
        if tuple(image.shape) != expected or not bool(torch.isfinite(image).all()):
            raise CtmarError(
                f"method {name!r} must return a finite image of shape {expected}, "
                f"got {tuple(image.shape)} in {sample.case_id[0]}"
            )
        found[name] = image.to(stack)
    return {name: found[name] for name in (*methods, CLEAN)}, by_fbp, uncorrected_hu


def _sinogram_scores(
    name: str,
    completed: Mapping[str, Tensor],
    sinograms: Mapping[str, Tensor],
    sample: MARSample,
    ray: RayTransform,
) -> dict[str, float]:
    """Error on the trace, change off it, and inconsistency added; NaN for a method of images alone."""
    if name not in completed:
        return {"off_trace_max_abs_change": math.nan}
    center = sample.center()
    error = rmse(sinograms[name], center.clean, center.metal_trace)
    added = helgason_ludwig(sinograms[name], ray.beam) - helgason_ludwig(center.clean, ray.beam)
    return {
        "rmse_sinogram_trace": float(error[0, 0]),
        "hl_excess": float(added[0, 0]),
        "off_trace_max_abs_change": off_trace_change(completed[name], sample),
    }


def _bond(
    method: Any, image: Tensor, by_fbp: Tensor | None, center: MARSample, ray: RayTransform
) -> dict[str, float | bool]:
    """Whether a method could change rays that missed the metal, and by how much it did."""
    if not has_own_image(method):
        return {"off_trace_rms_reprojected": 0.0, "changes_untouched_rays": False}
    changed = math.nan if by_fbp is None else reprojected_change(image, by_fbp, center, ray)
    return {"off_trace_rms_reprojected": changed, "changes_untouched_rays": True}


def reprojected_change(image_hu: Tensor, by_fbp_hu: Tensor, center: MARSample, ray: RayTransform) -> float:
    """What an image adds to the FBP of its completed sinogram, projected: RMS over the rays off the trace.

    Dimensionless, in line integrals, of which the completed sinogram's are the measured ones off the trace.
    The difference is projected, so that what projection and reconstruction lose between them does not count.

    Args:
        image_hu: The method's own image, ``(1, 1, row, column)``.
        by_fbp_hu: The FBP of its completed sinogram.
        center: The case's centre slice.
        ray: The geometry of both.
    """
    change = ray.forward((image_hu - by_fbp_hu).float() * (float(center.mu_water[0]) / 1000.0))
    untouched = change[~center.metal_trace].double()
    return float(untouched.square().mean().sqrt()) if untouched.numel() else math.nan


def _complete(name: str, method: Method, sample: MARSample) -> Tensor:
    """A method's completion, held to its shape and to being finite."""
    completed = method(sample)
    case, expected = sample.case_id[0], tuple(sample.measured.shape)
    if tuple(completed.shape) != expected:
        raise CtmarError(
            f"method {name!r} must return a sinogram of shape {expected}, "
            f"got {tuple(completed.shape)} in {case}"
        )
    wrong = int((~torch.isfinite(completed)).sum())
    if wrong:
        raise CtmarError(f"method {name!r} must return finite line integrals, got {wrong} others in {case}")
    return completed.to(sample.measured)


def off_trace_change(completed: Tensor, sample: MARSample) -> float:
    """Largest absolute change off the metal trace in any slice, dimensionless; 0.0 is what is promised."""
    change = (completed.double() - sample.measured.double()).abs()
    return float(torch.where(sample.metal_trace, 0.0, change).max())


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
