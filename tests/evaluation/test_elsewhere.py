"""Methods from elsewhere: a user's function, a folder of images."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.evaluation.export import export_scan
from ctmar.methods import LI, NMAR
from ctmar.methods.elsewhere import FunctionMethod, ImageFolder, find_method
from tests.evaluation.test_evaluation import METHODS, SIZE, make_case, read_rows


def image_of(folder, scan):
    seen = scan.image_hu(scan.measured)
    return folder.finish(scan, seen, seen)


def write_images(folder, image, count=2):
    folder.mkdir()
    for n in range(count):
        np.save(folder / f"test-{n}.npy", image)
    return folder


def test_a_folder_of_images_is_scored_as_they_are(tmp_path):
    folder = write_images(tmp_path / "theirs", np.full((SIZE, SIZE), 25.0, np.float32))
    methods = {"uncorrected": METHODS["uncorrected"], "theirs": ImageFolder(folder)}
    cases = [make_case(n) for n in range(2)]
    summary = evaluate(methods, cases, tmp_path / "out", num_panels=0, progress=False)
    figures = summary["methods"]["theirs"]
    assert figures["rmse_hu_body"]["mean"] == pytest.approx(25.0)
    assert figures["bias_hu_near"]["mean"] == pytest.approx(25.0)
    assert figures["rmse_sinogram_trace"]["n"] == 0
    # What became of the rays cannot be told from an image, and is not claimed to be nothing.
    assert summary["images_alone"] == ["theirs"] and summary["off_trace_max_abs_change"] == 0.0
    rows = read_rows(tmp_path / "out" / "cases.csv")
    assert {r["off_trace_max_abs_change"] for r in rows if r["method"] == "theirs"} == {"nan"}


def test_metal_shown_in_an_image_is_not_scored(tmp_path):
    image = np.zeros((SIZE, SIZE), np.float32)
    image[11:13, 11:13] = 9000.0
    folder = write_images(tmp_path / "theirs", image, 1)
    methods = {"theirs": ImageFolder(folder)}
    summary = evaluate(methods, [make_case()], tmp_path / "out", num_panels=0, progress=False)
    assert summary["methods"]["theirs"]["rmse_hu_body"]["mean"] == 0.0
    assert summary["methods"]["theirs"]["metal_dice"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((SIZE, 3)), r"must be HU of shape \(24, 24\), got float64 \(24, 3\)"),
        (np.full((SIZE, SIZE), np.nan), "must return a finite image"),
        (np.full((SIZE, SIZE), "a"), "must be HU of shape"),
        (np.array([{}], dtype=object), "must be an array of numbers"),
    ],
)
def test_an_unfit_image_is_one_line(tmp_path, image, message):
    folder = write_images(tmp_path / "theirs", image, 1)
    with pytest.raises(CtmarError, match=message):
        evaluate({"theirs": ImageFolder(folder)}, [make_case()], tmp_path / "o", progress=False)
    assert not (tmp_path / "o").exists()


def test_a_folder_or_a_case_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CtmarError, match="images must be a folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(CtmarError, match=r"images must hold test-0\.npy for every case"):
        image_of(ImageFolder(tmp_path), make_case().scan)


MINE = """
from dataclasses import dataclass

from ctmar.methods import LI, Method, linear_interpolation


def complete(scan):
    return linear_interpolation(scan.measured, scan.metal_trace)


def with_ray(scan):
    return scan.measured + 0 * scan.ray.grid.spacing_mm


class Own(Method):
    def trace(self, scan):
        return 0 * scan.measured


@dataclass(frozen=True)
class Frozen(Own):
    share: float = 0.0


class Weighted(Own):
    def __init__(self, weight):
        self.weight = weight


def of_two(sample, ray):
    return sample.measured


