from types import ModuleType

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.physics.materials import attenuation
from ctmar.physics.spectra import Spectrum
from ctmar.physics.water import Water, WaterCorrection

DEPTH = np.array([0.0, 1.0, 50.0, 300.0, 599.0])


def test_precorrection_is_exact_for_water(benchmark: ModuleType) -> None:
    correct = WaterCorrection(Water(), Spectrum.tube(120, {"Cu": 0.2}), 70.0)
    measured = torch.from_numpy(-np.log(benchmark.direct_sum({"water": DEPTH})))
    expected = torch.from_numpy(DEPTH * attenuation("water", [70.0])[0])
    torch.testing.assert_close(correct(measured), expected, rtol=0, atol=5e-5)
    assert not torch.allclose(measured, expected, rtol=0, atol=5e-2)


def test_it_goes_on_straight_or_as_the_polynomial() -> None:
    spectrum, beyond = Spectrum.tube(120, {"Cu": 0.2}), torch.tensor([20.0, 30.0, 40.0], dtype=torch.float64)
    straight = WaterCorrection(Water(), spectrum, 70.0)(beyond)
    assert float(straight[2] - straight[1]) == pytest.approx(float(straight[1] - straight[0]))
    assert float(straight[0]) > 0
    cubic = WaterCorrection(Water(degree=3, largest_mm=500.0, straight=False), spectrum, 70.0)(beyond)
    assert abs(float(cubic[2] - 2 * cubic[1] + cubic[0])) > 0.01


def test_each_bin_behind_a_bowtie_has_a_polynomial_of_its_own() -> None:
    spectrum = Spectrum.tube(120, {})
    mu = attenuation("Al", spectrum.energies_kev)
    thickness = np.array([0.0, 5.0, 20.0, 5.0])
    prefilter = np.exp(-thickness[:, None] * mu)
    correct = WaterCorrection(Water(), spectrum, 70.0, prefilter=prefilter)
    left = np.exp(-DEPTH[:, None] * attenuation("water", spectrum.energies_kev))
    measured = np.stack([-np.log(left @ (w := spectrum.weights * p) / w.sum()) for p in prefilter], axis=1)
    expected = DEPTH[:, None] * attenuation("water", [70.0])[0] * np.ones(4)
    torch.testing.assert_close(
        correct(torch.from_numpy(measured)), torch.from_numpy(expected), rtol=0, atol=2e-4
    )
    one = WaterCorrection(Water(), spectrum, 70.0)(torch.from_numpy(measured))
    assert (one - torch.from_numpy(expected)).abs().max() > 0.1


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"degree": 0}, "water.degree must be a whole number from 1 to 12, got 0"),
        ({"largest_mm": 0.0}, "water.largest_mm must be positive, got 0.0"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Water(**arguments)
