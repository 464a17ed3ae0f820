import math

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.metrics import helgason_ludwig
from ctmar.operators import RayTransform

BEAM = ParallelBeam(90, 95, 1.0)


@pytest.fixture(scope="module")
def sinogram() -> torch.Tensor:
    image = torch.zeros(1, 64, 64)
    image[0, 10:40, 20:50] = 0.02
    image[0, 44:56, 12:20] = 0.03
    return RayTransform(ImageGrid((64, 64), 1.0), BEAM).forward(image)


def test_a_projection_is_consistent_and_a_gap_is_not(sinogram) -> None:
    assert helgason_ludwig(sinogram, BEAM).item() < 2e-4
    gap = sinogram.clone()
    gap[0, 20:30, 40:50] = 0
    assert helgason_ludwig(gap, BEAM).item() > 0.01


def test_moment_zero_by_hand() -> None:
    # Two levels of mass, 1 and 3, in the middle bin: only moment 0 is not zero; RMS 1 of a mean of 2.
    beam = ParallelBeam(10, 5, 1.0)
    p = torch.zeros(1, 10, 5)
    p[0, ::2, 2], p[0, 1::2, 2] = 1.0, 3.0
    assert helgason_ludwig(p, beam).item() == pytest.approx(math.sqrt(1 / 5) / 2)


def test_a_scale_changes_nothing_and_an_empty_sinogram_has_none(sinogram) -> None:
    noisy = sinogram + 0.1 * torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    first, second = (helgason_ludwig(c * noisy, BEAM).item() for c in (1.0, 7.0))
    assert first == pytest.approx(second) and first > 1e-4
    assert math.isnan(helgason_ludwig(sinogram * 0, BEAM).item())


def test_views_in_another_order_are_inconsistent(sinogram) -> None:
    shuffled = sinogram[:, torch.randperm(90, generator=torch.Generator().manual_seed(0))]
    assert helgason_ludwig(shuffled, BEAM).item() > 20 * helgason_ludwig(sinogram, BEAM).item()


def test_a_batch_of_one_and_another_geometry(sinogram) -> None:
    pair = torch.stack([sinogram, sinogram**2])
    assert torch.allclose(helgason_ludwig(pair, BEAM)[0], helgason_ludwig(sinogram, BEAM))
    with pytest.raises(CtmarError, match=r"sinogram must be of \(90, 95\), got \(90, 94\)"):
        helgason_ludwig(sinogram[..., :-1], BEAM)
