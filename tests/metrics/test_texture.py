import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctmar.metrics.texture import (
    artifact_index,
    bone_edges,
    contrast_to_noise,
    edge_sharpness,
    gradient_magnitude,
    masked_std,
    ring_streaks,
    streak_amplitude,
)

SIZE = 40
EVERYWHERE = torch.ones(1, SIZE, SIZE, dtype=torch.bool)


def chequered(amplitude: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return amplitude * (1.0 - 2.0 * ((rows + columns) % 2))[None]


def test_artifact_index_by_hand() -> None:
    # SD 50 with metal and 30 without: √(2500 - 900) = 40.
    assert artifact_index(chequered(50.0), chequered(30.0), EVERYWHERE).item() == pytest.approx(40.0)
    assert artifact_index(chequered(30.0), chequered(50.0), EVERYWHERE).item() == 0.0


def test_artifact_index_of_another_region_is_another() -> None:
    image = chequered(50.0)
    image[..., :20] = 0
    left = EVERYWHERE.clone()
    left[..., 20:] = False
    assert artifact_index(image, image * 0, left).item() == 0.0
    assert artifact_index(image, image * 0, ~left).item() == pytest.approx(50.0)
    assert math.isnan(artifact_index(image, image * 0, left & False).item())


def test_standard_deviation_matches_numpy_and_a_batch_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 1, 9, 9, generator=generator)
    mask = torch.rand(3, 1, 9, 9, generator=generator) > 0.4
    together = masked_std(images, mask)
    for n in range(3):
        expected = images[n, 0].double().numpy()[mask[n, 0].numpy()].std()
        assert together[n, 0].item() == pytest.approx(expected)
        assert torch.equal(masked_std(images[n : n + 1], mask[n : n + 1]), together[n : n + 1])


def test_streak_amplitude_by_hand() -> None:
    error = torch.zeros(1, 10, 10)
    error[0, 0, :5] = torch.tensor([100.0, 110, 120, 130, 140])  # the top 5 of 100
    error[0, 9, :5] = -60.0
    mask = torch.ones(1, 10, 10, dtype=torch.bool)
    assert streak_amplitude(error, error * 0, mask).item() == pytest.approx(120 + 60)
    assert streak_amplitude(error + 500, error * 0, mask).item() == pytest.approx(180)  # a shift is none
    mask[0, 0] = False
    assert streak_amplitude(error, error * 0, mask).item() == pytest.approx((4 * 60) / 4)
    assert math.isnan(streak_amplitude(error, error * 0, mask & False).item())


def test_ring_streaks_sees_streaks_and_neither_shading_nor_bone() -> None:
    flat = torch.full((1, SIZE, SIZE), 40.0)
    rows = torch.arange(SIZE)[:, None].expand(SIZE, SIZE)
    streaks = flat + 50.0 * (-1.0) ** rows
    # ± 50: the 95th less the 5th percentile is 100, of which a width of 10 mm takes nothing away.
    middle = (EVERYWHERE & (rows >= 14)) & (rows < 26)
    assert ring_streaks(streaks, EVERYWHERE, middle, 1.0).item() == pytest.approx(100.0, rel=0.08)
    shading = flat + rows * 0.2
    assert ring_streaks(shading, EVERYWHERE, middle, 1.0).item() < 3
    bone = flat.clone()
    bone[..., 10:20, 10:20] = 900.0
    assert ring_streaks(bone, EVERYWHERE, EVERYWHERE, 1.0).item() < 3
    assert math.isnan(ring_streaks(streaks, EVERYWHERE, EVERYWHERE & False, 1.0).item())
    edge = EVERYWHERE & (rows < 3)  # all of it within the margin of what is not body
    assert math.isnan(ring_streaks(streaks, EVERYWHERE, edge, 1.0).item())


def test_contrast_to_noise_by_hand() -> None:
    image = chequered(10.0)
    image[..., 20:] = chequered(20.0)[..., 20:] + 100.0
    left = EVERYWHERE.clone()
    left[..., 20:] = False
    # 100 / √((10² + 20²) / 2)
    assert contrast_to_noise(image, left, ~left).item() == pytest.approx(100 / math.sqrt(250))
    assert contrast_to_noise(image, left, left).item() == 0.0
    assert math.isnan(contrast_to_noise(image, left, left & False).item())


def test_gradient_of_a_plane_is_its_slope_and_agrees_with_scipy() -> None:
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    plane = (3.0 * rows + 4.0 * columns)[None]
    assert gradient_magnitude(plane, 0.5)[0, 5, 5].item() == pytest.approx(5.0 / 0.5)
    noise = torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sobel = [ndimage.sobel(noise.numpy(), axis, mode="nearest") / 8 for axis in (0, 1)]
    np.testing.assert_allclose(gradient_magnitude(noise[None], 1.0)[0].numpy(), np.hypot(*sobel))


def test_blur_lowers_sharpness_on_the_edges_of_bone() -> None:
    reference = torch.zeros(1, SIZE, SIZE)
    reference[..., 10:30, 10:30] = 800.0
    edges = bone_edges(reference, EVERYWHERE)
    assert int(edges.sum()) == 22**2 - 18**2  # a pixel on both sides of a 20 x 20 square's border
    blurred = torch.from_numpy(ndimage.gaussian_filter(reference.numpy(), (0, 1, 1)))
    sharp = edge_sharpness(reference, edges, 1.0).item()
    assert sharp == pytest.approx(400.0)  # a step of 800 over two pixels
    assert edge_sharpness(blurred, edges, 1.0).item() < 0.8 * sharp
    assert edge_sharpness(reference, ~edges, 1.0).item() == 0.0  # the wrong mask sees no edge
    assert math.isnan(edge_sharpness(reference, edges & False, 1.0).item())
