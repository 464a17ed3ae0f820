import pytest
import torch

from ctmar.methods import linear_interpolation


def _trace(*bins: int, count: int = 9) -> torch.Tensor:
    trace = torch.zeros(1, 1, 1, count, dtype=torch.bool)
    trace[..., list(bins)] = True
    return trace


def test_affine_runs_are_exact() -> None:
    truth = torch.arange(9.0, dtype=torch.float64).mul(0.7).add(2).reshape(1, 1, 1, 9)
    trace = _trace(2, 3, 4, 6)
    damaged = torch.where(trace, 99.0, truth)
    torch.testing.assert_close(linear_interpolation(damaged, trace), truth)
    assert not torch.allclose(linear_interpolation(damaged, _trace(2, 3)), truth)


def test_by_hand() -> None:
    sinogram = torch.tensor([[[[1.0, 0, 0, 4, 5, 0, 3, 0, 0]]]])
    expected = torch.tensor([[[[1.0, 2, 3, 4, 5, 4, 3, 3, 3]]]])
    torch.testing.assert_close(linear_interpolation(sinogram, _trace(1, 2, 5, 7, 8)), expected)


def test_edge_run_takes_its_one_neighbour() -> None:
    sinogram = torch.tensor([[[[7.0, 7, 2, 3, 4, 5, 6, 7, 8]]]])
    assert linear_interpolation(sinogram, _trace(0, 1))[..., :2].tolist() == [[[[2.0, 2.0]]]]


def test_view_without_knowledge_is_zero_and_finite() -> None:
    out = linear_interpolation(torch.full((1, 1, 1, 9), torch.inf), _trace(*range(9)))
    assert torch.equal(out, torch.zeros(1, 1, 1, 9))


def test_empty_trace_is_identity_and_completion_idempotent() -> None:
    sinogram = torch.randn(2, 3, 5, 9)
    trace = torch.rand(2, 3, 5, 9) < 0.4
    assert torch.equal(linear_interpolation(sinogram, torch.zeros_like(trace)), sinogram)
    once = linear_interpolation(sinogram, trace)
    assert torch.equal(linear_interpolation(once, trace), once)
    assert torch.equal(once[~trace], sinogram[~trace])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_behind_metal_does_not_matter(value: float) -> None:
    sinogram, trace = torch.randn(1, 1, 4, 9), _trace(3, 4).expand(1, 1, 4, 9)
    spoiled = torch.where(trace, value, sinogram)
    assert torch.equal(linear_interpolation(spoiled, trace), linear_interpolation(sinogram, trace))
