import logging
import math
import multiprocessing
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import BACKENDS, RayTransform, choice
from tests.children import run

GRID, BEAM = ImageGrid((24, 20), 0.9), ParallelBeam(18, 37, 0.8)
FAN = FanBeam(24, 41, 1.6, src_radius_mm=60.0, det_radius_mm=40.0)
CONFIGS = Path(__file__).parents[2] / "configs" / "projector"


def project(ray: RayTransform, x: Tensor) -> Tensor:
    return ray.adjoint(ray.forward(x))


def project_in_child(connection: Any, ray: RayTransform, x: Any) -> None:
    torch.set_num_threads(1)
    connection.send(project(ray, torch.from_numpy(x)).numpy())
    connection.close()


@pytest.fixture(autouse=True)
def nothing_announced() -> None:
    choice.announce.cache_clear()


def test_auto_takes_native_on_a_cpu_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ctmar.operators"):
        for _ in range(2):
            RayTransform(GRID, BEAM).forward(torch.zeros(GRID.shape))
    assert [record.getMessage() for record in caplog.records] == [
        "projector=auto takes native for cpu tensors and ParallelBeam"
    ]
    caplog.clear()
    RayTransform(GRID, BEAM, "torch").forward(torch.zeros(GRID.shape))
    assert not caplog.records


@pytest.mark.parametrize("found, name", [(object(), "triton"), (None, "torch")])
def test_auto_takes_triton_on_cuda_where_it_is_installed(monkeypatch, found: object, name: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(choice, "find_spec", lambda package: found)
    assert choice.best_name("cuda", BEAM) == name
    assert choice.best_name("cuda", FAN) == "torch"
    assert choice.best_name("cpu", BEAM) == "native"
    assert choice.best_name("mps", BEAM) == "torch"


def test_only_what_is_used_is_made() -> None:
    ray = RayTransform(GRID, BEAM)
    assert ray._backends._made == {}
    ray.forward(torch.zeros(GRID.shape))
    assert list(ray._backends._made) == ["native"]
    assert list(RayTransform(GRID, BEAM, "torch")._backends._made) == ["torch"]


def test_every_class_in_the_table_exists() -> None:
    import pkgutil

    for kind, classes in choice.CLASSES.items():
        assert kind in ("ParallelBeam", "FanBeam")
        for name, path in classes.items():
            assert pkgutil.resolve_name(path).name == name and name in BACKENDS


@pytest.mark.parametrize("name", ["astra", "skimage", "torch_radon", "triton"])
def test_a_fan_is_refused_by_what_has_none(name: str) -> None:
    with pytest.raises(CtmarError, match=f"FanBeam must be auto or one of native, torch, got '{name}'"):
        RayTransform(GRID, FAN, name)


@pytest.mark.parametrize("name", ["auto", "native", "torch"])
def test_a_fan_is_projected_by_what_has_it(name: str) -> None:
    ray = RayTransform(GRID, FAN, name)
    x, y = torch.randn(2, *GRID.shape).double(), torch.randn(2, *FAN.shape).double()
    gap = (ray.forward(x) * y).sum() - (x * ray.adjoint(y)).sum()
    assert abs(gap) < 1e-11 * ray.forward(x).norm() * y.norm()
    assert ray.fbp(y).shape == x.shape


def test_unknown_names_and_a_scan_without_angles_are_refused() -> None:
    with pytest.raises(CtmarError, match="projector must be one of auto, native, .*, got 'nativ'"):
        RayTransform(GRID, BEAM, "nativ")
    with pytest.raises(CtmarError, match="num_angles must be a positive whole number, got 0"):
        ParallelBeam(0, 37, 0.8)


def test_importing_the_operators_imports_no_optional_library() -> None:
    optional = ("astra", "torch_radon", "skimage", "triton", "numba")
    code = f"import ctmar.operators, sys; print([m for m in {optional} if m in sys.modules])"
    out = run([sys.executable, "-c", code])
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_a_config(name: str) -> None:
    assert (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8") == f"backend: {name}\nfilter: ram-lak\n"
    assert len(list(CONFIGS.glob("*.yaml"))) == len(BACKENDS)


@pytest.mark.parametrize("name", ["auto", "native", "torch"])
def test_pickles_small_and_projects_the_same(name: str) -> None:
    ray, x = RayTransform(GRID, BEAM, name), torch.randn(GRID.shape)
    before = project(ray, x)
    data = pickle.dumps(ray)
    assert len(data) < 2000
    assert torch.equal(project(pickle.loads(data), x), before)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_process_projects_the_same(start: str) -> None:
    context = multiprocessing.get_context(start)
    ray, x = RayTransform(GRID, BEAM, "native"), torch.randn(3, *GRID.shape)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # the parent's pool of threads does not exist in a forked child
    try:
        here = project(ray, x)
    finally:
        torch.set_num_threads(threads)
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=project_in_child, args=(theirs, ray, x.numpy()))
    child.start()
    try:
        assert mine.poll(60), "the child hangs"
        assert torch.equal(torch.from_numpy(mine.recv()), here)
    finally:
        child.join(5)
        child.kill()


def test_two_threads_share_a_transform() -> None:
    ray = RayTransform(GRID, BEAM, "native")
    images = [torch.randn(5, *GRID.shape) for _ in range(2)]
    expected = [project(RayTransform(GRID, BEAM, "native"), x) for x in images]
    results: list[list[Tensor]] = [[], []]
    barrier = threading.Barrier(2)

    def work(n: int) -> None:
        barrier.wait(timeout=60)
        results[n].extend(project(ray, images[n]) for _ in range(10))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(2):
        assert len(results[n]) == 10 and all(torch.equal(result, expected[n]) for result in results[n])


def test_a_default_of_auto_agrees_with_each_of_its_own() -> None:
    x = torch.rand(GRID.shape, dtype=torch.float64)
    auto = RayTransform(GRID, BEAM).fbp(RayTransform(GRID, BEAM).forward(x))
    for name in ("native", "torch"):
        ray = RayTransform(GRID, BEAM, name)
        torch.testing.assert_close(ray.fbp(ray.forward(x)), auto)
    assert math.isfinite(float(auto.sum()))
