"""Fan beams: against closed forms, against their own transposes, and against parallel beams."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform, ray_transform
from ctmar.operators.fan import torch_backend
from ctmar.operators.fan.filter import filter_fan_sinogram
from ctmar.operators.fan.native import FanNative
from ctmar.operators.fan.symmetry import FanSymmetry
from ctmar.operators.fan.torch_backend import FanTorch
from ctmar.operators.parallel.native import NativeBackend

MAPS = pytest.mark.parametrize("maps", [FanNative, FanTorch])
DETECTOR = pytest.mark.parametrize("detector", ["flat", "arc"])
PAIRS = pytest.mark.parametrize("pair", [("forward", "adjoint"), ("backproject_adjoint", "backproject")])
GEOMETRIES = {
    "symmetric": (ImageGrid((24, 24), 1.0), FanBeam(32, 47, 1.5, 60.0, 40.0)),
    "symmetric, odd": (ImageGrid((25, 25), 1.3), FanBeam(28, 48, 1.6, 70.0, 50.0, "arc")),
    "four views": (ImageGrid((9, 9), 1.0), FanBeam(4, 1, 1.0, 40.0, 0.0)),
    "oblong, spaced, offset": (ImageGrid((20, 37), 1.7), FanBeam(23, 51, 2.1, 80.0, 60.0, "arc", 0.4)),
    "narrow, few angles": (ImageGrid((16, 16), 0.5), FanBeam(3, 11, 0.8, 30.0, 9.0, angles=(0.3, 2.0, 5.1))),
}
TURNS = [{"start_rad": 1.1}, {"mirrored": True}, {"start_rad": -2.0, "mirrored": True}]
BOUND = {torch.float32: 1e-6, torch.float64: 1e-12}
DISKS = [(0.0, 0.0, 38.0, 0.02), (17.0, 9.0, 8.0, 0.01), (-12.0, -20.0, 5.0, -0.015)]
"""x, y and radius in mm, and attenuation in 1/mm."""


def mismatch(apply: Any, transpose: Any, x_shape: tuple, y_shape: tuple, dtype: torch.dtype) -> float:
    """Largest ``|⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖)`` over zero-mean random vectors."""
    worst = 0.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(3, *x_shape, dtype=dtype, generator=generator)
        y = torch.randn(3, *y_shape, dtype=dtype, generator=generator)
        ax, aty = apply(x), transpose(y)
        assert ax.shape == y.shape and aty.shape == x.shape
        gap = (ax.double() * y.double()).sum() - (x.double() * aty.double()).sum()
        worst = max(worst, float(gap.abs() / (ax.double().norm() * y.double().norm())))
    return worst


def line_integrals(theta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The disks' exact line integrals along ``x cos θ + y sin θ = s``."""
    chords = (
        2 * mu * np.sqrt(np.clip(r**2 - (s - x * np.cos(theta) - y * np.sin(theta)) ** 2, 0, None))
        for x, y, r, mu in DISKS
    )
    return sum(chords, np.zeros(1))


def fan_sinogram(fan: FanBeam, sub_rays: int = 1) -> Tensor:
    """The disks' exact fan sinogram, each bin the mean of ``sub_rays``."""
    gamma = fan.refine(sub_rays).gamma
    p = line_integrals(fan.theta[:, None] - gamma, fan.src_radius_mm * np.sin(gamma))
    return torch.from_numpy(p).unflatten(1, (-1, sub_rays)).mean(2)


def raster(grid: ImageGrid, fine: int = 8) -> Tensor:
    """The disks' image in 1/mm, the mean of ``fine`` × ``fine`` points a pixel."""
    rows, columns = (
        (torch.arange(n * fine) - (n * fine - 1) / 2) * grid.spacing_mm / fine for n in grid.shape
    )
    image = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    for x, y, r, mu in DISKS:
        image += mu * ((columns - x) ** 2 + (-rows[:, None] - y) ** 2 < r**2)
    return image.unflatten(0, (-1, fine)).unflatten(2, (-1, fine)).mean((1, 3))


