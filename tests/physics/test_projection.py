import numpy as np
import pytest
import torch

from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics.projection import metal_paths, tissue_paths

GRID, BEAM = ImageGrid((256, 256), 1.0), ParallelBeam(60, 421, 1.0)


def blob(x: float, y: float, radius: float) -> np.ndarray:
    c = np.arange(256) - 127.5
    return (np.hypot(c[None, :] - x, -c[:, None] - y) < radius).astype(np.float32)


@pytest.mark.parametrize("place", [(0, 0, 40), (50, -30, 30), (90, 90, 20), (0, 0, 127)])
def test_empty_margins_change_nothing(place: tuple[float, float, float]) -> None:
    fine = RayTransform(GRID, BEAM)
    tissue = np.stack([blob(*place), 0.3 * blob(*place)])
    torch.testing.assert_close(
        tissue_paths(tissue, fine), fine.forward(torch.from_numpy(tissue)), rtol=1e-5, atol=1e-3
    )


def test_an_empty_plane_has_no_paths() -> None:
    paths = tissue_paths(np.zeros((2, 256, 256), np.float32), RayTransform(GRID, BEAM))
    assert paths.shape == (2, 60, 421) and not paths.any()


@pytest.mark.parametrize("beam", [BEAM, FanBeam(40, 300, 2.0, 500.0, 500.0, "arc")])
def test_metal_is_projected_from_around_itself(beam: ParallelBeam | FanBeam) -> None:
    fine = RayTransform(GRID, beam)
    tissue = np.stack([blob(0, 0, 100), 0.2 * blob(20, 30, 40)])
    metal = {"gold": blob(20, 30, 4), "PEEK": 0.5 * blob(-40, 10, 6)}
    found = metal_paths(tissue, metal, fine)
    assert found is not None
    inside = fine.forward(torch.from_numpy(np.stack(list(metal.values()))))
    removed = fine.forward(torch.from_numpy(tissue * sum(metal.values())))
    torch.testing.assert_close(found.inside, inside, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(found.removed, removed, rtol=1e-5, atol=1e-3)
    on_top = metal_paths(tissue, metal, fine, replaces=False)
    assert on_top is not None and not on_top.removed.any() and torch.equal(on_top.inside, found.inside)


def test_no_metal_is_none() -> None:
    assert (
        metal_paths(np.ones((2, 256, 256), np.float32), {"gold": blob(0, 0, 0)}, RayTransform(GRID, BEAM))
        is None
    )
