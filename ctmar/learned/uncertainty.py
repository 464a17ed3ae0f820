"""How far a completed ray may be off, from what is known of it; fitted and calibrated on validation cases.

An error's size follows the length in metal, the ray's noise, its distance from the rim of the trace and how
far the network's answers under symmetries lie apart. A log-linear model of these, fitted by least squares to
the logarithms of the validation errors, orders rays by their likely error; a factor then makes a stated share
of the errors lie within it (split conformal prediction with locally weighted residuals: Lei et al., JASA
113:1094, 2018).
"""

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import filled
from ctmar.methods.mbhc import ray_variance
from ctmar.methods.nmar import NMAR

FEATURES = ("one", "path", "noise", "rim", "spread", "change")
"""Of each ray, all logarithms but the first: length in metal, deviation by photons, mm to the nearest ray off
the trace, deviation of the answers, absolute difference of the completion from NMAR's."""
FLOOR = 1e-3
"""Added to line integrals before their logarithm is taken: below the noise of any scan."""
DAMPING = 1e-6
"""Of the normal equations, per ray."""


@dataclass(frozen=True)
class ErrorModel:
    """``half width = factor * exp(weights · features)``, a line integral.

    Attributes:
        weights: One a feature, in the order of :data:`FEATURES`.
        factor: What makes ``coverage`` of the errors lie within the half width.
        coverage: That share, in (0, 1).
    """

    weights: tuple[float, ...]
    factor: float
    coverage: float

    def half_width(self, features: Tensor) -> Tensor:
        """Half widths ``(ray,)`` of rays with these features ``(ray, feature)``."""
        weights = torch.tensor(self.weights, dtype=torch.float64, device=features.device)
        return self.factor * (features.double() @ weights).exp()

    def deviation(self, features: Tensor) -> Tensor:
        """Standard deviations ``(ray,)``: of normal errors ``coverage`` lie within the half width."""
        return self.half_width(features) / NormalDist().inv_cdf((1 + self.coverage) / 2)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for a card."""
        return asdict(self) | {"weights": list(self.weights), "features": list(FEATURES)}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "ErrorModel":
        """The inverse of :meth:`to_dict`.

        Raises:
            CtmarError: It was fitted to other features than this version's.
        """
        if told.get("features") != list(FEATURES):
            raise CtmarError(f"an error model must be of {', '.join(FEATURES)}, got {told.get('features')}")
        return cls(tuple(map(float, told["weights"])), float(told["factor"]), float(told["coverage"]))


def ray_features(scan: Scan, completed: Tensor, spread: Tensor) -> Tensor:
    """What is known of the rays on the trace, ``(ray, feature)``, float64.

    Args:
        scan: A batch.
        completed: The completion, ``scan.measured``'s shape.
        spread: Standard deviation of the answers, the same shape.
    """
    trace = scan.metal_trace
    noise = ray_variance(scan.measured.double()).sqrt()
    change = (completed - filled(scan, NMAR())).abs()
    known = (
        torch.ones_like(noise),
        (scan.metal_path_mm.double() + 1).log(),
        (noise + FLOOR).log(),
        (rim_distance(trace).double().clamp(min=1) * scan.ray.beam.det_spacing_mm).log(),
        (spread.double() + FLOOR).log(),
        (change.double() + FLOOR).log(),
    )
    return torch.stack([x[trace] for x in known], dim=-1)


def rim_distance(trace: Tensor) -> Tensor:
    """Bins from each ray to the nearest of its view off the trace; 0 off it, the detector's width if all are.

    Args:
        trace: Bool, ``(..., detector)``.
    """
    bins = trace.shape[-1]
    place = torch.arange(bins, device=trace.device).expand(trace.shape)
    before = torch.where(trace, -bins, place).cummax(-1).values
    after = torch.where(trace, 2 * bins, place).flip(-1).cummin(-1).values.flip(-1)
    return torch.minimum(place - before, after - place).clamp(max=bins)


def fit_error_model(features: Tensor, errors: Tensor, coverage: float = 0.9) -> ErrorModel:
    """Weights on one half of the rays' order, the factor on the other.

    Args:
        features: ``(ray, feature)`` of validation cases, in the order of the cases: the halves are of
            different cases, so that the factor is of cases that the weights have not seen.
        errors: Completed minus clean, ``(ray,)``.
        coverage: In (0, 1).
    """
    if not 0 < coverage < 1:
        raise CtmarError(f"coverage must lie in (0, 1), got {coverage!r}")
    half = len(errors) // 2
    if half < 10 * len(FEATURES):
        raise CtmarError(f"an error model needs at least {20 * len(FEATURES)} rays, got {len(errors)}")
    x, y = features[:half].double(), (errors[:half].double().abs() + FLOOR).log()
    gram = x.T @ x + DAMPING * half * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ y)
    model = ErrorModel(tuple(weights.tolist()), 1.0, coverage)
    ratio = (errors[half:].double().abs() / model.half_width(features[half:])).sort().values
    place = min(len(ratio) - 1, int(coverage * (len(ratio) + 1)))
    return ErrorModel(model.weights, float(ratio[place]), coverage)


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two vectors; ties in the order they come."""
    ranks = [x.flatten().argsort().argsort().double() for x in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
