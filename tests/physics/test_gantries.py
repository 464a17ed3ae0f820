"""Fans and helices are scanned as they are and come out as parallel beams would have seen it."""

import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.physics import Acquisition, Noise, Scanner, Trace, Tube
from ctmar.physics.gantries import HelicalScan, dense_beam, make_gantry

GRID, BEAM, SPACING = ImageGrid((96, 96), 3.6), ParallelBeam(120, 137, 3.6), 3.0
ARC = FanBeam(240, 176, 4.0, 541.0, 408.0, "arc", 1.0)
FLAT = FanBeam(240, 181, 4.1, 541.0, 408.0)
HELIX = HelicalScan(ARC, slice_mm=3.0, pitch=1.2)
QUIET = Scanner(Tube(kvp=None), noise=Noise(None))
ACQUISITIONS = [ARC, FLAT, HELIX, HelicalScan(FLAT, 4.0, 1.0, "360LI")]
NAMES = ["arc", "flat", "180LI", "360LI"]


def disk(radius_mm: float, x_mm: float = 0.0, y_mm: float = 0.0) -> np.ndarray:
    """Share of each pixel of the finer grid inside a disk, by 4 × 4 points."""
    n = GRID.shape[0] * 2 * 4
    at = (np.arange(n) - (n - 1) / 2) * 3.6 / 8
    inside = (at - x_mm) ** 2 + (-at[:, None] - y_mm) ** 2 < radius_mm**2
    return inside.reshape(n // 4, 4, n // 4, 4).mean((1, 3)).astype(np.float32)


BODY = (1000 * disk(110.0, 10.0) - 1000 + 300 * disk(20.0, 50.0, 30.0)).astype(np.float32)
SCREW = disk(4.0, 30.0, -40.0)


def scan(
    acquisition: object,
    scanner: Scanner = QUIET,
    metal: Sequence[int] | None = None,
    wanted: Sequence[int] = (10,),
    changing: float = 0.0,
) -> Acquisition:
    """A scan around slice 10 with a screw in the slices given (all, if None); HU grow by slice."""
    gantry = make_gantry(scanner, GRID, acquisition, BEAM)  # type: ignore[arg-type]
    places = gantry.slices(10, wanted, SPACING)
    grown = [BODY + changing * (BODY > -500) * (place - 10) for place in places]
    hu = np.stack(grown).astype(np.float32)
    screw = np.stack([SCREW * (metal is None or place in metal) for place in places])
    noise = [np.random.SeedSequence(place) for place in wanted]
    return gantry.acquire(hu, {"Ti-6Al-4V": screw}, 10, wanted, SPACING, noise)


@pytest.mark.parametrize("acquisition", ACQUISITIONS, ids=NAMES)
def test_line_integrals_are_those_of_parallel_beams(acquisition: FanBeam | HelicalScan) -> None:
    got, parallel = scan(acquisition), scan(None)
    difference = got.ideal - parallel.ideal
    assert float(difference.square().mean().sqrt() / parallel.ideal.max()) < 0.005
    s = (torch.arange(137) - 68) * 3.6 - 10 * torch.cos(torch.tensor(BEAM.theta))[:, None]
    chord = 2 * QUIET.mu_water * (110.0**2 - s**2).clamp(min=0).sqrt()
    x, y = (50.0, 30.0)
    theta = torch.tensor(BEAM.theta)[:, None]
    t = (torch.arange(137) - 68) * 3.6 - x * torch.cos(theta) - y * torch.sin(theta)
    chord += 0.3 * 2 * QUIET.mu_water * (20.0**2 - t**2).clamp(min=0).sqrt()
    error = got.ideal[0] - chord
    assert float(error.square().mean().sqrt() / chord.max()) < 0.005
    assert float((got.ideal[0].flip(0) - chord).square().mean().sqrt() / chord.max()) > 0.02


@pytest.mark.parametrize("acquisition", ACQUISITIONS, ids=NAMES)
def test_the_rules_of_trace_and_target_hold(acquisition: FanBeam | HelicalScan) -> None:
    got, parallel = scan(acquisition, Scanner()), scan(None, Scanner())
    trace, off = got.metal_trace, ~got.metal_trace
    assert torch.equal(got.clean[off], got.measured[off])
    assert all(field.isfinite().all() for field in got) and all(f.shape == (1, 120, 137) for f in got)
    assert (got.metal_path_mm >= 0).all() and (got.metal_path_mm[off] == 0).all()
    assert trace[got.metal_path_mm > 0.1].all()
    # Every ray that parallel beams say meets metal does here too, and few others.
    assert trace[parallel.metal_path_mm > 0.3].all()
    assert trace.float().mean() < 1.6 * parallel.metal_trace.float().mean()
    core = parallel.metal_path_mm > 4
    assert float(got.metal_path_mm[core].mean()) == pytest.approx(
        float(parallel.metal_path_mm[core].mean()), rel=0.06
    )
    assert (got.measured[core] > got.clean[core]).all()
    # The metal's own noise is on the trace alone.
    assert not torch.equal(got.clean[trace], got.measured[trace])


def test_what_the_metal_does_off_the_trace_is_below_the_noise() -> None:
    with_metal = scan(ARC)
    without = scan(ARC, metal=())
    off = ~with_metal.metal_trace
    assert (with_metal.clean - without.clean)[off].abs().max() < 2e-3
    assert (with_metal.measured - without.measured)[with_metal.metal_trace].max() > 1


@pytest.mark.parametrize("acquisition", ACQUISITIONS, ids=NAMES)
def test_nothing_is_measured_behind_metal_of_the_ideal_scanner(acquisition: FanBeam | HelicalScan) -> None:
    got = scan(acquisition, Scanner(Tube(kvp=None), noise=Noise(None), trace=Trace(measures_metal=False)))
    off = ~got.metal_trace
    assert (got.measured[got.metal_trace] == 0).all() and (got.clean[got.metal_trace] > 0.5).any()
    assert torch.equal(got.measured[off], got.clean[off])
    torch.testing.assert_close(got.clean, got.ideal)


def test_a_helix_sees_the_metal_of_its_neighbours() -> None:
    for acquisition in (None, ARC):
        assert not scan(acquisition, metal=[9]).metal_trace.any()
    # Rays from d mm away see d / 3 of the next slice, and count by 1 - d / 1.8: at most 0.15.
    for neighbour in (9, 11):
        share = scan(HELIX, metal=[neighbour]).metal_path_mm.amax(-1)[0] / 8.0
        assert 0.1 < float(share.max()) < 0.17 and float(share.min()) < 0.02
    far = scan(HELIX, metal=[6, 14])
    assert not far.metal_trace.any()


@pytest.mark.parametrize("acquisition", ACQUISITIONS[2:], ids=NAMES[2:])
def test_a_body_that_grows_evenly_in_z_is_as_if_scanned_alone(acquisition: HelicalScan) -> None:
    got = scan(acquisition, changing=20.0, metal=(), wanted=(9, 10, 11))
    for n, place in enumerate((9, 10, 11)):
        alone = scan(acquisition.fan, changing=20.0, metal=(), wanted=(place,))
        error = (got.ideal[n] - alone.ideal[0]).square().mean().sqrt() / alone.ideal.max()
        assert float(error) < 1e-3
    assert float((got.ideal[0] - got.ideal[2]).abs().max() / got.ideal.max()) > 0.02


def test_sensitivity_is_the_slices_share_in_an_image() -> None:
    gantry = make_gantry(QUIET, GRID, HELIX, BEAM)
    places = gantry.slices(10, (9, 10), SPACING)
    shown = gantry.sensitivity(10, (9, 10), SPACING)
    np.testing.assert_allclose(shown.sum(1), 1, atol=1e-5)
    assert shown.argmax(1).tolist() == [places.index(9), places.index(10)]
    # Mean of d / 3 with the weight 1 - d / 1.8, for d in 0 … 1.8 to one side.
    assert shown[1, places.index(11)] == pytest.approx(0.1, abs=0.005)
    circle = make_gantry(QUIET, GRID, ARC, BEAM)
    np.testing.assert_array_equal(circle.sensitivity(10, (9, 10), SPACING), np.eye(2))


def test_slices_are_the_same_alone_and_among_others() -> None:
    for acquisition in (ARC, HELIX):
        three, one = (scan(acquisition, Scanner(), wanted=w) for w in ((9, 10, 11), (10,)))
        for a, b in zip(three, one, strict=True):
            assert torch.equal(a[1:2], b)
        assert not torch.equal(three.measured[0], three.measured[1])


@pytest.mark.parametrize("acquisition", [ARC, FLAT], ids=["arc", "flat"])
def test_all_rays_of_a_fan_share_in_the_noise(acquisition: FanBeam) -> None:
    """Each wanted bin is a mean over the fan's rays in it: near the axis so many times less variance."""
    photons = 1e5
    scanner = Scanner(Tube(kvp=None), noise=Noise(photons))
    gantry = make_gantry(scanner, GRID, acquisition, BEAM)
    air = np.full((1, 192, 192), -1000, np.float32)
    got = gantry.acquire(air, {}, 0, (0,), SPACING, [np.random.SeedSequence(7)])
    rays = acquisition.num_angles / BEAM.num_angles * BEAM.det_spacing_mm / acquisition.iso_spacing_mm
    variance = float(got.measured[..., 40:97].double().var())
    assert 0.65 < variance * photons * rays < 1.3


def test_coarse_bins_are_means_over_what_falls_into_them() -> None:
    dense = dense_beam(ARC, ParallelBeam(40, 50, 9.1))
    assert (dense.views, dense.bins) == (3, 8)  # 1.14 mm by interlacing
    assert dense.beam.shape == (120, 400)
    np.testing.assert_allclose(
        dense.beam.theta.reshape(40, 3).mean(1), np.arange(40) * math.pi / 40, atol=1e-12
    )
    ramp = torch.arange(120.0)[:, None] + torch.arange(400.0)
    torch.testing.assert_close(dense.mean(ramp)[0, :2], torch.tensor([4.5, 12.5]))
    fine = dense_beam(FLAT, ParallelBeam(400, 50, 1.0))
    assert (fine.views, fine.bins) == (1, 1)
    assert dense_beam(ARC, ParallelBeam(2, 50, 9.1, angles=(0.0, 1.0))).views == 1


def test_a_gantry_travels_to_other_processes() -> None:
    for acquisition in (ARC, HELIX):
        gantry = pickle.loads(pickle.dumps(make_gantry(QUIET, GRID, acquisition, BEAM)))
        assert gantry.slices(10, (10,), SPACING)


@pytest.mark.parametrize(
    "acquisition,message",
    [
        (
            FanBeam(240, 100, 4.0, 541.0, 408.0),
            r"must reach the image's edges 171\.0 mm from the axis, got 110",
        ),
        (HelicalScan(FanBeam(240, 100, 4.0, 541.0, 408.0), 3.0), "must reach the image's edges"),
        (BEAM, "must be null, a FanBeam or a HelicalScan, got a ParallelBeam"),
    ],
)
def test_scans_that_leave_out_rays_are_refused(acquisition: object, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        make_gantry(QUIET, GRID, acquisition, BEAM)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change,message",
    [
        ({"pitch": 0.0}, "pitch must be a positive number, got 0.0"),
        ({"slice_mm": -1.0}, "feed_mm must be a positive number|slice_mm must be"),
        ({"method": "90LI"}, "method must be one of 360LI, 180LI, got '90LI'"),
        ({"fan": FanBeam(3, 100, 4.0, 541.0, 408.0, angles=(0.0, 1.0, 2.0))}, "fill a turn evenly"),
    ],
)
def test_impossible_helical_protocols_are_refused(change: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        HelicalScan(**({"fan": ARC, "slice_mm": 3.0} | change))
