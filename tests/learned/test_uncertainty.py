"""Intervals hold the share of the errors that they promise, and are wide where errors are large."""

from dataclasses import replace

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.inputs.measured import Measured
from ctmar.inputs.trace import Trace
from ctmar.learned.pretrained import Pretrained
from ctmar.learned.uncertainty import (
    FEATURES,
    ErrorModel,
    fit_error_model,
    rank_correlation,
    ray_features,
    rim_distance,
)
from ctmar.methods import LI, NMAR
from tests.methods.disk import BEAM, disk_case
from tests.tiny_network import tiny_network


def rays(count: int = 20_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and errors whose size is ``0.1 * exp(features · (0, 0.5, 0, -0.3, 0.8, 0))``."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, len(FEATURES), generator=generator).double()
    features[:, 0] = 1
    size = 0.1 * (features @ torch.tensor([0, 0.5, 0, -0.3, 0.8, 0]).double()).exp()
    return features, size * torch.randn(count, generator=generator).double()


def test_the_weights_are_found_and_the_promised_share_lies_within() -> None:
    model = fit_error_model(*rays(), coverage=0.9)
    assert model.weights[1:] == pytest.approx([0.5, 0, -0.3, 0.8, 0], abs=0.06)  # the floor flattens it
    features, errors = rays(seed=1)
    within = errors.abs() <= model.half_width(features)
    assert float(within.double().mean()) == pytest.approx(0.9, abs=0.01)
    # Where errors are largest it holds nearly as many; one width for all rays would not.
    widest = model.half_width(features).argsort()[-4000:]
    assert float(within[widest].double().mean()) == pytest.approx(0.9, abs=0.05)
    same = errors.abs() <= errors.abs().quantile(0.9)
    assert float(same[widest].double().mean()) < 0.75


def test_it_travels_as_plain_types_and_of_its_own_features_alone() -> None:
    model = fit_error_model(*rays(2000))
    told = model.to_dict()
    assert ErrorModel.from_dict(told) == model
    with pytest.raises(CtmarError, match="must be of one, path, .*, got"):
        ErrorModel.from_dict(told | {"features": ["one"]})


def test_the_distance_to_the_rim_worked_by_hand() -> None:
    trace = torch.tensor([[0, 1, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0, 1]]).bool()
    assert rim_distance(trace).tolist() == [[0, 1, 2, 1, 0, 1, 0], [2, 1, 0, 0, 0, 0, 1]]
    assert rim_distance(torch.ones(1, 5, dtype=torch.bool)).tolist() == [[5] * 5]


def test_features_are_of_the_rays_on_the_trace(make_case) -> None:  # type: ignore[no-untyped-def]
    scan = make_case().scan
    completed, spread = scan.fills["nmar"] + 0.5, torch.full_like(scan.measured, 0.1)
    features = ray_features(scan, completed, spread)
    assert features.shape == (int(scan.metal_trace.sum()), len(FEATURES))
    assert torch.isfinite(features).all()
    longer = features[:, FEATURES.index("path")].exp() - 1
    torch.testing.assert_close(longer, scan.metal_path_mm[scan.metal_trace].double(), atol=1e-4, rtol=1e-4)


def test_the_fill_that_features_compare_with_need_not_be_at_hand() -> None:
    scan = disk_case(slices=1).scan
    nmar, spread = NMAR().complete(scan).sinogram, torch.full_like(scan.measured, 0.1)
    at_hand = ray_features(replace(scan, fills={"nmar": nmar}), nmar + 0.5, spread)
    assert torch.equal(ray_features(scan, nmar + 0.5, spread), at_hand)
    assert torch.allclose(at_hand[:, FEATURES.index("change")].exp(), torch.tensor(0.5).double(), atol=2e-3)


def test_calibrated_weights_of_another_fill_tell_their_deviation() -> None:
    scan = disk_case(slices=1).scan
    card = {"uncertainty": ErrorModel((0.0,) * len(FEATURES), 0.3, 0.9).to_dict()}
    network = tiny_network(inputs={"measured": Measured(), "trace": Trace()}, fill=LI())
    deviation = Pretrained(network, BEAM, card, symmetries=2).complete(scan).deviation
    assert deviation is not None and (deviation[scan.metal_trace] > 0).all()


def test_ranks_of_what_orders_alike_and_against() -> None:
    x = torch.tensor([0.1, 5.0, 2.0, 9.0])
    assert rank_correlation(x, x**3) == pytest.approx(1.0)
    assert rank_correlation(x, -x) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "count,coverage,message",
    [(50, 0.9, "at least 120 rays, got 50"), (2000, 1.0, r"coverage must lie in \(0, 1\)")],
)
def test_too_few_rays_and_an_impossible_share_are_refused(count: int, coverage: float, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        fit_error_model(*rays(count), coverage=coverage)
