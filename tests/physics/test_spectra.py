from types import ModuleType

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.physics.spectra import Spectrum, photons_per_ray


def test_the_signal_is_weighted_as_the_detector_does(benchmark: ModuleType) -> None:
    energies, photons = benchmark.photons_120()
    for detector, power in (("counting", 0), ("integrating", 1)):
        spectrum = Spectrum.tube(120, {"Cu": 0.2}, detector)
        signal = photons * energies**power
        kept = np.isin(energies, spectrum.energies_kev)
        np.testing.assert_allclose(spectrum.weights, (signal / signal[kept].sum())[kept], rtol=1e-6)
        assert spectrum.weights.sum() == pytest.approx(1.0)


def test_noise_factor_is_the_ratio_of_moments(benchmark: ModuleType) -> None:
    energies, photons = benchmark.photons_120()
    expected = (photons @ energies**2) / (photons @ energies) ** 2
    assert Spectrum.tube(120, {"Cu": 0.2}).noise_factor == pytest.approx(expected, rel=1e-4)
    assert 1.05 < expected < 1.15
    counting = Spectrum.tube(120, {"Cu": 0.2}, "counting")
    assert counting.noise_factor == pytest.approx(1.0)
    np.testing.assert_array_equal(counting.variance_weights, counting.weights)


@pytest.mark.parametrize("kvp", range(70, 151, 10))
def test_no_photon_is_above_the_tube_potential(kvp: int) -> None:
    spectrum = Spectrum.tube(kvp, {}, "counting")
    assert spectrum.energies_kev.max() < kvp
    lower = kvp if kvp == 70 else kvp - 10
    assert (spectrum.energies_kev @ spectrum.weights) >= (
        Spectrum.tube(lower, {}, "counting").energies_kev @ Spectrum.tube(lower, {}, "counting").weights
    )


def test_energies_can_be_cut() -> None:
    spectrum = Spectrum.tube(120, {}, "counting", energies_kev=(30, 80))
    assert spectrum.energies_kev.min() == 30.5 and spectrum.energies_kev.max() == 79.5
    assert spectrum.weights.sum() == pytest.approx(1.0)
    for limits in ((80, 30), (200, 300), (30,)):
        with pytest.raises(CtmarError, match="energies_kev must"):
            Spectrum.tube(120, {}, energies_kev=limits)


def test_photons_follow_current_area_and_distance() -> None:
    base = photons_per_ray(120, 0.5, 1.0, 1000.0)
    assert base == pytest.approx(0.5 * 3.125e6, rel=1e-3)
    assert photons_per_ray(120, 1.0, 1.0, 1000.0) == pytest.approx(2 * base)
    assert photons_per_ray(120, 0.5, 2.0, 2000.0) == pytest.approx(base / 2)
    assert photons_per_ray(120, 0.5, 1.0, 1000.0, {"Cu": 0.2}) < 0.7 * base
    assert photons_per_ray(80, 0.5, 1.0, 1000.0) < 0.5 * base
