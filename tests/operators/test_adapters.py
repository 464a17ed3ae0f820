import importlib
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.operators.adapters import torch_radon_backend
from ctmar.operators.adapters.torch_radon_backend import TorchRadonBackend, import_torch_radon
from tests.operators import fake_torch_radon
from tests.operators.fake_torch_radon import ParallelBeamV3, RadonV1, Volume2D

GRID, BEAM = ImageGrid((24, 20), 0.9), ParallelBeam(18, 37, 0.8)
VERSIONS = ("v1", "v3")


@pytest.fixture
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    fake_torch_radon.install(monkeypatch, request.param)
    name: str = request.param
    return name


def write_package(folder: Path, patch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Puts a package torch_radon of these files first on the path, and forgets it afterwards."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    patch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] in ("torch_radon", "torch_radon_cuda")]:
        patch.delitem(sys.modules, name)
    importlib.invalidate_caches()


@pytest.fixture
def forget_package() -> None:  # type: ignore[misc]
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_radon"]:
        del sys.modules[name]


# torch-radon, against its stand-in


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
@pytest.mark.parametrize("spacing", [0.9, 0.45, 1.3])
def test_torch_radon_gives_our_units(version: str, spacing: float) -> None:
    beam = ParallelBeam(18, 61, spacing)
    ray, own = RayTransform(GRID, beam, "torch_radon"), RayTransform(GRID, beam, "torch")
    x = torch.rand(3, *GRID.shape)
    p = own.forward(x)
    torch.testing.assert_close(ray.forward(x), p)
    torch.testing.assert_close(ray.fbp(p), own.fbp(p))
    torch.testing.assert_close(ray.adjoint(p), own.adjoint(p))
    assert not torch.allclose(ray.forward(x) / GRID.spacing_mm, p)


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_torch_radon_weighs_uneven_views(version: str) -> None:
    beam = ParallelBeam(3, 37, 0.8, angles=(0.3, 2.0, 5.1))  # three: a tuple of them would be a range
    ray, own = RayTransform(GRID, beam, "torch_radon"), RayTransform(GRID, beam, "torch")
    p = torch.randn(2, *beam.shape)
    torch.testing.assert_close(ray.backproject(p), own.backproject(p))


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_torch_radon_takes_every_kind_of_input(version: str) -> None:
    ray, own = RayTransform(GRID, BEAM, "torch_radon"), RayTransform(GRID, BEAM, "torch")
    p = torch.randn(4, *BEAM.shape)
    assert ray.backproject(p[:0]).shape == (0, *GRID.shape)  # before any forward
    assert ray.forward(torch.zeros(0, *GRID.shape)).shape == (0, *BEAM.shape)
    torch.testing.assert_close(ray.backproject(p.mT.contiguous().mT), own.backproject(p))
    half = ray.backproject(p.double())
    assert half.dtype == torch.float64
    leaf = torch.randn(1, *GRID.shape, requires_grad=True)
    ray.forward(leaf).sum().backward()  # the gradient is an expanded scalar
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, own.adjoint(torch.ones(1, *BEAM.shape)))
    with torch.inference_mode():
        assert ray.forward(torch.rand(GRID.shape)).shape == BEAM.shape


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_torch_radon_is_made_anew_after_pickling(version: str) -> None:
    backend = TorchRadonBackend(GRID, BEAM)
    x = torch.rand(1, *GRID.shape)
    p = backend.forward(x)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(next(iter(backend._handles.values())).tex_cache)
    again = pickle.loads(pickle.dumps(backend))
    assert again._handles == {} and torch.equal(again.forward(x), p)


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_torch_radon_is_made_anew_in_another_process(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, x = TorchRadonBackend(GRID, BEAM), torch.rand(1, *GRID.shape)
    backend.forward(x)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="initialization error"):
        next(iter(backend._handles.values())).project(x)
    assert backend.forward(x).shape == (1, *BEAM.shape)


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
def test_torch_radon_refuses_what_the_library_has_not(version: str) -> None:
    with pytest.raises(CtmarError, match="needs det_offset_mm=0, got 0.2"):
        RayTransform(GRID, ParallelBeam(18, 37, 0.8, det_offset_mm=0.2), "torch_radon")
    with pytest.raises(CtmarError, match="takes 4096 angles, got 4097"):
        RayTransform(GRID, ParallelBeam(4097, 5, 0.8), "torch_radon")
    odd = ImageGrid((24, 21), 0.9)
    if version == "v3":
        assert RayTransform(odd, BEAM, "torch_radon").forward(torch.zeros(odd.shape)).shape == BEAM.shape
    else:
        with pytest.raises(CtmarError, match=r"v1 needs even edges of the image, got \(24, 21\)"):
            RayTransform(odd, BEAM, "torch_radon")


