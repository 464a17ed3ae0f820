"""Sinograms at another beam, against the same object sampled there."""

import math

import pytest
import torch

from ctmar.geometry import ParallelBeam
from ctmar.learned.sampling import resample, resample_scan

COARSE = ParallelBeam(90, 91, 2.8)
FINE = ParallelBeam(180, 183, 1.4)
ODD = ParallelBeam(125, 142, 1.9)


def blob(beam: ParallelBeam, x: float = 38.0, y: float = -22.0, width: float = 20.0) -> torch.Tensor:
    theta = torch.arange(beam.num_angles, dtype=torch.float64)[:, None] * math.pi / beam.num_angles
    s = (torch.arange(beam.det_count, dtype=torch.float64) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    return torch.exp(-(((s - x * theta.cos() - y * theta.sin()) / width) ** 2))


@pytest.mark.parametrize(("source", "target"), [(COARSE, FINE), (FINE, COARSE), (FINE, ODD), (ODD, FINE)])
def test_the_object_keeps_its_place_in_every_view(source: ParallelBeam, target: ParallelBeam) -> None:
    found, wanted = resample(blob(source), source, target), blob(target)
    assert found.shape == target.shape
    assert (found - wanted).abs().max() < 0.02
    mirrored = resample(blob(source).flip(-1), source, target)
    assert (mirrored - wanted).abs().max() > 0.5


def test_the_last_views_go_on_into_the_first_ones_flipped() -> None:
    found = resample(blob(COARSE), COARSE, FINE)
    last = (found - blob(FINE))[-1].abs().max()
    assert last < 0.02
    unflipped = (blob(COARSE)[-1:] + blob(COARSE)[:1]) / 2
    assert (unflipped - blob(COARSE)[-1:].roll(0)).abs().max() > 0.2


def test_a_constant_stays_one_and_air_beside_the_detector_is_zero() -> None:
    assert torch.allclose(resample(torch.ones(FINE.shape), FINE, ParallelBeam(90, 80, 2.8)), torch.ones(()))
    wider = resample(torch.ones(FINE.shape), FINE, ParallelBeam(180, 283, 1.4))
    assert not wider[:, :49].any() and not wider[:, -49:].any()
    assert torch.allclose(wider[:, 50:-50], torch.ones(()))


def test_noise_is_averaged_when_the_target_is_coarser() -> None:
    torch.manual_seed(0)
    noise = torch.randn(FINE.shape)
    assert 0.25 < float(resample(noise, FINE, COARSE).std()) < 0.55


def test_a_scan_moves_as_a_whole(make_case) -> None:
    scan = make_case(views=48, bins=65).scan
    source, target = ParallelBeam(48, 65, 1.0), ParallelBeam(96, 131, 0.5)
    moved = resample_scan(scan, target)
    back = resample_scan(moved, source)
    assert moved.measured.shape == (2, 1, 96, 131)
    assert not (scan.metal_trace & ~back.metal_trace).any()
    assert not moved.metal_path_mm[~moved.metal_trace].any()
    off = ~back.metal_trace
    assert torch.equal(moved.fills["nmar"][~moved.metal_trace], moved.measured[~moved.metal_trace])
    assert (back.measured - scan.measured)[off].abs().max() < 0.1
    assert resample_scan(scan, source) is scan
