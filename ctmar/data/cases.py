"""Where cases come from: the simulator, or a source of the user's own."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.methods.base import Method
from ctmar.operators import RayTransform

PARTS = ("ray", "kvp", "fills", "count", "case")


class CaseSource(Protocol):
    """What training and evaluation ask of a source of cases; ``data._target_`` names one of the user's own.

    It is made with the keys of ``data`` that are not the run's, and with ``setup``, the
    :class:`~ctmar.data.setup.CaseSetup`: ``ray``, ``kvp`` and ``fills`` are that one's.
    :func:`~ctmar.data.paired.image_case` and :func:`~ctmar.data.paired.sinogram_case` make its cases.

    Attributes:
        ray: Ray transform of every case.
        kvp: Tube voltage of every case in kV; None where it is not known.
        fills: Methods whose completions travel with each scan, by name.
    """

    @property
    def ray(self) -> RayTransform[ParallelBeam]: ...  # noqa: D102

    @property
    def kvp(self) -> float | None: ...  # noqa: D102

    @property
    def fills(self) -> Mapping[str, Method]: ...  # noqa: D102

    def count(self, split: str) -> int | None:
        """Cases of ``train``, ``val`` or ``test``; None for as many as are asked for."""
        ...

    def case(self, split: str, index: int) -> Case:
        """Case ``index`` of a split as a batch of one: the same whenever and wherever it is asked for."""
        ...


def require_source(source: Any, name: str) -> CaseSource:
    """Raises a CtmarError where ``name`` made something that gives no cases."""
    missing = [part for part in PARTS if not hasattr(source, part)]
    if missing:
        raise CtmarError(
            f"a source of cases must have {', '.join(PARTS)}, got {name} without {', '.join(missing)}"
        )
    found: CaseSource = source
    return found


def require_case(case: Any, source: CaseSource, slices: int) -> Case:
    """Holds a case of a user's own source to what every method and metric rests on.

    Raises:
        CtmarError: What is of another shape or type, not finite, or not the measurement off the trace.
    """
    if not isinstance(case, Case) or len(case) != 1:
        got = f"a batch of {len(case)}" if isinstance(case, Case) else type(case).__name__
        raise CtmarError(f"a source of cases must give a Case, a batch of one, got {got}")
    scan, truth, name = case.scan, case.truth, ", ".join(case.scan.case_id) or "a case without case_id"
    if (scan.ray.grid, scan.ray.beam) != (source.ray.grid, source.ray.beam):
        raise CtmarError(f"{name}: must be of the source's own ray, got another geometry")
    if len(scan.case_id) != 1 or len(truth.parameters) != 1:
        raise CtmarError(f"{name}: case_id and parameters must have one entry each, got others")
    sinogram = (1, slices, *source.ray.beam.shape)
    image = (1, slices, *source.ray.grid.shape)
    for shape, dtype, fields in (
        (sinogram, torch.float32, {"measured": scan.measured, "clean": truth.clean}),
        (sinogram, torch.float32, {"metal_path_mm": scan.metal_path_mm, **scan.fills, **scan.deviations}),
        (sinogram, torch.bool, {"metal_trace": scan.metal_trace}),
        (image, torch.float32, {"reference_hu": truth.reference_hu}),
        (image, torch.bool, {"metal_mask": scan.metal_mask, "body_mask": truth.body_mask}),
        (image, torch.uint8, {"tissue_labels": truth.tissue_labels}),
        ((1,), torch.float32, {"mu_water": scan.mu_water}),
    ):
        for field, value in fields.items():
            _require(f"{name}: {field}", value, shape, dtype)
    if not torch.equal(truth.clean[~scan.metal_trace], scan.measured[~scan.metal_trace]):
        raise CtmarError(f"{name}: clean must be the measurement off the metal trace, got other values")
    return case


def _require(what: str, value: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if value.shape != shape or value.dtype != dtype:
        raise CtmarError(f"{what} must be {dtype} of {shape}, got {value.dtype} of {tuple(value.shape)}")
    if not bool(torch.isfinite(value).all()):
        raise CtmarError(f"{what} must be finite, got NaN or infinite values")
