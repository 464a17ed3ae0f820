"""Laws of the ray transform over random geometries: linear, adjoint, and true to the image's symmetries."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform

FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None)
LENGTHS = st.floats(0.25, 3.0)
SEEDS = st.integers(0, 2**16)
BACKENDS = st.sampled_from(["torch", "native"])


@st.composite
def grids(draw: st.DrawFn, square: bool = False) -> ImageGrid:
    rows = draw(st.integers(1, 14))
    return ImageGrid((rows, rows if square else draw(st.integers(1, 14))), draw(LENGTHS))


@st.composite
def beams(draw: st.DrawFn, wraps: bool = False, step: int = 1) -> ParallelBeam:
    views, bins, spacing = step * draw(st.integers(1, 9)), draw(st.integers(1, 24)), draw(LENGTHS)
    offset = 0.0 if wraps else draw(st.floats(-0.5, 0.5))
    return ParallelBeam(views, bins, spacing, det_offset_mm=offset)


def image(grid: ImageGrid, seed: int) -> Tensor:
    return torch.randn(1, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def turned(p: Tensor, by: int) -> Tensor:
    """The sinogram's views from number ``by`` on; what comes round is mirrored: p(θ + π, s) = p(θ, −s)."""
    views = p.shape[-2]
    by %= 2 * views
    both = torch.cat([p, p.flip(-1)], dim=-2)
    return torch.cat([both, both], dim=-2)[..., by : by + views, :]


@FEW
@given(grids(), beams(), BACKENDS, SEEDS, st.floats(-3, 3))
def test_forward_and_adjoint_are_linear(
    grid: ImageGrid, beam: ParallelBeam, backend: str, seed: int, factor: float
) -> None:
    ray = RayTransform(grid, beam, backend)
    a, b = image(grid, seed), image(grid, seed + 1)
    same(ray.forward(a + factor * b), ray.forward(a) + factor * ray.forward(b))
    p, q = ray.forward(a), ray.forward(b)
    same(ray.adjoint(p + factor * q), ray.adjoint(p) + factor * ray.adjoint(q))


@FEW
@given(grids(), beams(), BACKENDS, SEEDS)
def test_the_adjoint_is_the_transpose(grid: ImageGrid, beam: ParallelBeam, backend: str, seed: int) -> None:
    ray = RayTransform(grid, beam, backend)
    x = image(grid, seed)
    y = torch.randn(1, *beam.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    ax = ray.forward(x)
    gap = (ax * y).sum() - (x * ray.adjoint(y)).sum()
    assert abs(float(gap)) <= 1e-12 * max(float(ax.norm() * y.norm()), 1e-3)


@FEW
@given(grids(), beams(wraps=True), BACKENDS, SEEDS)
def test_flips_of_the_image_are_flips_of_the_sinogram(
    grid: ImageGrid, beam: ParallelBeam, backend: str, seed: int
) -> None:
    ray = RayTransform(grid, beam, backend)
    x = image(grid, seed)
    p = ray.forward(x)
    # View k of the mirrored image is the view at π − θ: from the last to the first, the first one mirrored.
    backwards = turned(p, 1).flip(-2)
    same(ray.forward(x.flip(-1)), backwards)
    same(ray.forward(x.flip(-2)), backwards.flip(-1))
    same(ray.forward(x.flip(-1, -2)), p.flip(-1))


@FEW
@given(grids(square=True), beams(wraps=True, step=2), BACKENDS, SEEDS)
def test_a_quarter_turn_of_the_image_rolls_the_views(
    grid: ImageGrid, beam: ParallelBeam, backend: str, seed: int
) -> None:
    ray = RayTransform(grid, beam, backend)
    x = image(grid, seed)
    quarter = beam.num_angles // 2
    rolled = turned(ray.forward(x), -quarter)
    same(ray.forward(x.rot90(1, (-2, -1))), rolled)


def test_the_laws_can_fail() -> None:
    grid, beam = ImageGrid((9, 9), 1.0), ParallelBeam(8, 13, 1.0)
    ray = RayTransform(grid, beam, "torch")
    x = image(grid, 0)
    p = ray.forward(x)
    assert not torch.allclose(ray.forward(x.flip(-1)), turned(p, 1).flip(-2).flip(-1))
    assert not torch.allclose(ray.forward(x.rot90(1, (-2, -1))), turned(p, 4))