@MAPS
@PAIRS
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_each_pair_are_exact_transposes(
    maps: Any, pair: tuple[str, str], dtype: torch.dtype, name: str
) -> None:
    grid, fan = GEOMETRIES[name]
    apply, transpose = (getattr(maps(grid, fan), what) for what in pair)
    assert mismatch(apply, transpose, grid.shape, fan.shape, dtype) <= BOUND[dtype]


@MAPS
@PAIRS
@pytest.mark.parametrize("wrong", ["mirrored angles", "the other detector", "turned by a view"])
def test_the_transpose_check_refuses_another_geometry(maps: Any, pair: tuple[str, str], wrong: str) -> None:
    grid, fan = ImageGrid((24, 24), 1.0), FanBeam(23, 47, 3.0, 40.0, 40.0)
    other = {
        "mirrored angles": replace(fan, angles=tuple(-a for a in fan.theta)),
        "the other detector": replace(fan, detector="arc"),
        "turned by a view": replace(fan, angles=tuple(np.roll(fan.theta, 1))),
    }[wrong]
    apply, transpose = getattr(maps(grid, fan), pair[0]), getattr(maps(grid, other), pair[1])
    assert mismatch(apply, transpose, grid.shape, fan.shape, torch.float32) > 1e-4


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("what", ["forward", "adjoint", "backproject", "backproject_adjoint"])
def test_compiled_and_plain_maps_agree(name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_backend, "CHUNK_ELEMENTS", 3000)
    grid, fan = GEOMETRIES[name]
    x = torch.randn(
        2, *(grid.shape if what in ("forward", "backproject_adjoint") else fan.shape), dtype=torch.float64
    )
    native, plain = (getattr(maps(grid, fan), what)(x) for maps in (FanNative, FanTorch))
    # Compiled rays are fixed-point numbers, good to 2⁻⁴⁰ of a pixel.
    torch.testing.assert_close(native, plain, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("turn", TURNS)
def test_other_starts_and_mirrored_bins_are_the_rays_they_say(backend: str, turn: dict[str, Any]) -> None:
    grid = ImageGrid((96, 96), 1.0)
    plain = FanBeam(180, 147, 2.0, 150.0, 100.0, "arc", 2.5)
    fan = replace(plain, angles=None, **turn)
    ray = RayTransform(grid, fan, backend)
    truth, image = fan_sinogram(fan, 4), raster(grid)
    got = ray.forward(image)
    assert float((got - truth).abs().mean() / truth.mean()) < 0.01
    as_plain = RayTransform(grid, plain, backend).forward(image)
    assert float((as_plain - truth).abs().mean() / truth.mean()) > 0.05
    assert mismatch(ray.forward, ray.adjoint, grid.shape, fan.shape, torch.float64) <= 1e-12
    inside = raster(grid, 1)[20:76, 20:76]
    for fbp in (ray.fbp, ray.fbp_direct):
        assert float((fbp(truth)[20:76, 20:76] - inside).square().mean().sqrt()) < 0.002
        assert float((fbp(truth.flip(-1))[20:76, 20:76] - inside).square().mean().sqrt()) > 0.003


def test_a_start_is_for_views_that_are_not_given() -> None:
    fan = FanBeam(8, 5, 1.0, 40.0, 0.0, start_rad=1.0)
    assert fan.even and fan.theta[2] == 1.0 + 2 * 2 * math.pi / 8
    assert replace(fan, det_count=7).angles == fan.angles
    assert not FanBeam(2, 5, 1.0, 40.0, 0.0, angles=(0.3, 1.0), start_rad=9.0).even
    assert not FanSymmetry.applies(ImageGrid((9, 9), 1.0), fan)
    with pytest.raises(CtmarError, match="start_rad must be finite, got nan"):
        replace(fan, start_rad=math.nan)
    with pytest.raises(CtmarError, match="mirrored must be true or false, got 1"):
        replace(fan, mirrored=1)
    with pytest.raises(CtmarError, match="a backend needs a fan that is not mirrored"):
        FanNative(ImageGrid((9, 9), 1.0), replace(fan, mirrored=True))


@pytest.mark.parametrize("name", ["symmetric", "symmetric, odd", "four views"])
@pytest.mark.parametrize("what", ["forward", "adjoint", "backproject", "backproject_adjoint"])
def test_folding_onto_symmetries_changes_nothing(name: str, what: str) -> None:
    grid, fan = GEOMETRIES[name]
    folded, plain = FanNative(grid, fan), FanNative(grid, fan)
    assert folded._folded is not None
    plain._folded = None
    x = torch.randn(
        3, *(grid.shape if what in ("forward", "backproject_adjoint") else fan.shape), dtype=torch.float64
    )
    torch.testing.assert_close(getattr(folded, what)(x), getattr(plain, what)(x), rtol=1e-8, atol=1e-8)


def test_other_geometries_do_not_fold() -> None:
    grid, fan = GEOMETRIES["symmetric"]
    assert FanNative(grid, replace(fan, det_offset_mm=0.1))._folded is None
    assert FanNative(grid, replace(fan, num_angles=30, angles=None))._folded is None
    assert FanNative(ImageGrid((24, 23), 1.0), fan)._folded is None


@MAPS
@DETECTOR
def test_off_centre_disks_give_the_closed_form(maps: Any, detector: str) -> None:
    grid, fan = ImageGrid((128, 128), 0.7), FanBeam(45, 161, 1.2, 150.0, 100.0, detector)
    p, truth = maps(grid, fan).forward(raster(grid)[None])[0], fan_sinogram(fan, 5)
    assert (p - truth).norm() / truth.norm() < 5e-3
    assert (p.flip(1) - truth).norm() / truth.norm() > 0.05
    other = fan_sinogram(replace(fan, detector="arc" if detector == "flat" else "flat"), 5)
    assert (p - other).norm() / truth.norm() > 0.02


@MAPS
def test_central_rays_of_four_views_are_row_and_column_sums(maps: Any) -> None:
    grid, fan = ImageGrid((7, 7), 0.5), FanBeam(4, 3, 100.0, 50.0, 50.0)
    image = torch.rand(7, 7, dtype=torch.float64)
    middle = maps(grid, fan).forward(image[None])[0, :, 1]
    # Views 0 and 2 look along y, from below and from above; views 1 and 3 along x.
    column, row = float(image[:, 3].sum()) * 0.5, float(image[3].sum()) * 0.5
    torch.testing.assert_close(middle, torch.tensor([column, row, column, row], dtype=torch.float64))


@MAPS
def test_source_starts_below_and_turns_against_the_clock(maps: Any) -> None:
    # Magnification tells where the source is: what lies near it casts its shadow farther out.
    grid, fan = ImageGrid((41, 41), 1.0), FanBeam(4, 201, 0.5, 60.0, 60.0)
    image = torch.zeros(1, 41, 41, dtype=torch.float64)
    image[0, 30, 28] = 1.0  # x = 8, y = -10: near the source of view 0
    p = maps(grid, fan).forward(image)[0]
    u = (torch.arange(201) - 100) * 0.5
    expected = [120 * 8 / 50, 120 * -10 / 52, 120 * -8 / 70, 120 * 10 / 68]
    assert [float((row * u).sum() / row.sum()) for row in p] == pytest.approx(expected, abs=0.15)


@MAPS
def test_flat_and_arc_are_equal_along_equal_rays(maps: Any) -> None:
    # Three bins: the outer ones of both detectors at the same fan angle.
    grid, step = ImageGrid((31, 30), 1.0), 0.15
    arc = FanBeam(21, 3, 100.0 * step, 60.0, 40.0, "arc")
    flat = replace(arc, detector="flat", det_spacing_mm=100.0 * math.tan(step))
    x = torch.rand(1, 31, 30, dtype=torch.float64)
    torch.testing.assert_close(maps(grid, flat).forward(x), maps(grid, arc).forward(x), rtol=1e-8, atol=1e-8)
    unequal = maps(grid, replace(arc, detector="flat")).forward(x)
    assert not torch.allclose(unequal, maps(grid, arc).forward(x), rtol=1e-3)


@DETECTOR
def test_a_far_source_gives_parallel_beams(detector: str) -> None:
    grid, far = ImageGrid((33, 30), 1.0), 1e7
    angles = tuple(0.1 + 0.7 * k for k in range(9))
    parallel = ParallelBeam(9, 51, 1.0, 0.3, angles)
    fan = FanBeam(9, 51, 2.0, far, far, detector, 0.6, angles)
    x = torch.rand(1, 33, 30, dtype=torch.float64)
    truth = NativeBackend(grid, parallel).forward(x)
    torch.testing.assert_close(FanNative(grid, fan).forward(x), truth, rtol=0, atol=1e-3)
    near = FanNative(grid, replace(fan, src_radius_mm=50.0, det_radius_mm=50.0)).forward(x)
    assert (near - truth).abs().max() > 1


@MAPS
@DETECTOR
def test_direct_fbp_reads_the_disks_in_hu(maps: Any, detector: str) -> None:
    grid = ImageGrid((64, 64), 1.5)
    fan = FanBeam(200, 121, 1.8, 150.0, 100.0, detector, 0.45)
    q = filter_fan_sinogram(fan_sinogram(fan), fan, "hann")
    hu = (maps(grid, fan).backproject(q[None])[0] / 0.02 - 1) * 1000
    x = (torch.arange(64) - 31.5) * 1.5
    within = lambda cx, cy, r: (x - cx) ** 2 + (-x[:, None] - cy) ** 2 < r**2  # noqa: E731
    assert abs(float(hu[within(-2, 3, 6)].mean())) < 1
    assert float(hu[within(17, 9, 3.5)].mean()) == pytest.approx(500, abs=3)
    assert float(hu[within(-17, 9, 3.5)].mean()) == pytest.approx(0, abs=3)
    assert float(hu[within(0, 0, 55) & ~within(0, 0, 42)].mean()) == pytest.approx(-1000, abs=2)


@MAPS
def test_direct_fbp_and_its_gradient_to_second_order(maps: Any) -> None:
    grid, fan = ImageGrid((5, 5), 1.2), FanBeam(5, 7, 2.0, 20.0, 10.0, "arc")
    linear = ray_transform._Linear
    use = maps(grid, fan)

    def fbp(p: Tensor) -> Tensor:
        return linear.apply(filter_fan_sinogram(p, fan), use.backproject, use.backproject_adjoint)

    def forward(image: Tensor) -> Tensor:
        return linear.apply(image, use.forward, use.adjoint)

    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(fbp, torch.randn(2, *fan.shape, dtype=torch.float64, requires_grad=True))
        assert check(forward, torch.randn(2, *grid.shape, dtype=torch.float64, requires_grad=True))


@MAPS
def test_batches_of_every_kind(maps: Any) -> None:
    grid, fan = GEOMETRIES["symmetric"]
    use, x = maps(grid, fan), torch.randn(19, *grid.shape)
    together = use.forward(x)
    torch.testing.assert_close(together[7:8], use.forward(x[7:8]), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(use.forward(x.mT.contiguous().mT), together)
    assert use.forward(x[:0]).shape == (0, *fan.shape)
    assert use.adjoint(together[:0]).shape == (0, *grid.shape)
    x[1, 12, 12] = torch.nan
    p = use.forward(x)
    assert p[1].isnan().any() and p[[0, 2, 18]].isfinite().all()


def test_threads_do_not_change_a_bit() -> None:
    grid, fan = ImageGrid((50, 50), 1.0), FanBeam(150, 81, 1.5, 70.0, 50.0)
    use, x, threads = FanNative(grid, fan), torch.randn(9, 50, 50), torch.get_num_threads()
    results: list[Tensor] = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(use.backproject(use.forward(use.adjoint(use.forward(x)))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@MAPS
def test_a_source_inside_the_image_is_refused(maps: Any) -> None:
    with pytest.raises(CtmarError, match=r"exceed the image's half diagonal of 45\.3 mm, got 45$"):
        maps(ImageGrid((64, 64), 1.0), FanBeam(8, 9, 1.0, 45.0, 10.0))
    maps(ImageGrid((64, 64), 1.0), FanBeam(8, 9, 1.0, 46.0, 10.0))


def test_wrong_use_is_refused() -> None:
    fan = FanBeam(8, 9, 1.0, 45.0, 10.0)
    with pytest.raises(CtmarError, match="views over a full turn"):
        filter_fan_sinogram(torch.zeros(8, 9), replace(fan, angles=tuple(np.arange(8) * 0.4)))
    with pytest.raises(CtmarError, match="filter must be one of ram-lak"):
        filter_fan_sinogram(torch.zeros(8, 9), replace(fan, detector="arc"), "ramlak")
    with pytest.raises(CtmarError, match="float32 or float64 CPU tensors, got torch.float16"):
        FanNative(ImageGrid((4, 4), 1.0), fan).forward(torch.zeros(1, 4, 4, dtype=torch.float16))


def test_agrees_with_an_independent_projector() -> None:
    astra: Any = pytest.importorskip("astra", reason="astra-toolbox is not installed")
    grid, fan = ImageGrid((128, 128), 0.7), FanBeam(45, 161, 1.2, 150.0, 100.0)
    image, pixel = raster(grid), grid.spacing_mm
    volume = astra.create_vol_geom(128, 128)
    rays = astra.create_proj_geom("fanflat", 1.2 / pixel, 161, fan.theta, 150.0 / pixel, 100.0 / pixel)
    project: Callable[[str], Any] = lambda kind: astra.create_projector(kind, rays, volume)  # noqa: E731
    p = FanNative(grid, fan).forward(image[None])[0].numpy()
    for kind, bound in (("line_fanflat", 0.014), ("strip_fanflat", 0.005)):
        other = astra.create_sino(image.float().numpy(), project(kind))[1] * pixel
        assert np.linalg.norm(p - other) / np.linalg.norm(other) < bound
        assert np.linalg.norm(p[:, ::-1] - other) / np.linalg.norm(other) > 0.05


@pytest.mark.parametrize("detector", ["flat", "arc"])
def test_the_transform_of_a_fan_reconstructs_its_own_projections(detector: str) -> None:
    grid = ImageGrid((48, 48), 4.0)
    fan = FanBeam(120, 105, 5.5 if detector == "flat" else 5.3, 500.0, 450.0, detector)
    c = (torch.arange(48) - 23.5) * 4.0
    image = 0.02 * torch.exp(-((c[None] - 20) ** 2 + (c[:, None] + 10) ** 2) / 900)
    ray = RayTransform(grid, fan)
    sinogram = ray.forward(image)
    for reconstruct in (ray.fbp, ray.fbp_direct):
        assert (reconstruct(sinogram) - image).abs().max() < 0.03 * image.max()
        assert (reconstruct(sinogram.flip(-1)) - image).abs().max() > 0.3 * image.max()
    with pytest.raises(CtmarError, match="fbp_direct is for a FanBeam, got a ParallelBeam"):
        RayTransform(grid, fan.parallel()).fbp_direct(torch.zeros(fan.parallel().shape))
