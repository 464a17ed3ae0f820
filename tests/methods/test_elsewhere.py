"""A function of the user's own, a folder of images, and what is found by its name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods import LI, NMAR
from ctmar.methods.elsewhere import FunctionMethod, ImageFolder, find_method

MINE = """
from dataclasses import dataclass

from ctmar.methods import NMAR, Method, linear_interpolation


def complete(scan):
    return linear_interpolation(scan.measured, scan.metal_trace)


class Halved(Method):
    def trace(self, scan):
        return scan.measured / 2


class Named(Halved):
    name = "halved"


class Asks(Halved):
    def __init__(self, factor):
        self.factor = factor


@dataclass(frozen=True)
class Frozen(Halved):
    by: float = 2


ready = Halved()
settings = NMAR(smoothing_mm=0)
constant = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of a user's own."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_function_keeps_what_it_did_off_the_trace(make_case) -> None:
    scan = make_case(slices=3).scan
    found = FunctionMethod(lambda s: s.measured + 1, "mine").complete(scan)
    assert torch.equal(found.sinogram, scan.measured + 1) and found.deviation is None


def test_a_function_sees_the_scan_and_nothing_else(make_case) -> None:
    case, seen = make_case(), []
    FunctionMethod(lambda *given: seen.append(given) or given[0].measured, "mine").complete(case.scan)
    assert seen == [(case.scan,)] and isinstance(seen[0][0], Scan)


def test_a_function_of_another_precision_comes_back_in_the_measurements(make_case) -> None:
    scan = make_case().scan
    found = FunctionMethod(lambda s: s.measured.double(), "mine").complete(scan).sinogram
    assert found.dtype == torch.float32 and torch.equal(found, scan.measured)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda s: s.measured[0], r"\(1, 48, 65\)"),
        (lambda s: s.measured.numpy(), "ndarray"),
        (lambda s: None, "NoneType"),
    ],
)
def test_what_is_no_sinogram_is_refused_by_the_functions_name(make_case, function, got: str) -> None:
    message = rf"method 'mine' must return a sinogram of shape \(2, 1, 48, 65\), got {got}"
    with pytest.raises(CtmarError, match=message):
        FunctionMethod(function, "mine").complete(make_case().scan)


def test_a_function_is_found_and_called_as_asked(make_case, module: str) -> None:
    scan = make_case().scan
    method = find_method(f"{module}.complete", "theirs")
    assert isinstance(method, FunctionMethod) and method.name == "theirs"
    assert torch.equal(method.complete(scan).sinogram, LI().complete(scan).sinogram)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("Halved", "theirs"),
        ("ready", "theirs"),
        ("Frozen", "theirs"),
        ("Named", "halved"),
        ("settings", "nmar"),
    ],
)
def test_a_method_or_its_class_is_found_and_called_as_asked_where_it_has_no_name(
    make_case, module: str, what: str, name: str
) -> None:
    scan = make_case().scan
    method = find_method(f"{module}.{what}", "theirs")
    assert method.name == name
    wanted = scan.measured / 2 if what != "settings" else NMAR(smoothing_mm=0).complete(scan).sinogram
    off = ~scan.metal_trace
    completed = method.complete(scan).sinogram
    assert torch.equal(completed[scan.metal_trace], wanted[scan.metal_trace])
    assert torch.equal(completed[off], scan.measured[off])


def test_a_method_of_ctmars_own_is_found() -> None:
    assert find_method("ctmar.methods.LI", "theirs") == LI()


@pytest.mark.parametrize("what", ["nothing", "constant", "complete.more", ""])
def test_what_is_no_method_is_named(module: str, what: str) -> None:
    with pytest.raises(CtmarError, match=f"methods must name functions as module.function, got '{module}"):
        find_method(f"{module}.{what}", "theirs")


@pytest.mark.parametrize("dotted", ["complete", "", ".", "..complete", "no_such_module.complete"])
def test_what_is_in_no_module_is_named(dotted: str) -> None:
    with pytest.raises(CtmarError, match="methods must name functions as module.function, got"):
        find_method(dotted, "theirs")


def test_a_class_that_cannot_be_made_without_arguments_is_named(module: str) -> None:
    message = f"Method classes that need no argument, got '{module}.Asks', which needs others"
    with pytest.raises(CtmarError, match=message):
        find_method(f"{module}.Asks", "theirs")


def test_a_folder_of_images_shows_each_case_its_own(make_case, tmp_path: Path) -> None:
    scan = make_case().scan
    for n in range(2):
        np.save(tmp_path / f"test-{n}.npy", np.full((8, 8), 10.0 * n))
    folder = ImageFolder(tmp_path, "theirs")
    assert folder.name == "theirs" and folder.own_image and not folder.completes
    assert torch.equal(folder.complete(scan).sinogram, scan.measured)
    image = torch.zeros(1, 1, 8, 8)
    for n in range(2):
        shown = folder.finish(scan.one(n), image, image)
        assert shown.dtype == torch.float32 and torch.equal(shown, torch.full((1, 1, 8, 8), 10.0 * n))
    both = torch.zeros(2, 1, 8, 8)
    together = folder.finish(scan, both, both)
    assert together.shape == both.shape and together.mean((1, 2, 3)).tolist() == [0.0, 10.0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 3)), r"must be HU of shape \(8, 8\), got float64 \(8, 3\)"),
        (np.full((8, 8), "a"), "must be HU of shape"),
        (np.array([{}], dtype=object), "must be an array of numbers"),
        (None, r"images must hold test-0\.npy for every case"),
    ],
)
def test_an_image_that_is_none_is_named(make_case, tmp_path: Path, image, message: str) -> None:
    if image is not None:
        np.save(tmp_path / "test-0.npy", image)
    blank = torch.zeros(1, 1, 8, 8)
    with pytest.raises(CtmarError, match=message):
        ImageFolder(tmp_path).finish(make_case(batch=1).scan, blank, blank)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="images must be a folder of CASE.npy files, got"):
        ImageFolder(tmp_path / "none")
