"""A network at the sampling it was trained for, on stored images of another."""

from functools import partial

import numpy as np
import pytest
import torch

from ctmar.clinical import STORED, MetalRule, correct
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.inputs.fill import Fill
from ctmar.inputs.measured import Measured
from ctmar.inputs.path import Path
from ctmar.inputs.trace import Trace
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import Pretrained
from ctmar.learned.sampling import resample
from ctmar.methods import NMAR
from ctmar.methods.ensemble import Ensemble
from ctmar.networks.unet import SinogramUNet
from ctmar.operators import RayTransform
from tests.stored_images import SPACING_MM

Stored = tuple[np.ndarray, np.ndarray, np.ndarray]
VOXEL = (SPACING_MM, SPACING_MM, 2.0)
RULE = MetalRule(2500, 2000)
COARSE = ParallelBeam(60, 95, 4.0)


def network(slices: int = 1) -> NetworkMethod:
    """A small one; its head is zero before training."""
    torch.manual_seed(0)
    inputs = {"measured": Measured(), "trace": Trace(), "fill": Fill(), "path": Path()}
    small = partial(SinogramUNet, channels=[8, 16])
    return NetworkMethod(small, inputs, NMAR(), slices=slices, wrap_views=8)


def moved(made: NetworkMethod) -> NetworkMethod:
    """The network with weights that add something."""
    with torch.no_grad():
        for parameter in made.generator.parameters():
            parameter.add_(0.02)
    return made


def blob(beam: ParallelBeam) -> torch.Tensor:
    """Projections of a Gaussian off the centre: of 30 mm, at (25, -15) mm."""
    theta = torch.tensor(beam.theta)[:, None]
    s = (torch.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    return torch.exp(-(((s - 25 * theta.cos() + 15 * theta.sin()) / 30) ** 2)).float()


def test_a_sinogram_is_the_same_at_other_views_and_bins() -> None:
    coarse, fine = ParallelBeam(90, 95, 4.0), ParallelBeam(240, 301, 1.0)
    there = resample(blob(coarse), coarse, fine)
    assert (there - blob(fine)).abs().max() < 0.01
    # The control: views that are not closed over π miss their mark.
    assert (there.flip(0) - blob(fine)).abs().max() > 0.5


@pytest.mark.parametrize("slices", [1, 3])
def test_a_network_that_adds_nothing_is_nmar(slices: int, with_rods: Stored) -> None:
    alone = Pretrained(network(slices), COARSE, symmetries=1)
    mean = Ensemble({"network": alone, "mbhc": STORED["mbhc"]}, (0.25, 0.75))
    volume = np.stack([with_rods[0]] * 2).astype(np.float32)
    by_network, by_mean, by_nmar, by_mbhc = (
        correct(volume, VOXEL, rule=RULE, method=method) for method in (alone, mean, "nmar", "mbhc")
    )
    assert np.array_equal(by_network, by_nmar)
    assert not np.array_equal(by_nmar, by_mbhc)
    kept = (by_mean == volume) | (by_nmar == volume) | (by_mbhc == volume)  # what each finds to be metal
    np.testing.assert_allclose(by_mean[~kept], (0.25 * by_nmar + 0.75 * by_mbhc)[~kept], atol=0.05)


@pytest.mark.parametrize("slices", [1, 3])
def test_what_a_network_adds_changes_the_image_beside_metal(slices: int, with_rods: Stored) -> None:
    method = Pretrained(moved(network(slices)), COARSE, symmetries=1)
    volume = with_rods[0][None].astype(np.float32)
    by_network = correct(volume, VOXEL, rule=RULE, method=method)
    assert np.abs(by_network - correct(volume, VOXEL, rule=RULE, method="nmar")).max() > 1


def test_a_beam_that_does_not_close_is_refused() -> None:
    open_beam = ParallelBeam(8, 13, 1.0, det_offset_mm=0.25)
    with pytest.raises(CtmarError, match="uniform views over π"):
        Pretrained(network(), open_beam)
    with pytest.raises(CtmarError, match="uniform views over π"):
        Pretrained(network(), COARSE).check(RayTransform(ImageGrid((8, 8), 1.0), open_beam))