def test_torch_radon_wants_cuda_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_radon.install(monkeypatch, "v3")
    monkeypatch.setattr(TorchRadonBackend, "device_type", "cuda")
    ray = RayTransform(GRID, BEAM, "torch_radon")
    with pytest.raises(CtmarError, match="torch_radon works on CUDA tensors, got one on cpu"):
        ray.forward(torch.zeros(GRID.shape))


def test_the_stand_in_has_the_traps_of_the_library() -> None:
    angles = torch.tensor(BEAM.angles)
    with pytest.raises(AssertionError, match="read as"):
        ParallelBeamV3(37, (0.1, 0.2, 0.3))
    with pytest.raises(AssertionError, match="off centre"):
        Volume2D(voxel_size=(0.9, 0.9))
    with pytest.raises(AssertionError, match="forward before"):
        ParallelBeamV3(37, angles).backward(torch.zeros(1, 18, 37))
    with pytest.raises(RuntimeError, match="contiguous"):
        ParallelBeamV3(37, angles).forward(torch.zeros(1, 20, 24).mT)
    with pytest.raises(RuntimeError, match="scalar type Float"):
        ParallelBeamV3(37, angles).forward(torch.zeros(1, 24, 20).double())
    with pytest.raises(AssertionError, match="multiple of 16"):
        RadonV1(24, angles)
    with pytest.raises(AssertionError, match="square"):
        RadonV1(32, angles).forward(torch.zeros(1, 24, 32))
    x = torch.rand(1, 24, 20)
    sums = ParallelBeamV3(37, angles, 0.5, volume := Volume2D())
    p = sums.forward(x)
    assert volume.height == 24
    own = RayTransform(ImageGrid((24, 20), 1.0), ParallelBeam(18, 37, 0.5), "torch")
    torch.testing.assert_close(
        sums.backward(p), own.backproject(p) * 18 / torch.pi / 0.5, rtol=1e-4, atol=1e-4
    )


# torch-radon, as it fails to import


def test_an_absent_torch_radon_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", None)
    with pytest.raises(CtmarError, match="torch-radon, which is not installed: conda install"):
        RayTransform(GRID, BEAM, "torch_radon")


@pytest.mark.usefixtures("forget_package")
def test_a_missing_extension_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, monkeypatch, {"torch_radon/__init__.py": "from torch_radon_cuda import *"})
    with pytest.raises(CtmarError, match="extension, which does not load .*torch_radon_cuda.*"):
        RayTransform(GRID, BEAM, "torch_radon")


@pytest.mark.usefixtures("forget_package")
def test_v1_without_its_extension_fails_at_the_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "try:\n    import torch_radon_cuda\nexcept Exception:\n    pass\n"
        "class Radon:\n    def __init__(self, *args, **kwargs):\n        torch_radon_cuda.TextureCache(8)\n"
    )
    write_package(tmp_path, monkeypatch, {"torch_radon/__init__.py": source})
    monkeypatch.setattr(TorchRadonBackend, "device_type", "cpu")
    with pytest.raises(CtmarError, match="extension, which does not load .*not defined"):
        RayTransform(GRID, BEAM, "torch_radon").forward(torch.zeros(GRID.shape))


@pytest.mark.usefixtures("forget_package")
@pytest.mark.parametrize("absent", ["tkinter", "_tkinter", "turtle"])
def test_a_python_without_tkinter_imports_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    volumes = "from turtle import width\nclass Volume2D:\n    pass\n"
    start = "from .volumes import Volume2D\nclass ParallelBeam:\n    pass\n"
    files = {"torch_radon/__init__.py": start, "torch_radon/volumes.py": volumes}
    write_package(tmp_path, monkeypatch, files)
    monkeypatch.delitem(sys.modules, "turtle", raising=False)
    monkeypatch.setitem(sys.modules, absent, None)
    assert import_torch_radon().Volume2D.__module__ == "torch_radon.volumes"
    assert sys.modules.get("turtle") is None


@pytest.mark.usefixtures("forget_package")
def test_importing_it_leaves_the_warning_filters_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import warnings\nwarnings.simplefilter('default')\nclass ParallelBeam:\n    pass\n"
    write_package(tmp_path, monkeypatch, {"torch_radon/__init__.py": source})
    before = list(warnings.filters)
    import_torch_radon()
    assert warnings.filters == before


