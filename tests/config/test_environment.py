"""A variable that is set but empty counts as unset."""

import os
import sys
from pathlib import Path

import pytest

from ctmar.config.composing import composed
from ctmar.config.environment import drop_empty
from tests.children import ROOT, run


def test_an_empty_data_folder_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTMAR_DATA", "")
    assert composed("train", ["anatomy=thorax"]).anatomy.ct == "../shared/data/thorax/ct.nii.gz"
    monkeypatch.setenv("CTMAR_DATA", "elsewhere")
    assert composed("train", ["anatomy=thorax"]).anatomy.ct == "elsewhere/thorax/ct.nii.gz"


def test_an_empty_root_is_no_root_of_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTMAR_ROOT", "")
    assert composed("train").paths.outputs == "./outputs"


@pytest.mark.parametrize(
    "name", ["CTMAR_TRUST", "WANDB_MODE", "HYDRA_FULL_ERROR", "LOCAL_RANK", "SLURM_NTASKS"]
)
def test_what_is_empty_goes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    drop_empty()
    assert name not in os.environ


def test_what_is_set_or_means_something_empty_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTMAR_TRUST", "mine")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    drop_empty()
    assert os.environ["CTMAR_TRUST"] == "mine" and os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.slow
def test_a_command_takes_empty_variables_for_unset_ones(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "train.py", "model=nmar", "geometry=tiny", "anatomy=procedural_small"]
    empty = dict.fromkeys(("CTMAR_ROOT", "CTMAR_DATA", "LOCAL_RANK", "SLURM_NTASKS", "WANDB_MODE"), "")
    cases = ["data.num_cases={train:1,val:1,test:1}", "evaluation.lesions=false"]
    done = run([*command, *cases], cwd=tmp_path, **empty)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "outputs" / "train" / "runs").iterdir())) == 1
