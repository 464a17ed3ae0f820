"""What a job starts runs the same job, and a sweep's next job starts afresh."""

import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ctmar.jobs.processes import job_command, relaunchable
from tests.children import run

HYDRA = {
    "job": {"config_name": "mine"},
    "run": {"dir": "elsewhere"},
    "runtime": {
        "config_sources": [
            {"provider": "main", "path": "/package"},
            {"provider": "command-line", "path": "/own"},
        ]
    },
    "overrides": {"hydra": ["hydra.mode=MULTIRUN"], "task": ["seed=1"]},
}


def test_a_command_starts_the_job_that_it_names(tmp_path: Path) -> None:
    done = run([*job_command("evaluate"), "--help"], cwd=tmp_path)
    assert done.returncode == 0 and "ckpt_path" in done.stdout


def test_a_process_that_is_added_runs_this_job_of_a_sweep_in_this_folder(tmp_path: Path) -> None:
    config = OmegaConf.create(HYDRA)
    OmegaConf.set_readonly(config, True)
    before = sys.argv
    with relaunchable("train", config, tmp_path):
        assert (
            sys.argv
            == job_command(
                "train",
                [
                    "--config-name=mine",
                    "--config-dir=/own",
                    "hydra.mode=MULTIRUN",
                    "seed=1",
                    "hydra.mode=RUN",
                ],
            )[1:]
        )
        assert sys.modules["__main__"].__spec__ is None
        assert config.run.dir == str(tmp_path)
    assert sys.argv is before


def test_what_tells_processes_of_one_another_goes_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("NODE_RANK", "3")
    spec = sys.modules["__main__"].__spec__
    with pytest.raises(ValueError, match="fails"), relaunchable("train", OmegaConf.create(HYDRA), tmp_path):
        os.environ["LOCAL_RANK"] = os.environ["NODE_RANK"] = "0"
        raise ValueError("a job that fails")
    assert "LOCAL_RANK" not in os.environ and os.environ["NODE_RANK"] == "3"
    assert sys.modules["__main__"].__spec__ is spec
