import math

import numpy as np
import pytest
import torch

from ctmar.geometry import FanBeam, ParallelBeam
from ctmar.physics.detector import averaged, bin_positions_mm, blur_kernel, blurred, dilated


def moments(kernel: list[float], spacing: float) -> tuple[float, float]:
    """Mean and variance in mm of a kernel."""
    x = (np.arange(len(kernel)) - len(kernel) // 2) * spacing
    mean = float(np.dot(kernel, x))
    return mean, float(np.dot(kernel, x**2)) - mean**2


@pytest.mark.parametrize("focal,fwhm", [(1.2, 0.0), (0.0, 0.9), (1.2, 0.9)])
def test_a_kernel_has_the_widths_it_is_given(focal: float, fwhm: float) -> None:
    spacing = 0.1
    kernel = blur_kernel(focal, fwhm, spacing)
    assert len(kernel) % 2 == 1 and sum(kernel) == pytest.approx(1.0)
    mean, variance = moments(kernel, spacing)
    # A box of width w has w²/12, a Gaussian (FWHM / 2.355)²; cells add a little.
    expected = focal**2 / 12 + (fwhm / 2.3548) ** 2
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert variance == pytest.approx(expected, rel=0.02)


def test_no_blur_is_no_change() -> None:
    assert blur_kernel(0.0, 0.0, 0.5) == [1.0]
    x = torch.rand(2, 3, 9)
    assert torch.equal(blurred(x, [1.0]), x)


def test_blur_keeps_air_and_the_sum_and_spreads_a_spike() -> None:
    kernel = blur_kernel(0.0, 2.0, 0.5)
    air = torch.ones(3, 40)
    torch.testing.assert_close(blurred(air, kernel), air)
    spike = torch.zeros(1, 81)
    spike[0, 40] = 1.0
    spread = blurred(spike, kernel)
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(spread[0, 40 - len(kernel) // 2 : 41 + len(kernel) // 2], torch.tensor(kernel))


def test_bins_lie_where_their_rays_pass_the_axis() -> None:
    beam = ParallelBeam(4, 5, 2.0, det_offset_mm=0.5)
    np.testing.assert_allclose(bin_positions_mm(beam), [-3.5, -1.5, 0.5, 2.5, 4.5])
    fan = FanBeam(4, 101, 1.0, 500.0, 500.0, "flat")
    positions = bin_positions_mm(fan)
    assert positions[50] == 0.0
    # The ray to the bin at 50 mm on the detector passes the axis at R sin(atan(50 / 1000)).
    assert positions[100] == pytest.approx(500 * math.sin(math.atan(0.05)))


def test_dilation_and_means() -> None:
    trace = torch.tensor([[False, False, True, False, False, False]])
    assert dilated(trace).tolist() == [[False, True, True, True, False, False]]
    assert dilated(trace, 2).tolist() == [[True, True, True, True, True, False]]
    assert torch.equal(dilated(trace, 0), trace)
    assert averaged(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), 2).tolist() == [[2.0, 6.0]]
