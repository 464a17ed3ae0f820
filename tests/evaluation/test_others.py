"""Methods from elsewhere: a user's function, a folder of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.evaluation.others import ImageFolder, export_case, find_function
from tests.evaluation.test_evaluation import METHODS, SIZE, IdentityRay, make_sample, read_rows


def write_images(folder, image, count=2):
    folder.mkdir()
    for n in range(count):
        np.save(folder / f"test-{n}.npy", image)
    return folder


def test_a_folder_of_images_is_scored_as_they_are(tmp_path):
    folder = write_images(tmp_path / "theirs", np.full((SIZE, SIZE), 25.0, np.float32))
    methods = {"uncorrected": METHODS["uncorrected"], "theirs": ImageFolder(folder)}
    samples = [make_sample(n) for n in range(2)]
    summary = evaluate(methods, samples, IdentityRay(), tmp_path / "out", num_panels=0, progress=False)
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
    summary = evaluate(
        methods, [make_sample()], IdentityRay(), tmp_path / "out", num_panels=0, progress=False
    )
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
        evaluate(
            {"theirs": ImageFolder(folder)}, [make_sample()], IdentityRay(), tmp_path / "o", progress=False
        )
    assert not (tmp_path / "o").exists()


def test_a_folder_or_a_case_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CtmarError, match="images must be a folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(CtmarError, match=r"images must hold test-0\.npy for every case"):
        ImageFolder(tmp_path).image_hu(make_sample())


MINE = """
from ctmar.completion import linear_interpolation


def complete(sample):
    return linear_interpolation(sample.measured, sample.metal_trace)


def with_ray(sample, ray):
    return sample.measured + 0 * ray.grid.spacing_mm


constant = 3
"""


def test_a_function_of_ones_own_in_few_lines(tmp_path, monkeypatch):
    (tmp_path / "their_method.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sample, ray = make_sample(), IdentityRay()
    assert torch.equal(find_function("their_method.complete", ray)(sample), sample.clean)
    assert torch.equal(find_function("their_method.with_ray", ray)(sample), sample.measured)
    for wrong in ("their_method.nothing", "no_such_module.complete", "complete", "their_method.constant"):
        with pytest.raises(CtmarError, match="methods must name functions as module.function, got"):
            find_function(wrong, ray)


def test_the_documented_method_is_short_and_runs(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    code = guide.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) < 20 and "methods={mine:mine.complete}" in guide
    (tmp_path / "documented_method.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sample, ray = make_sample(), IdentityRay()
    methods = {
        "uncorrected": METHODS["uncorrected"],
        "mine": find_function("documented_method.complete", ray),
    }
    summary = evaluate(methods, [sample], ray, tmp_path / "out", num_panels=0, progress=False)
    assert summary["methods"]["mine"]["rmse_sinogram_trace"]["mean"] == pytest.approx(0.0, abs=1e-6)
    assert summary["methods"]["uncorrected"]["rmse_sinogram_trace"]["mean"] == pytest.approx(0.5)


def test_what_is_exported_holds_no_truth_and_its_name_is_the_images(tmp_path):
    sample = make_sample(slices=3)
    path = export_case(sample, IdentityRay(), "ram-lak", tmp_path)
    with np.load(path, allow_pickle=False) as archive:
        assert path.name == "test-0.npz"
        assert archive["uncorrected_hu"].shape == archive["metal_mask"].shape == (SIZE, SIZE)
        assert not {"clean", "reference_hu"} & set(archive.files)
        np.testing.assert_array_equal(archive["measured"], sample.measured[0, 1].numpy())
        assert archive["uncorrected_hu"][9, 9] == pytest.approx(500.0, abs=0.01)
        np.save(tmp_path / f"{path.stem}.npy", archive["uncorrected_hu"])
    assert ImageFolder(tmp_path).image_hu(sample).shape == (1, 1, SIZE, SIZE)