ready = LI()
constant = 3
"""


@pytest.fixture
def their_method(tmp_path, monkeypatch):
    (tmp_path / "their_method.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_method", None)


def test_a_function_of_ones_own_in_few_lines(their_method):
    case = make_case()
    found = find_method("their_method.complete", "mine")
    assert isinstance(found, FunctionMethod) and found.name == "mine"
    assert torch.equal(found.complete(case.scan).sinogram, case.truth.clean)
    seen = find_method("their_method.with_ray", "mine").complete(case.scan).sinogram
    assert torch.equal(seen, case.scan.measured)
    for wrong in ("their_method.nothing", "no_such_module.complete", "complete", "their_method.constant"):
        with pytest.raises(CtmarError, match="methods must name functions as module.function, got"):
            find_method(wrong, "mine")


@pytest.mark.parametrize("dotted", ["their_method.Own", "their_method.Frozen"])
def test_a_class_of_ones_own_completes_the_trace_alone(their_method, dotted):
    scan = make_case().scan
    completed = find_method(dotted, "mine").complete(scan).sinogram
    assert torch.equal(completed, torch.where(scan.metal_trace, 0.0, scan.measured))


def test_a_method_that_is_ready_is_taken_as_it_is(their_method):
    assert find_method("their_method.ready", "mine") == LI()
    assert find_method("ctmar.methods.NMAR", "mine") == NMAR()


@pytest.mark.parametrize("dotted", ["their_method.Weighted", "their_method.of_two"])
def test_what_needs_more_than_a_scan_is_one_line(their_method, dotted):
    with pytest.raises(CtmarError, match=r"methods must name .*'their_method\.\w+', which needs others"):
        find_method(dotted, "mine")


@pytest.mark.parametrize("returned", [None, 3.0, np.zeros((1, 1, SIZE, SIZE))])
def test_a_function_that_returns_no_sinogram_is_one_line(returned):
    with pytest.raises(CtmarError, match="method 'mine' must return a sinogram of shape .*, got [a-zN]"):
        FunctionMethod(lambda scan: returned, "mine").complete(make_case().scan)


def test_a_function_that_changes_rays_off_the_trace_is_seen_to(tmp_path):
    methods = {"mine": FunctionMethod(lambda scan: scan.measured + 0.125, "mine")}
    summary = evaluate(methods, [make_case()], tmp_path / "out", num_panels=0, progress=False)
    assert summary["off_trace_max_abs_change"] == 0.125


def test_the_documented_method_is_short_and_runs(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    code = guide.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) < 20 and "methods={mine:mine.complete}" in guide
    (tmp_path / "documented_method.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    methods = {
        "uncorrected": METHODS["uncorrected"],
        "mine": find_method("documented_method.complete", "mine"),
    }
    summary = evaluate(methods, [make_case()], tmp_path / "out", num_panels=0, progress=False)
    assert summary["methods"]["mine"]["rmse_sinogram_trace"]["mean"] == pytest.approx(0.0, abs=1e-6)
    assert summary["methods"]["uncorrected"]["rmse_sinogram_trace"]["mean"] == pytest.approx(0.5)


def test_what_is_exported_holds_no_truth_and_its_name_is_the_images(tmp_path):
    scan = make_case(slices=3).scan
    path = export_scan(scan, "ram-lak", tmp_path)
    with np.load(path, allow_pickle=False) as archive:
        assert path.name == "test-0.npz"
        assert archive["uncorrected_hu"].shape == archive["metal_mask"].shape == (SIZE, SIZE)
        assert not {"clean", "reference_hu"} & set(archive.files)
        np.testing.assert_array_equal(archive["measured"], scan.measured[0, 1].numpy())
        assert archive["uncorrected_hu"][9, 9] == pytest.approx(500.0, abs=0.01)
        np.save(tmp_path / f"{path.stem}.npy", archive["uncorrected_hu"])
    assert image_of(ImageFolder(tmp_path), scan.center()).shape == (1, 1, SIZE, SIZE)
