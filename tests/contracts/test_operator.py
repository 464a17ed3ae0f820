"""What every projector must satisfy, and a mirrored one that each check must refuse.

Each runs where it is present: the optional ones where their library imports, those for CUDA where
there is a GPU, torch-radon always as a stand-in of either API. ``EXACT`` are those whose pairs are
transposes; ``DOUBLE`` of them compute in the tensor's precision.
"""

import importlib
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.operators.choice import OFF_CENTER
from ctmar.operators.parallel.native import NativeBackend
from tests.operators import fake_torch_radon

ON_CUDA = ("triton", "torch_radon")


def absent(name: str) -> str:
    """Why a backend cannot run here; empty if it can."""
    if name in ON_CUDA and not torch.cuda.is_available():
        return f"{name} needs a CUDA GPU"
    if name in ("triton", "astra", "skimage", "torch_radon"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"{name} does not import: {error}"
    return ""


OPTIONAL = ("triton", "astra", "skimage", "torch_radon")
DOUBLE = ("native", "torch", *(name for name in ("triton",) if not absent(name)))
EXACT = (*DOUBLE, "stand-in v1", "stand-in v3", *(name for name in ("astra",) if not absent(name)))
ROUGH = tuple(name for name in ("skimage", "torch_radon") if not absent(name))
BACKENDS = EXACT + ROUGH
ODD_TOO = tuple(name for name in BACKENDS if name != "stand-in v1")
GEOMETRIES = {
    "even": (ImageGrid((32, 32), 1.0), ParallelBeam(30, 47, 1.0)),
    "symmetric": (ImageGrid((32, 32), 1.0), ParallelBeam(32, 47, 1.0)),
    "symmetric, odd": (ImageGrid((33, 33), 1.3), ParallelBeam(28, 48, 1.1)),
    "four views": (ImageGrid((9, 9), 1.0), ParallelBeam(4, 1, 1.0)),
    "odd": (ImageGrid((33, 33), 1.0), ParallelBeam(31, 48, 1.0)),
    "oblong, spaced": (ImageGrid((20, 37), 1.7), ParallelBeam(23, 51, 1.1)),
    "narrow, offset": (ImageGrid((28, 28), 0.5), ParallelBeam(16, 19, 0.8, det_offset_mm=0.2)),
    "off the axis": (ImageGrid((24, 17), 0.9, center_mm=(3.1, -4.7)), ParallelBeam(20, 43, 1.0)),
    "few angles": (ImageGrid((16, 16), 1.0), ParallelBeam(3, 25, 1.0, angles=(0.3, 2.0, 5.1))),
}
BOUND = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What ``RayTransform`` is asked for; its device is the default one, a stand-in is in place."""
    name: str = request.param
    if name.startswith("stand-in"):
        fake_torch_radon.install(monkeypatch, name.split()[1])
        yield "torch_radon"
    else:
        with torch.device("cuda" if name in ON_CUDA else "cpu"):
            yield name


def over(names: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("backend", names, indirect=True)


def over_geometries(names: tuple[str, ...], without: str = "") -> pytest.MarkDecorator:
    """All geometries but one, and but those that torch-radon has not."""
    cases = []
    for name in names:
        for geometry, (grid, beam) in GEOMETRIES.items():
            radon = name == "torch_radon" or name.startswith("stand-in")
            odd = name == "stand-in v1" and any(n % 2 for n in grid.shape)
            off_center = not grid.centered and name not in OFF_CENTER
            if not ((radon and beam.det_offset_mm) or odd or off_center) and geometry != without:
                cases.append(pytest.param(name, geometry, id=f"{name}: {geometry}"))
    return pytest.mark.parametrize("backend, name", cases, indirect=["backend"])


@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_backend_is_among_those_tested(name: str) -> None:
    if absent(name):
        pytest.skip(absent(name))
    assert name in BACKENDS


def mismatch(forward, adjoint, image_shape, sinogram_shape, dtype, draws: int = 3) -> float:  # type: ignore[no-untyped-def]
    """Largest ``|⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖)`` over zero-mean random vectors."""
    worst = 0.0
    for seed in range(draws):
        generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
        x = torch.randn(2, 3, *image_shape, dtype=dtype, generator=generator)
        y = torch.randn(2, 3, *sinogram_shape, dtype=dtype, generator=generator)
        ax, aty = forward(x), adjoint(y)
        assert ax.shape == y.shape and aty.shape == x.shape
        gap = (ax.double() * y.double()).sum() - (x.double() * aty.double()).sum()
        worst = max(worst, float(gap.abs() / (ax.double().norm() * y.double().norm())))
    return worst


def blob(grid: ImageGrid) -> Tensor:
    """A smooth, lopsided image that ends before the edge."""
    rows, columns = grid.shape
    y = torch.arange(rows, dtype=torch.float64)[:, None] / rows - 0.4
    x = torch.arange(columns, dtype=torch.float64)[None] / columns - 0.58
    return torch.exp(-(y**2) / 0.02 - (x - 0.4 * y) ** 2 / 0.012)[None]


def relative(x: Tensor, truth: Tensor) -> float:
    return float((x - truth).norm() / truth.norm())


@over_geometries(EXACT)
@pytest.mark.parametrize("dtype", BOUND)
def test_adjoint_is_exact(backend: str, dtype: torch.dtype, name: str) -> None:
    grid, beam = GEOMETRIES[name]
    ray = RayTransform(grid, beam, backend)
    bound = BOUND[dtype if backend in DOUBLE else torch.float32]
    assert mismatch(ray.forward, ray.adjoint, grid.shape, beam.shape, dtype) <= bound


ROUGHLY = {"forward": 0.01, "backproject": 0.03, "adjoint": 0.2, "backproject_adjoint": 0.1}


@over_geometries(ROUGH, without="four views")  # nothing is smooth in views of one bin
@pytest.mark.parametrize("what", ROUGHLY)
def test_rough_maps_are_near_the_exact_ones_on_smooth_images(backend: str, name: str, what: str) -> None:
    grid, beam = GEOMETRIES[name]
    rough, exact = (RayTransform(grid, beam, which)._backend(torch.zeros(1)) for which in (backend, "torch"))
    x = blob(grid) if what in ("forward", "backproject_adjoint") else exact.forward(blob(grid))
    result = getattr(rough, what)(x)
    assert relative(result, getattr(exact, what)(x)) < ROUGHLY[what]
    assert relative(result, getattr(exact, what)(x.flip(-1))) > 0.5


@over_geometries(EXACT)
def test_pixel_driven_pair_is_exact(backend: str, name: str) -> None:
    grid, beam = GEOMETRIES[name]
    ray = RayTransform(grid, beam, backend)
    use = ray._backend(torch.zeros(1))
    pair = [lambda x, f=f: f(x.reshape(-1, *x.shape[-2:])).unflatten(0, (2, 3)) for f in
            (use.backproject_adjoint, use.backproject)]  # fmt: skip
    bound = BOUND[torch.float32 if backend == "torch_radon" else torch.float64]
    assert mismatch(*pair, grid.shape, beam.shape, torch.float64) <= bound


@pytest.mark.parametrize("name", ["symmetric", "symmetric, odd", "four views"])
@pytest.mark.parametrize("what", ["forward", "adjoint", "backproject", "backproject_adjoint"])
def test_folding_onto_symmetries_changes_nothing(name: str, what: str) -> None:
    grid, beam = GEOMETRIES[name]
    folded, plain = NativeBackend(grid, beam), NativeBackend(grid, beam)
    plain._folded = None
    assert folded._folded is not None
    from_image = what in ("forward", "backproject_adjoint")
    x = torch.randn(3, *(grid.shape if from_image else beam.shape), dtype=torch.float64)
    torch.testing.assert_close(getattr(folded, what)(x), getattr(plain, what)(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["even", "oblong, spaced", "narrow, offset", "few angles"])
def test_other_geometries_do_not_fold(name: str) -> None:
    assert NativeBackend(*GEOMETRIES[name])._folded is None


@over(BACKENDS)
def test_mirrored_angles_are_refused_by_the_adjoint_check(backend: str) -> None:
    grid, beam = GEOMETRIES["even"]
    mirrored = ParallelBeam(beam.num_angles, beam.det_count, 1.0, angles=tuple(-a for a in beam.angles or ()))
    ray, wrong = RayTransform(grid, beam, backend), RayTransform(grid, mirrored, backend)
    assert mismatch(ray.forward, wrong.adjoint, grid.shape, beam.shape, torch.float32) > 1e-4


@over(EXACT)
def test_ray_driven_transpose_is_not_the_pixel_driven_backprojection(backend: str) -> None:
    grid, beam = GEOMETRIES["even"]
    ray = RayTransform(grid, beam, backend)
    scale = beam.num_angles / math.pi
    wrong = mismatch(ray.forward, lambda y: scale * ray.backproject(y), grid.shape, beam.shape, torch.float32)
    assert wrong > 1e-5


@over(EXACT)
def test_two_by_two_by_hand(backend: str) -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    beam = ParallelBeam(2, 2, 2.0)
    p = RayTransform(ImageGrid((2, 2), 2.0), beam, backend).forward(image)
    # θ = 0: s = x, so bins are columns; θ = 90°: s = y (up), so bin 0 is the lowest row.
    assert p.tolist() == [[8.0, 12.0], [14.0, 6.0]]


@over(tuple(name for name in EXACT if name in OFF_CENTER))
def test_crop_projects_as_its_place_in_the_whole(backend: str) -> None:
    grid, beam = ImageGrid((31, 26), 0.8), ParallelBeam(17, 60, 0.7, det_offset_mm=0.3)
    rows, columns = slice(4, 15), slice(13, 22)
    whole = torch.zeros(grid.shape, dtype=torch.float64)
    whole[rows, columns] = torch.rand(11, 9, dtype=torch.float64)
    crop = grid.crop(rows, columns)
    ray, part = (RayTransform(g, beam, backend) for g in (grid, crop))
    p = ray.forward(whole)
    torch.testing.assert_close(part.forward(whole[rows, columns]), p, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(part.fbp(p), ray.fbp(p)[rows, columns], rtol=1e-9, atol=1e-9)
    aside = RayTransform(ImageGrid(crop.shape, 0.8), beam, backend).forward(whole[rows, columns])
    assert relative(aside, p) > 0.5


@over(ODD_TOO)
def test_views_at_right_angles_are_row_and_column_sums(backend: str) -> None:
    grid, beam = ImageGrid((15, 15), 0.7), ParallelBeam(2, 15, 0.7)
    image = torch.rand(15, 15, dtype=torch.float64)
    p = RayTransform(grid, beam, backend).forward(image)
    close = {} if backend in DOUBLE else {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(p[0], image.sum(0) * 0.7, **close)
    torch.testing.assert_close(p[1], image.sum(1).flip(0) * 0.7, **close)
    assert not torch.allclose(p[1], image.sum(1) * 0.7)


@over(ODD_TOO)
def test_point_follows_its_sinusoid(backend: str) -> None:
    grid, beam = ImageGrid((41, 41), 1.0), ParallelBeam(36, 61, 1.0)
    x, y = 8, 11
    c = torch.arange(41.0) - 20
    image = torch.exp(-((c[None] - x) ** 2 + (c[:, None] + y) ** 2) / 3)
    p = RayTransform(grid, beam, backend).forward(image)
    bins = torch.arange(61.0) - 30
    centre = (p * bins).sum(1) / p.sum(1)
    theta = torch.tensor(beam.angles)
    torch.testing.assert_close(centre, x * theta.cos() + y * theta.sin(), atol=0.03, rtol=0)
    assert (centre - (x * theta.cos() - y * theta.sin())).abs().max() > 5


@over(BACKENDS)
def test_disk_gives_the_closed_form_and_equal_mass(backend: str) -> None:
    n, spacing, radius, mu, fine = 256, 0.75, 80.0, 0.02, 8
    grid, beam = ImageGrid((n, n), spacing), ParallelBeam(60, 267, 0.75)
    c = (torch.arange(n * fine) - (n * fine - 1) / 2) * spacing / fine
    disk = ((c[:, None] ** 2 + c[None] ** 2) < radius**2).double()
    image = mu * disk.unflatten(0, (n, fine)).unflatten(2, (n, fine)).mean((1, 3))
    p = RayTransform(grid, beam, backend).forward(image)
    s = (torch.arange(267) - 133) * 0.75
    truth = 2 * mu * (radius**2 - s.double() ** 2).clamp(min=0).sqrt()
    assert (p - truth).norm() / (truth.norm() * math.sqrt(60)) < 4e-3
    mass = p.sum(1) * 0.75
    torch.testing.assert_close(
        mass, torch.full_like(mass, float(image.sum()) * spacing**2), rtol=1e-3, atol=0
    )


@over(BACKENDS)
def test_agrees_with_joseph_in_float64(backend: str) -> None:
    grid, beam = ImageGrid((64, 64), 0.7), ParallelBeam(45, 93, 0.7)
    p = RayTransform(grid, beam, backend).forward(blob(grid))
    exact = RayTransform(grid, beam, "torch").forward(blob(grid))
    assert relative(p, exact) < (1e-4 if backend != "skimage" else 5e-3)
    assert relative(p, RayTransform(grid, beam, "torch").forward(blob(grid).roll(1, -1))) > 0.02


def test_agrees_with_an_independent_projector() -> None:
    skimage = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    n = 65
    c = torch.arange(n) - 32.0
    blob = torch.exp(-((c[:, None] + 7) ** 2 + (c[None] - 11) ** 2) / 50) + 0.5 * torch.exp(
        -((c[:, None] - 12) ** 2 / 30 + (c[None] + 5) ** 2 / 90)
    )
    blob = torch.where(c[:, None] ** 2 + c[None] ** 2 < 31**2, blob, 0.0)
    beam = ParallelBeam(30, n, 1.0)
    p = RayTransform(ImageGrid((n, n), 1.0), beam).forward(blob.double())
    degrees = [math.degrees(a) for a in beam.angles or ()]
    other = torch.from_numpy(skimage.radon(blob.double().numpy(), degrees, circle=True).T.copy())
    assert (p - other).norm() / other.norm() < 5e-3
    assert (p.flip(-1) - other).norm() / other.norm() > 0.1


@pytest.mark.parametrize("filter,largest_hu", [("ram-lak", 1.5), ("hann", 1.5)])
@over(BACKENDS)
def test_fbp_of_water_reads_zero_hu(backend: str, filter: str, largest_hu: float) -> None:
    n, spacing, radius, mu = 128, 1.5, 70.0, 0.02
    beam = ParallelBeam(200, 187, 1.5)
    s = (torch.arange(187) - 93) * 1.5
    p = (2 * mu * (radius**2 - s**2).clamp(min=0).sqrt()).expand(200, -1)
    image = RayTransform(ImageGrid((n, n), spacing), beam, backend).fbp(p, filter)
    c = (torch.arange(n) - (n - 1) / 2) * spacing
    r = (c[:, None] ** 2 + c[None] ** 2).sqrt()
    hu = (image / mu - 1) * 1000
    assert abs(float(hu[r < 0.9 * radius].mean())) < largest_hu
    assert abs(float(hu[(r > 1.1 * radius) & (r < 90)].mean()) + 1000) < 5


def test_unknown_filter_and_wrong_shapes_are_refused() -> None:
    grid, beam = GEOMETRIES["even"]
    ray = RayTransform(grid, beam)
    with pytest.raises(CtmarError, match="filter must be one of ram-lak"):
        ray.fbp(torch.zeros(beam.shape), "ramlak")
    with pytest.raises(CtmarError, match=r"\(\.\.\., 30, 47\), got \(47, 30\)"):
        ray.adjoint(torch.zeros(47, 30))
    with pytest.raises(CtmarError, match="floating-point"):
        ray.forward(torch.zeros(grid.shape, dtype=torch.int64))
    with pytest.raises(CtmarError, match="projector must be one of auto, native, torch, .*, got 'cuda'"):
        RayTransform(grid, beam, "cuda")


@over(DOUBLE)
@pytest.mark.parametrize("name", ["forward", "adjoint", "fbp"])
def test_gradients_to_second_order(backend: str, name: str) -> None:
    grid, beam = ImageGrid((5, 6), 1.2), ParallelBeam(4, 9, 1.0)
    ray = RayTransform(grid, beam, backend)
    shape = grid.shape if name == "forward" else beam.shape
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(ray, name), x)
    assert torch.autograd.gradgradcheck(getattr(ray, name), x)


@over(EXACT)
@pytest.mark.parametrize("name", ["forward", "adjoint", "fbp"])
def test_gradients_are_the_transposes_at_any_precision(backend: str, name: str) -> None:
    grid, beam = ImageGrid((6, 8), 1.2), ParallelBeam(4, 11, 1.0)
    ray = RayTransform(grid, beam, backend)
    x = torch.randn(2, *(grid.shape if name == "forward" else beam.shape), requires_grad=True)
    y = getattr(ray, name)(x)
    weights = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y.mT, x, weights.mT)  # a gradient that is not contiguous
    torch.testing.assert_close((gradient * x).sum(), (weights * y).sum(), rtol=1e-4, atol=1e-4)
    assert getattr(ray, name)(x.detach().to(torch.float32)).dtype == torch.float32


@over(ODD_TOO)
def test_batches_of_every_kind(backend: str) -> None:
    grid, beam = GEOMETRIES["oblong, spaced"]
    ray = RayTransform(grid, beam, backend)
    x = torch.randn(19, *grid.shape)
    together = ray.forward(x)
    torch.testing.assert_close(together[7], ray.forward(x[7]), rtol=1e-5, atol=1e-5)
    assert ray.forward(x[:0]).shape == (0, *beam.shape)
    assert ray.fbp(together[:0]).shape == (0, *grid.shape)
    assert ray.forward(x[None, :1]).shape == (1, 1, *beam.shape)
    torch.testing.assert_close(ray.forward(x.mT.contiguous().mT), together)
    with torch.inference_mode():
        torch.testing.assert_close(ray.forward(x), together)


@over(BACKENDS)
def test_nan_stays_in_its_slice(backend: str) -> None:
    grid, beam = GEOMETRIES["even"]
    x = torch.rand(3, *grid.shape)
    x[1, 16, 16] = torch.nan
    p = RayTransform(grid, beam, backend).forward(x)
    assert p[1].isnan().any() and p[[0, 2]].isfinite().all()


def test_threads_do_not_change_a_bit() -> None:
    grid, beam = ImageGrid((70, 70), 1.0), ParallelBeam(64, 101, 1.0)
    ray, x = RayTransform(grid, beam, "native"), torch.randn(5, 70, 70)
    threads = torch.get_num_threads()
    results: list[Tensor] = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(ray.adjoint(ray.forward(x)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