def test_its_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_backend)  # a module of other names
    monkeypatch.delattr(torch_radon_backend, "ParallelBeam")
    with pytest.raises(CtmarError, match="neither ParallelBeam nor Radon"):
        import_torch_radon()


# ASTRA


def test_an_absent_astra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astra", None)
    with pytest.raises(CtmarError, match=r"not installed: pip install 'ctmar\[astra\]'"):
        RayTransform(GRID, BEAM, "astra")


@pytest.mark.usefixtures("forget_astra")
def test_an_astra_without_its_cuda_runtime_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "astra.py").write_text(
        "raise ImportError('libcudart.so.12: cannot open shared object file')", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CtmarError, match=r"needs the CUDA runtime even without a GPU \(libcudart.so.12"):
        RayTransform(GRID, BEAM, "astra")


@pytest.fixture
def forget_astra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "astra"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def astra() -> object:
    return pytest.importorskip("astra", reason="the ASTRA toolbox does not import", exc_type=ImportError)


def blob(shape: tuple[int, int]) -> Tensor:
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape)
    return torch.exp(-((y[:, None] - 0.2) ** 2) / 0.1 - (x[None] + 0.3) ** 2 / 0.06)[None]


@pytest.mark.usefixtures("astra")
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_astra_is_joseph_up_to_its_float32_coordinates(offset: float) -> None:
    grid, beam = ImageGrid((128, 96), 0.7), ParallelBeam(60, 181, 0.6, det_offset_mm=offset)
    ray, own = RayTransform(grid, beam, "astra"), RayTransform(grid, beam, "torch")
    x = blob(grid.shape)
    p = own.forward(x)
    assert (ray.forward(x) - p).norm() < 2e-5 * p.norm()
    assert (ray.adjoint(p) - own.adjoint(p)).norm() < 2e-5 * own.adjoint(p).norm()
    mirrored = RayTransform(grid, ParallelBeam(60, 181, 0.6, det_offset_mm=-0.3), "torch")
    assert (ray.forward(x) - mirrored.forward(x)).norm() > 1e-3 * p.norm()
    assert torch.equal(ray.fbp(p), RayTransform(grid, beam, "native").fbp(p))


@pytest.mark.usefixtures("astra")
def test_astra_before_2_5_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.import_module("astra").projector, "direct_FP")
    with pytest.raises(CtmarError, match=r"needs ASTRA 2\.5 or newer, got 2\."):
        RayTransform(GRID, BEAM, "astra")


@pytest.mark.usefixtures("astra")
def test_astra_threads_share_a_projector() -> None:
    x = torch.rand(9, *GRID.shape)
    ray, threads = RayTransform(GRID, BEAM, "astra"), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ray.adjoint(ray.forward(x))
        torch.set_num_threads(4)
        assert torch.equal(ray.adjoint(ray.forward(x)), one)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(pickle.loads(pickle.dumps(ray)).forward(x), ray.forward(x))


# scikit-image


def test_an_absent_skimage_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(CtmarError, match=r"not installed: pip install 'ctmar\[skimage\]'"):
        RayTransform(GRID, BEAM, "skimage")


@pytest.mark.parametrize("shape", [(40, 40), (41, 41), (40, 29), (33, 48)])
def test_skimage_turns_about_our_centre(shape: tuple[int, int]) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    grid, beam = ImageGrid(shape, 0.7), ParallelBeam(24, 101, 0.5, det_offset_mm=0.2)
    p = RayTransform(grid, beam, "torch").forward(blob(shape))
    other = RayTransform(grid, beam, "skimage")
    assert (other.forward(blob(shape)) - p).norm() < 5e-3 * p.norm()
    half_a_pixel = ParallelBeam(24, 101, 0.5, det_offset_mm=0.55)
    wrong = RayTransform(grid, half_a_pixel, "torch").forward(blob(shape))
    assert (other.forward(blob(shape)) - wrong).norm() > 3e-2 * p.norm()
    image = RayTransform(grid, beam, "torch").backproject(p)
    assert (other.backproject(p) - image).norm() < 1e-2 * image.norm()


def test_skimage_works_in_the_precision_it_is_given() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    ray = RayTransform(GRID, BEAM, "skimage")
    double = ray.forward(blob(GRID.shape))
    single = ray.forward(blob(GRID.shape).float())
    assert double.dtype == torch.float64 and single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), double.numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(CtmarError, match="float32 or float64 CPU tensors, got torch.float16"):
        ray.forward(blob(GRID.shape).half())
