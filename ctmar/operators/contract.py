"""What a projector of a user's own is held to: exact transposes, this project's geometry, no surprises."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.choice import MAPS, Backend, Backends, Beam, made

GRID, BEAM = ImageGrid((32, 37), 1.7), ParallelBeam(23, 51, 1.3, det_offset_mm=0.2)
"""Neither square nor even, pixels that are no bins, a detector set off: no mirrored map survives that."""
DRAWS = 3
MIRRORED = 1.0e-3
"""The least gap to the transpose of mirrored angles: a check that does not see those sees nothing."""
FLIPPED = 0.5
"""The least distance to the maps of an image turned upside down, relative."""
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BackendFigures:
    """What was measured of a projector.

    Attributes:
        gap: ``|⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖)``, the largest of three zero-mean random draws.
        gap_pixel_driven: The same of ``backproject`` and ``backproject_adjoint``.
        gap_mirrored: The gap to the transpose of mirrored angles; large, or ``gap`` would say nothing.
        distance: Relative distance to ``native`` of each map on a smooth image, by the map's name.
    """

    gap: float
    gap_pixel_driven: float
    gap_mirrored: float
    distance: dict[str, float]


def check_backend(
    backend: str | Callable[[ImageGrid, Beam], Any],
    grid: ImageGrid = GRID,
    beam: Beam = BEAM,
    *,
    exact: float = 1e-6,
    near: float = 0.05,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> BackendFigures:
    """Holds a projector to what :class:`~ctmar.operators.Backend` promises.

    Its pairs must be transposes of each other, which gradients and iterative methods rely on, and tell
    themselves from those of mirrored angles (or the check could not fail); its maps must be near
    ``native``'s, which says that angles, axes and units are this project's.

    Args:
        backend: Its class, or its name as ``projector.backend`` has it.
        grid: Pixels.
        beam: Rays; fans are asked for by a :class:`~ctmar.geometry.FanBeam` here.
        exact: The largest gap of a pair of transposes.
        near: The largest relative distance to ``native`` on a smooth image. Other interpolation than
            Joseph's is some percent away on so small a grid.
        dtype: Of the tensors that it is tried with; float64 goes with ``exact=1e-12``.
        device: Where they lie.

    Returns:
        The figures.

    Raises:
        CtmarError: What is promised and what was found, the first that fails.
    """
    mine, own = _made(backend, grid, beam), Backends(grid, beam).named("native")
    draws = [_draw(seed, grid, beam, dtype, device) for seed in range(DRAWS)]
    for name in MAPS:
        _require_form(name, getattr(mine, name), draws[0], beam)
    gap = _require_exact("forward and adjoint", mine.forward, mine.adjoint, draws, exact)
    pixel_driven = _require_exact(
        "backproject_adjoint and backproject", mine.backproject_adjoint, mine.backproject, draws, exact
    )
    mirrored = _gap(mine.forward, _made(backend, grid, _mirrored(beam)).adjoint, draws)
    if not mirrored > MIRRORED:
        raise CtmarError(
            "a projector must tell its angles from mirrored ones: the gap to their transpose must be above"
            f" {MIRRORED:g}, got {mirrored:.2g}"
        )
    return BackendFigures(gap, pixel_driven, mirrored, _distances(mine, own, grid, near, dtype, device))


def _made(backend: str | Callable[[ImageGrid, Beam], Any], grid: ImageGrid, beam: Beam) -> Backend:
    return Backends(grid, beam).named(backend) if isinstance(backend, str) else made(backend, grid, beam)


def _draw(
    seed: int, grid: ImageGrid, beam: Beam, dtype: torch.dtype, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """A random image and sinogram of zero mean, two of each."""
    generator = torch.Generator().manual_seed(seed)
    pair = (torch.randn(2, *shape, generator=generator, dtype=dtype) for shape in (grid.shape, beam.shape))
    image, sinogram = (x.to(device) for x in pair)
    return image, sinogram


def _mirrored(beam: Beam) -> Beam:
    return replace(beam, angles=tuple(-angle for angle in beam.theta.tolist()))


def _require_form(name: str, apply: Map, draw: tuple[Tensor, Tensor], beam: Beam) -> None:
    """A map's shape, dtype and device, and that what it is given stays as it is."""
    x, like = draw if name in ("forward", "backproject_adjoint") else draw[::-1]
    before = x.clone()
    out = apply(x)
    form = (tuple(like.shape), like.dtype, like.device.type)
    came = (tuple(out.shape), out.dtype, out.device.type) if isinstance(out, Tensor) else type(out).__name__
    if came != form:
        raise CtmarError(f"{name} must return {form} for a {type(beam).__name__}, got {came}")
    if not torch.equal(x, before):
        raise CtmarError(f"{name} must leave what it is given as it is, it changed it")
    if not bool(torch.isfinite(out).all()) or not bool(out.any()):
        raise CtmarError(f"{name} must return finite numbers that are not all 0, it does not")


def _require_exact(
    names: str, forward: Map, adjoint: Map, draws: list[tuple[Tensor, Tensor]], exact: float
) -> float:
    gap = _gap(forward, adjoint, draws)
    if not gap <= exact:
        raise CtmarError(f"{names} must be transposes, their gap at most {exact:g}, got {gap:.2g}")
    return gap


def _gap(forward: Map, adjoint: Map, draws: list[tuple[Tensor, Tensor]]) -> float:
    """The largest ``|⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖)``; products in float64."""
    worst = 0.0
    for image, sinogram in draws:
        x, y = image.double(), sinogram.double()
        ax, aty = forward(image).double(), adjoint(sinogram).double()
        worst = max(worst, float(((ax * y).sum() - (x * aty).sum()).abs() / (ax.norm() * y.norm())))
    return worst


def _distances(
    mine: Backend,
    own: Backend,
    grid: ImageGrid,
    near: float,
    dtype: torch.dtype,
    device: str | torch.device,
) -> dict[str, float]:
    """How far each map is from this project's own on a smooth, lopsided image and on its sinogram."""
    blob = _blob(grid)
    found: dict[str, float] = {}
    for name in MAPS:
        x, turned = blob, blob.flip(-2)
        if name in ("adjoint", "backproject"):
            x, turned = own.forward(x), own.forward(turned)
        wanted, other = (getattr(own, name)(image) for image in (x, turned))
        got = getattr(mine, name)(x.to(dtype=dtype, device=device)).double().cpu()
        if not _relative(other, wanted) > FLIPPED:  # else upside down would pass too
            raise CtmarError(
                f"grid and beam must tell an image from its reflection, {name} of these does not"
            )
        found[name] = _relative(got, wanted)
        if not found[name] <= near:
            raise CtmarError(
                f"{name} must be within {near:g} of native's on a smooth image, got {found[name]:.2g}"
            )
    return found


def _blob(grid: ImageGrid) -> Tensor:
    """A smooth image without a symmetry that ends before the edge, ``(1, row, column)``, float64."""
    rows, columns = grid.shape
    y = torch.arange(rows, dtype=torch.float64)[:, None] / rows - 0.35
    x = torch.arange(columns, dtype=torch.float64)[None] / columns - 0.6
    return torch.exp(-(y**2) / 0.012 - (x - 0.4 * y) ** 2 / 0.012)[None]


def _relative(x: Tensor, truth: Tensor) -> float:
    return float((x - truth).norm() / truth.norm())
