"""A network, loss, term, input and discriminator of a user's own, from training to a corrected scan."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.outside.project import SMALL, SMALL_BENCHMARK, Project
from tests.outside.test_methods import CONFIGS, methods

MINE = """
    import torch
    from torch import nn


    class Network(nn.Module):
        def __init__(self, in_channels, out_channels, width=8):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(in_channels, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, out_channels, 3, padding=1),
            )

        def forward(self, inputs):
            return self.layers(inputs)


    class Huber:
        def __init__(self, delta=0.1):
            self.delta = delta

        def __call__(self, completed, case):
            trace = case.scan.metal_trace
            return torch.nn.functional.huber_loss(completed[trace], case.truth.clean[trace], delta=self.delta)


    class Mean:
        def __init__(self, weight=0.0):
            self.weight = weight

        def __call__(self, completed, case):
            trace = case.scan.metal_trace
            return (completed - case.truth.clean)[trace].mean().square()


    class Squared:
        def __call__(self, scan, fill, units):
            return (fill / units.sinogram) ** 2


    class Judge(nn.Module):
        def __init__(self, condition_channels, candidate_channels):
            super().__init__()
            self.layer = nn.Conv2d(condition_channels + candidate_channels, 1, 4, stride=4)

        def forward(self, condition, candidate):
            return self.layer(torch.cat([condition, candidate], 1))
"""
YAMLS = {
    "network/mine": "_target_: mine.Network\n_partial_: true\nwidth: 8\n",
    "loss/mine": "_target_: mine.Huber\ndelta: 0.1\n",
    "term/mine": "mean:\n  _target_: mine.Mean\n  weight: 0.5\n",
    "input/mine": "squared:\n  _target_: mine.Squared\n",
    "discriminator/mine": "_target_: mine.Judge\n_partial_: true\n",
}
PARTS = (
    "model=cgan",
    "model.network=mine",
    "model.loss=mine",
    "model.inputs=[measured,trace,fill,mine]",
    "term@model.terms=mine",
    "discriminator@model.adversary.discriminator=mine",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A GAN all of whose exchangeable parts are the user's, after one epoch."""
    project = Project(tmp_path_factory.mktemp("networks") / "home")
    project.write("mine.py", MINE)
    for name, text in YAMLS.items():
        project.write(f"configs/{name}.yaml", text)
    project.passes("train", CONFIGS, *PARTS, *SMALL, "hydra.run.dir=run", trust="")
    return project


CKPT = "run/checkpoints/best.ckpt"


@pytest.mark.slow
def test_all_parts_are_the_users(trained: Project) -> None:
    held = torch.load(trained.folder / CKPT, weights_only=True)
    weights = held["state_dict"]
    # Four channels, one slice; the discriminator sees them and two candidates.
    assert weights["method.generator.net.layers.0.weight"].shape == (8, 4, 3, 3)
    assert weights["discriminator.layer.weight"].shape == (1, 6, 4, 4)
    model = held["ctmar_config"]["model"]
    assert model["loss"]["_target_"] == "mine.Huber" and list(model["terms"]) == ["mean"]
    rows = (trained.folder / "run" / "csv" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 1 and methods(trained.folder / "run")["model"]


@pytest.mark.slow
def test_it_is_read_back_where_its_package_is_trusted_alone(trained: Project) -> None:
    line = trained.refused("evaluate", f"ckpt_path={CKPT}")
    assert "got 'mine." in line and "CTMAR_TRUST=mine accepts that package" in line
    own = ("evaluation.lesions=false", "evaluation.num_panels=0", "hydra.run.dir=again")
    trained.passes("evaluate", f"ckpt_path={CKPT}", *own, trust="mine")
    assert methods(trained.folder / "again")["model"] == methods(trained.folder / "run")["model"]


@pytest.mark.slow
def test_it_is_a_row_of_the_benchmark(trained: Project) -> None:
    run = (*SMALL_BENCHMARK, "num_cases=1", "hydra.run.dir=rows")
    trained.passes("benchmark", "models=[li]", f"checkpoints={{mine: {CKPT}}}", *run, trust="mine")
    assert set(methods(trained.folder / "rows")) == {"li", "mine", "clean"}


@pytest.mark.slow
def test_its_weights_and_its_graphs_are_exported_and_correct_a_scan(
    trained: Project, with_rods: tuple[np.ndarray, ...]
) -> None:
    assert "may name classes" in trained.refused("export", f"ckpt_path={CKPT}", "output=w.safetensors")
    for name in ("w.safetensors", "w.pt2", "w.pt"):
        trained.passes("export", f"ckpt_path={CKPT}", f"output={name}", trust="mine")
    image = sitk.GetImageFromArray(with_rods[0][None].astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(trained.folder / "scan.nii.gz"))
    found = []
    for source in (CKPT, "w.safetensors"):
        out = f"by_{Path(source).suffix[1:]}.nii.gz"
        trained.passes("correct", "scan.nii.gz", out, "--checkpoint", source, "--quiet", trust="mine")
        found.append(sitk.GetArrayFromImage(sitk.ReadImage(str(trained.folder / out))))
    assert np.array_equal(*found) and not np.array_equal(found[0][0], with_rods[0].astype(np.int16))
    refused = trained.refused("correct", "scan.nii.gz", "no.nii.gz", "--checkpoint", "w.safetensors")
    assert "CTMAR_TRUST=mine" in refused and not (trained.folder / "no.nii.gz").exists()


@pytest.mark.slow
def test_a_study_and_a_sweep_find_its_configs(trained: Project) -> None:
    study = """
        title: networks
        base: [{base}]
        trainings:
            own: ["model.network=mine"]
            wide: ["model.network=mine", "model.method.network.width=12"]
        tests: {{procedural: []}}
        seeds: [0]
        baseline: own
    """
    base = ", ".join(f'"{o}"' for o in (*SMALL, "data.num_workers=0") if not o.startswith("++"))
    trained.write("configs/study/mine.yaml", study.format(base=base))
    out = trained.passes("study", "mine", CONFIGS, "--folder", "study", "--jobs", "1", trust="mine")
    assert "| own |" in out and "| wide |" in out
    swept = ("train", CONFIGS, "-m", "model.network=mine,unet", *SMALL, "hydra.sweep.dir=sweep")
    trained.passes(*swept)
    runs = (trained.folder / f"sweep/{n}/checkpoints/best.ckpt" for n in "01")
    first, second = (torch.load(run, weights_only=True) for run in runs)
    assert "method.generator.net.layers.0.weight" in first["state_dict"]
    assert "method.generator.net.head.weight" in second["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_target_: mine.Nothing\n_partial_: true\n", "mine.Nothing"),
        (
            "_target_: torch.nn.Conv2d\nin_channels: 9\nout_channels: 1\nkernel_size: 3\n",
            "network must take 4 channels",
        ),
        ("_target_: torch.nn.Conv2d\n_partial_: true\nkernel_size: 3\n", "network must return the shape"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(trained: Project, text: str, message: str) -> None:
    trained.write("configs/network/other.yaml", text)
    overrides = ("model.network=other", "model.inputs=[measured,trace,fill,mine]")
    assert message in trained.refused("train", CONFIGS, *overrides, *SMALL, "hydra.run.dir=wrong")
