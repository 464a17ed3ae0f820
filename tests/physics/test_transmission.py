import numpy as np
import pytest
import torch

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Noise, Scanner, exposure
from ctmar.physics.materials import attenuation
from ctmar.physics.spectra import Spectrum
from ctmar.physics.transmission import TissueTable, transmitted


def tabled(kvp: int, detector: str) -> tuple[torch.Tensor, torch.Tensor]:
    spectrum = Spectrum.tube(kvp, {}, detector)
    mu = np.stack([attenuation(name, spectrum.energies_kev) for name in ("water", "bone")])
    weights = np.stack([spectrum.weights, spectrum.variance_weights])
    return torch.from_numpy(mu).float(), torch.from_numpy(weights).float()


@pytest.mark.parametrize(
    "kvp,detector,bound", [(70, "counting", 7e-5), (120, "integrating", 2e-5), (150, "counting", 4e-5)]
)
def test_the_table_is_the_sum_over_energies(kvp: int, detector: str, bound: float) -> None:
    mu, weights = tabled(kvp, detector)
    generator = torch.Generator().manual_seed(0)
    # Short paths as often as long ones; some beyond the table.
    paths = torch.tensor([[900.0], [120.0]]) ** torch.rand(2, 20_000, generator=generator) - 1
    exact = transmitted(paths.double(), mu.double(), weights.double())
    found = TissueTable(mu, weights)(paths)
    assert (found.double().log() - exact.log()).abs().max() < bound
    assert ((paths[0] > 800) | (paths[1] > 100)).any()


def test_air_is_exact_and_what_lies_beyond_is_summed() -> None:
    mu, weights = tabled(120, "integrating")
    paths = torch.tensor([[0.0, 850.0, 100.0], [0.0, 1.0, 150.0]])
    assert torch.equal(TissueTable(mu, weights)(paths), transmitted(paths, mu, weights))


def test_rays_that_are_all_in_the_table_or_none_at_all_are_well() -> None:
    mu, weights = tabled(120, "integrating")
    for paths in (torch.full((2, 3, 4), 5.0), torch.zeros(2, 3, 4), torch.zeros(2, 0, 4)):
        assert TissueTable(mu, weights)(paths).shape == transmitted(paths, mu, weights).shape == paths.shape


def test_a_plane_of_many_rays_is_the_same_by_table_and_by_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = RayTransform(ImageGrid((64, 64), 4.0), ParallelBeam(30, 100, 4.0))
    hu = np.full((1, 64, 64), -1000.0, np.float32)
    hu[:, 8:56, 8:56] = 20.0
    hu[:, 24:40, 24:40] = 900.0
    scans = []
    for least in (exposure.TABLE_FROM, 0):
        monkeypatch.setattr(exposure, "TABLE_FROM", least)
        scans.append(Scanner(noise=Noise(None)).acquire(hu, {}, fine, [np.random.SeedSequence(0)]).ideal)
    assert not torch.equal(*scans)
    torch.testing.assert_close(*scans, rtol=0, atol=3e-5)


def test_energies_are_summed_in_double_precision_when_asked() -> None:
    mu, weights = (x.double() for x in tabled(120, "integrating"))
    paths = torch.tensor([[[200.0, 310.0, 0.0]], [[12.0, 0.0, 0.0]]], dtype=torch.float64)
    expected = torch.einsum("we,er->wr", weights, torch.exp(-(mu.T @ paths.reshape(2, -1))))
    torch.testing.assert_close(transmitted(paths, mu, weights), expected[:, None])
