"""A network at the sampling it was trained for, on images of another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ctmar.clinical import MetalRule, correct
from ctmar.clinical.methods import MU_WATER
from ctmar.clinical.network import NetworkMethod, Trained, resampled_image, resampled_sinogram
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models.completion import UNetCompletion
from ctmar.runs.correct import pretrained, shipped
from ctmar.sample import MARSample
from tests.clinical.conftest import SPACING_MM
from tests.clinical.test_correct import errors

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]
VOXEL = (SPACING_MM, SPACING_MM, 2.0)
COARSE = Trained(ImageGrid((64, 64), 4.0), ParallelBeam(60, 95, 4.0), MU_WATER, 0.1)
SMALL = {"channels": [8, 16], "wrap_views": 8}


def blob(beam: ParallelBeam) -> torch.Tensor:
    """Projections of a Gaussian off the centre: of 30 mm, at (25, -15) mm."""
    theta = torch.tensor(beam.theta)[:, None]
    s = (torch.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    return torch.exp(-(((s - 25 * theta.cos() + 15 * theta.sin()) / 30) ** 2)).float()


def test_a_sinogram_is_the_same_at_other_views_and_bins() -> None:
    coarse, fine = ParallelBeam(90, 95, 4.0), ParallelBeam(240, 301, 1.0)
    there = resampled_sinogram(blob(coarse), coarse, fine)
    assert (there - blob(fine)).abs().max() < 0.01
    # The control: views that are not closed over π miss their mark.
    assert (there.flip(0) - blob(fine)).abs().max() > 0.5


def test_an_image_keeps_planes_and_places() -> None:
    fine, coarse = ImageGrid((96, 80), 1.0), ImageGrid((32, 27), 3.0)

    def plane(grid: ImageGrid) -> torch.Tensor:
        y, x = (torch.arange(n) - (n - 1) / 2 for n in grid.shape)
        return (2 * x[None, :] - 3 * y[:, None]) * grid.spacing_mm

    out = resampled_image(plane(fine), fine, coarse)
    torch.testing.assert_close(out[3:-3, 3:-3], plane(coarse)[3:-3, 3:-3], rtol=0, atol=0.02)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_network_that_adds_nothing_is_nmar(slices: int, with_rods: Scan) -> None:
    torch.manual_seed(0)
    model = UNetCompletion(slices=slices, **SMALL)  # its head is zero before training
    volume = np.stack([with_rods[0]] * 2).astype(np.float32)
    rule = MetalRule(2500, 2000)
    alone, mean = (
        correct(volume, VOXEL, rule=rule, method=NetworkMethod(model, COARSE, share=share))
        for share in (1, 0.25)
    )
    by_nmar, by_mbhc = (correct(volume, VOXEL, rule=rule, method=name) for name in ("nmar", "mbhc"))
    assert np.array_equal(alone, by_nmar)
    assert not np.array_equal(by_nmar, by_mbhc)
    kept = (mean == volume) | (by_nmar == volume) | (by_mbhc == volume)  # what each finds to be metal
    np.testing.assert_allclose(mean[~kept], (0.25 * by_nmar + 0.75 * by_mbhc)[~kept], atol=0.05)


def test_what_a_network_adds_changes_the_image_beside_metal(with_rods: Scan) -> None:
    torch.manual_seed(0)
    model = UNetCompletion(**SMALL)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(0.02)
    volume, rule = with_rods[0][None].astype(np.float32), MetalRule(2500, 2000)
    by_network = correct(volume, VOXEL, rule=rule, method=NetworkMethod(model, COARSE))
    assert np.abs(by_network - correct(volume, VOXEL, rule=rule, method="nmar")).max() > 1


@pytest.mark.parametrize("clipped", [True, False])
def test_the_shipped_networks_lessen_the_error(clipped: bool, with_rods: Scan) -> None:
    stored = with_rods[0].clip(-1024, 3071) if clipped else with_rods[0]
    network = pretrained(shipped(clipped))
    assert network.trained.extended_scale != clipped
    corrected = correct(stored[None], VOXEL, method=network)[0]
    assert errors(corrected, with_rods) < 0.8 * errors(stored, with_rods)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(CtmarError, match="share must be"):
        NetworkMethod(UNetCompletion(**SMALL), COARSE, share=share)


def test_a_beam_that_does_not_close_is_refused() -> None:
    with pytest.raises(CtmarError, match="uniform views over π"):
        Trained(ImageGrid((8, 8), 1.0), ParallelBeam(8, 13, 1.0, det_offset_mm=0.25), MU_WATER, 0.1)


def seen_by(trained: Trained, image: np.ndarray) -> torch.Tensor:
    """What a network is given of a stored image, as HU."""
    seen = []

    class Spy(UNetCompletion):
        def complete(self, sample: MARSample) -> torch.Tensor:
            seen.append(sample.reference_hu)
            return sample.fills["nmar"]

    correct(image[None], VOXEL, rule=MetalRule(2500, 2000), method=NetworkMethod(Spy(**SMALL), trained))
    return seen[0]


def test_a_network_sees_metal_as_its_training_cases_showed_it(with_rods: Scan) -> None:
    image = with_rods[0].astype(np.float32)
    assert image.max() > 5000
    assert float(seen_by(COARSE, image).max()) == 3071
    assert float(seen_by(replace(COARSE, extended_scale=True), image).max()) > 5000
