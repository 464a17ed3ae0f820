"""A completion method of a user's own: a class and a YAML; so a model, a fill, a row and a correction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.outside.project import SMALL, SMALL_BENCHMARK, Project

MINE = """
    import torch
    from ctmar.methods import Method, linear_interpolation


    class Raised(Method):
        name = "raised"

        def __init__(self, by: float = 0.0) -> None:
            self.by = by

        def trace(self, scan):
            return linear_interpolation(scan.measured, scan.metal_trace) + self.by
"""
CONFIGS = "--config-dir=configs"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A method that is LI and a constant."""
    made = Project(tmp_path / "home")
    made.write("mine.py", MINE)
    made.write("configs/model/raised.yaml", "_target_: mine.Raised\nby: 3.0\n")
    return made


def methods(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert told["off_trace_max_abs_change"] == 0
    found: dict[str, Any] = told["methods"]
    return found


def trace_error(folder: Path, method: str) -> float:
    return float(methods(folder)[method]["rmse_sinogram_trace"]["mean"])


@pytest.mark.slow
def test_it_is_scored_beside_others_and_its_settings_are_the_command_lines(project: Project) -> None:
    same = "catalogue.raised.by=0.0"
    run = ("hydra.run.dir=out", *SMALL_BENCHMARK, "num_cases=1")
    project.passes("benchmark", CONFIGS, "models=[li,raised]", "+model@catalogue.raised=raised", same, *run)
    found = methods(project.folder / "out")
    assert found["raised"] == found["li"]
    project.passes("benchmark", CONFIGS, "models=[li,raised]", *run)
    assert trace_error(project.folder / "out", "raised") > trace_error(project.folder / "out", "li") + 0.2


@pytest.mark.slow
def test_it_is_a_model_and_a_networks_fill(project: Project) -> None:
    project.passes("evaluate", CONFIGS, "model=raised", "model.by=0", *SMALL, "hydra.run.dir=alone")
    alone = methods(project.folder / "alone")
    assert alone["raised"] == alone["li"]
    # A network that is not trained answers 0: its completion is its fill.
    untrained = ("train", CONFIGS, "train=false", "model.fill=raised", *SMALL, "hydra.run.dir=filled")
    project.passes(*untrained)
    wanted = ("evaluate", CONFIGS, "model=raised", *SMALL, "hydra.run.dir=raised")
    project.passes(*wanted)
    filled = trace_error(project.folder / "filled", "model")
    assert filled == trace_error(project.folder / "raised", "raised")
    assert filled > 1 + float(alone["li"]["rmse_sinogram_trace"]["mean"])


@pytest.mark.slow
def test_it_corrects_a_scan(project: Project, with_rods: tuple[np.ndarray, ...]) -> None:
    image = sitk.GetImageFromArray(with_rods[0][None].astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(project.folder / "scan.nii.gz"))
    for method, out in (("li", "li"), ("raised", "raised")):
        project.passes("correct", "scan.nii.gz", f"{out}.nii.gz", "--method", method, CONFIGS, "--quiet")
    li, raised = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(project.folder / f"{name}.nii.gz"))).astype(float)
        for name in ("li", "raised")
    )
    # More attenuation behind metal makes the image brighter around it.
    assert 20 < (raised - li).mean() < 3000
    project.write("configs/model/raised.yaml", "_target_: mine.Raised\nby: 0.0\n")
    project.passes("correct", "scan.nii.gz", "same.nii.gz", "--method", "raised", CONFIGS, "--quiet")
    same = sitk.GetArrayFromImage(sitk.ReadImage(str(project.folder / "same.nii.gz")))
    assert np.array_equal(same, li)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("correct", "a.nii", "b.nii", "--method", "raised"), "model must be one of cgan, fsnmar"),
        (
            ("correct", "a.nii", "b.nii", "--config-dir", "nowhere"),
            "must be a folder, got 'nowhere'",
        ),
        (("correct", "a.nii", "b.nii", "--config-dir", "configs", "--method", "absent"), "absent"),
        (("study", "mine", "--config-dir", "configs"), "a study must be one of claim, inputs"),
    ],
)
def test_what_is_not_there_is_one_line(project: Project, arguments: tuple[str, ...], message: str) -> None:
    assert message in project.refused(*arguments)


def test_a_name_in_the_folder_is_never_taken_for_an_installed_one(tmp_path: Path) -> None:
    made = Project(tmp_path / "home")
    made.write("torch.py", "raise SystemExit(7)\n")
    made.write("yaml.py", "raise SystemExit(7)\n")
    assert "raised" not in made.refused("correct", "absent.nii", "out.nii")
    assert torch.__file__ is not None
