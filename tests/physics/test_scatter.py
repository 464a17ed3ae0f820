import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.physics import Rays, Scatter
from ctmar.physics.bowtie import Bowtie
from ctmar.physics.spectra import Spectrum

SPECTRUM = Spectrum.tube(120, {})
POSITIONS = (np.arange(400) - 199.5) * 1.0


def rays(positions_mm: np.ndarray = POSITIONS, air: float = 1.0) -> Rays:
    """Bins of one air signal."""
    return Rays(positions_mm, torch.full((2, len(positions_mm)), air), SPECTRUM, 70.0)


def test_air_scatters_nothing_and_a_patient_smoothly_everywhere() -> None:
    scatter = Scatter(0.1)
    assert (scatter.of(torch.ones(3, 400), rays()) == 0).all()
    primary = torch.ones(1, 400)
    primary[:, 150:250] = 0.05
    scattered = scatter.of(primary, rays())[0]
    assert (scattered > 0).all() and scattered.argmax() in (199, 200)
    assert scattered.diff().abs().max() < 0.02 * scattered.max()


def test_scatter_is_linear_in_its_ratio_and_in_the_dose() -> None:
    primary = torch.rand(2, 400).clamp(min=0.05)
    once = Scatter(0.05).of(primary, rays())
    torch.testing.assert_close(Scatter(0.1).of(primary, rays()), 2 * once)
    torch.testing.assert_close(Scatter(0.05).of(3 * primary, rays(air=3.0)), 3 * once)


def test_scatter_does_not_depend_on_how_fine_the_bins_are() -> None:
    fine = (np.arange(1600) - 799.5) / 4
    shape = lambda s: torch.from_numpy(np.exp(-4 * np.exp(-((s / 90) ** 4)))[None]).float()  # noqa: E731
    scatter = Scatter(0.1, 80.0)
    coarse = scatter.of(shape(POSITIONS), rays())
    dense = scatter.of(shape(fine), rays(fine)).unflatten(-1, (-1, 4)).mean(-1)
    torch.testing.assert_close(coarse, dense, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((-0.1, 100.0, 0.0), "scatter.to_primary must not be negative, got -0.1"),
        ((0.1, 0.0, 0.0), "scatter.fwhm_mm must be positive, got 0.0"),
        ((0.1, 100.0, 1.5), "scatter.correction must be in \\[0, 1\\], got 1.5"),
    ],
)
def test_values_out_of_range_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Scatter(*arguments)


def test_a_bowtie_is_linear_between_its_points_and_the_same_on_both_sides() -> None:
    bowtie = Bowtie("Al", [[0, 1], [100, 5], [200, 20]])
    thickness = bowtie.thickness_mm(np.array([-150.0, -50.0, 0.0, 50.0, 150.0, 300.0]))
    np.testing.assert_allclose(thickness, [12.5, 3.0, 1.0, 3.0, 12.5, 20.0])


@pytest.mark.parametrize("profile", [[], [[10, 1], [20, 2]], [[0, 1], [0, 2]], [[0, -1]], [1, 2]])
def test_a_profile_that_is_none_is_refused(profile: list) -> None:
    with pytest.raises(CtmarError, match="bowtie.profile_mm must hold \\(distance, thickness\\)"):
        Bowtie("Al", profile)
