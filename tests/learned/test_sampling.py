"""Sinograms at another beam, against the same object sampled there."""

import math

import pytest
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.learned.sampling import USUAL_SPAN, enlarged, enlargement, resample, resample_scan
from ctmar.operators import RayTransform

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


def water(radius_mm: float, beam: ParallelBeam, grid: ImageGrid, mu: float = 0.02) -> Scan:
    """A scan of a disc of water about the axis, with a trace in the middle."""
    s = (torch.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    sinogram = 2 * mu * (radius_mm**2 - s**2).clamp(min=0).sqrt().expand(1, 1, *beam.shape)
    trace = (s.abs() < radius_mm / 10).expand(sinogram.shape)
    path = torch.where(trace, 2.0, 0.0)
    mask: Tensor = torch.zeros(1, 1, *grid.shape, dtype=torch.bool)
    ray = RayTransform(grid, beam)
    return Scan(sinogram.contiguous(), trace.contiguous(), mask, path, torch.tensor([mu]), ray)


SMALL_WORLD = ParallelBeam(90, 182, 0.6), ImageGrid((128, 128), 0.6)


def test_a_small_patient_is_enlarged_to_an_adult_and_no_one_else_is() -> None:
    width = COARSE.det_count * COARSE.det_spacing_mm
    small = water(35.0, *SMALL_WORLD)
    assert enlargement(small, COARSE) == pytest.approx(USUAL_SPAN * width / 70, rel=0.03)
    adult = water(80.0, COARSE, ImageGrid((64, 64), 2.8))
    child = water(45.0, COARSE, ImageGrid((64, 64), 2.8))
    assert enlargement(adult, COARSE) == enlargement(child, COARSE) == 1.0
    # As many millimetres as the small patient, but cut off by its field of view.
    assert enlargement(water(150.0, *SMALL_WORLD), COARSE) == 1.0
    nothing = water(35.0, *SMALL_WORLD)
    nothing.measured.zero_()
    assert enlargement(nothing, COARSE) == 1.0


def test_an_enlarged_scan_is_of_the_same_disc_in_a_larger_world() -> None:
    small = water(35.0, *SMALL_WORLD)
    large = enlarged(small, 2.25, 1.5)
    assert large.ray.beam.det_spacing_mm == pytest.approx(1.35) and large.ray.grid.spacing_mm == 1.35
    assert torch.allclose(large.measured, 1.5 * small.measured)
    assert torch.allclose(large.metal_path_mm, 1.5 * small.metal_path_mm)
    image = large.ray.fbp(large.measured)[0, 0]
    # 1.5 times the line integrals over 2.25 times the length.
    assert float(image[50:78, 50:78].mean()) == pytest.approx(0.02 * 1.5 / 2.25, rel=0.01)
    assert enlarged(small, 1.0, 1.0) is small
    # With lengths and line integrals alike the tissue is the same.
    same = enlarged(small, 2.25, 2.25)
    assert torch.allclose(same.ray.fbp(same.measured), small.ray.fbp(small.measured), atol=1e-6)
