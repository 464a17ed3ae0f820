"""The loss outside of the metal: what stands in it is free, what lies beside it is not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.losses.outside import Outside
from ctmar.networks.wrap import mirror_left_right, roll_views
from ctmar.operators import RayTransform

RAY = RayTransform(ImageGrid((96, 96), 1.5), ParallelBeam(120, 137, 1.5))


def square(rows: slice, columns: slice, value: float) -> Tensor:
    image = torch.zeros(1, 1, 96, 96)
    image[..., rows, columns] = value
    return image


def metal_case(make_case) -> Case:
    """Metal of 8 × 8 pixels, off the axis; every ray counts as trace."""
    case = make_case(batch=1, views=120, bins=137)
    path = RAY.forward(square(slice(30, 38), slice(52, 60), 1.0))
    scan = replace(case.scan, metal_path_mm=path, metal_trace=torch.ones_like(path).bool(), ray=RAY)
    return Case(scan, case.truth)


def loss_of(case: Case, error_mu: Tensor, loss: Outside | None = None) -> float:
    completed = case.truth.clean + case.scan.ray.forward(error_mu)
    return float((loss or Outside())(completed, case))


def test_an_error_within_the_metal_costs_next_to_nothing(make_case) -> None:
    case = metal_case(make_case)
    # 200 HU too much, of water 0.02/mm, in four by four pixels: within the metal, and beside it.
    within = loss_of(case, square(slice(32, 36), slice(54, 58), 0.004))
    beside = loss_of(case, square(slice(32, 36), slice(62, 66), 0.004))
    assert within < 0.2 * beside
    assert loss_of(case, torch.zeros(1, 1, 96, 96)) == 0.0


def test_it_is_the_root_mean_square_near_metal_in_units_of_100_hu(make_case) -> None:
    case = metal_case(make_case)
    # A wide smooth error, which FBP gives back: 50 HU of 0.02/mm at its top.
    x = (torch.arange(96) - 47.5) * 1.5
    blob = (0.001 * torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / 2 / 20**2))[None, None]
    inside = torch.zeros(96, 96, dtype=torch.bool)
    inside[30:38, 52:60] = True
    near = torch.zeros(96, 96, dtype=torch.bool)
    near[30 - 13 : 38 + 13, 52 - 13 : 60 + 13] = True  # 20 mm are 13 pixels
    square_hundreds = (10 * blob[0, 0] / 0.02).square()
    wanted = (square_hundreds[~inside].sum() / (near & ~inside).sum()).sqrt()
    assert loss_of(case, blob) == pytest.approx(float(wanted), rel=0.03)


def test_it_turns_with_the_case_and_takes_some_bins_alone(make_case) -> None:
    case = metal_case(make_case)
    completed = case.truth.clean + RAY.forward(square(slice(30, 38), slice(44, 50), 0.01))
    wanted = float(Outside()(completed, case))

    def move(x: Tensor) -> Tensor:
        return roll_views(mirror_left_right(x), 7)

    moved = Case(case.scan.sinograms(move), replace(case.truth, clean=move(case.truth.clean)))
    assert float(Outside()(move(completed), moved)) == pytest.approx(wanted, rel=0.05)
    window = slice(20, 117)
    some = Case(case.scan.bins(window), replace(case.truth, clean=case.truth.clean[..., window]))
    assert float(Outside()(completed[..., window], some)) == pytest.approx(wanted, rel=1e-3)


def test_its_gradient_points_home_and_is_finite_at_the_truth(make_case) -> None:
    case = metal_case(make_case)
    error = RAY.forward(square(slice(32, 36), slice(62, 66), 0.004))
    for share in (0.0, 1.0):
        completed = (case.truth.clean + share * error).requires_grad_(True)
        Outside()(completed, case).backward()
        assert completed.grad is not None and completed.grad.isfinite().all()
    assert float((completed.grad * error).sum()) > 0


def test_a_distance_that_is_none_is_refused() -> None:
    with pytest.raises(CtmarError, match="near_mm must be positive, got 0"):
        Outside(near_mm=0)
