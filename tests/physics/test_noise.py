import math

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.physics.noise import Noise, current_modulation
from ctmar.physics.spectra import Spectrum

SEED = np.random.SeedSequence(3)


def test_a_counting_detector_counts_whole_photons_by_poissons_law() -> None:
    mean = np.full(400_000, 50.0)
    counts = Noise(1e4).draw(mean, mean, SEED)
    assert (counts == np.round(counts)).all()
    assert counts.mean() == pytest.approx(50.0, rel=2e-3) and counts.var() == pytest.approx(50.0, rel=0.01)


def test_compound_noise_has_the_moments_of_photons_drawn_energy_by_energy() -> None:
    spectrum = Spectrum.tube(120, {})
    photons, rays = 300.0, 60_000
    energies = spectrum.energies_kev
    share = spectrum.weights / energies
    share /= share.sum()
    rng = np.random.default_rng(0)
    worth = energies / (share @ energies)
    exact = rng.poisson(photons * share, (rays, len(share))) @ worth
    drawn = Noise(photons).draw(np.full(rays, photons), np.full(rays, photons * spectrum.noise_factor), SEED)
    assert drawn.mean() == pytest.approx(exact.mean(), rel=2e-3)
    assert drawn.var() == pytest.approx(exact.var(), rel=0.03)
    assert exact.var() > 1.08 * photons  # which a plain Poisson draw of the signal would miss
    skew = [float((((x - x.mean()) / x.std()) ** 3).mean()) for x in (drawn, exact)]
    assert skew[0] == pytest.approx(skew[1], abs=0.03)


def test_electronic_noise_adds_its_variance_and_saturation_cuts() -> None:
    mean = np.full(200_000, 2000.0)
    reading = Noise(1e4, electronic_noise=50.0).draw(mean, mean, SEED)
    assert reading.var() == pytest.approx(2000 + 2500, rel=0.01)
    assert Noise(1e4, saturation=1990.0).draw(mean, mean, SEED).max() == 1990.0


def test_nothing_expected_is_nothing_read() -> None:
    assert (Noise(1e4).draw(np.zeros(10), np.zeros(10), SEED) == 0).all()


def test_current_follows_the_patient_and_keeps_the_dose() -> None:
    thickest = np.array([2.0, 4.0, 6.0])
    assert (current_modulation(thickest, 0.0) == 1.0).all()
    half = current_modulation(thickest, 0.5)
    assert half.mean() == pytest.approx(1.0)
    assert half[2] / half[0] == pytest.approx(math.exp(2.0))


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"photons_per_ray": 0.0}, "photons_per_ray must be positive or null, got 0.0"),
        ({"electronic_noise": -1.0}, "electronic_noise must not be negative, got -1.0"),
        ({"saturation": 0.0}, "saturation must be positive or null, got 0.0"),
        ({"min_counts": 0.0}, "min_counts must be positive, got 0.0"),
        ({"current_modulation": -0.5}, "current_modulation must not be negative, got -0.5"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Noise(**({"photons_per_ray": 1.0} | arguments))
