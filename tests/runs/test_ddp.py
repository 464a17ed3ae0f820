"""Two CPU processes under gloo give what one process gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.runs.conftest import SMALL_NETWORK, TINY

ROOT = Path(__file__).parents[2]
PLAIN = [
    "model.norm=none",
    "model.margin_bins=null",
    "model.loss=root",
    "model.augment_mirror=false",
    "model.augment_rotate_views=0",
    "model.scheduler=none",
    "data.num_cases={train:2,val:2,test:1}",
    "trainer.max_epochs=3",
    "test=false",
]


def weights(folder: Path, cache: Path, *overrides: str) -> dict[str, torch.Tensor]:
    command = [sys.executable, str(ROOT / "train.py"), *TINY, *SMALL_NETWORK, *PLAIN, *overrides]
    command += [f"hydra.run.dir={folder}", f"paths.outputs={folder}", f"paths.cache_dir={cache}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"capture_output": True, "text": True, "encoding": "utf-8"}
    done = subprocess.run(command, cwd=folder.parent, env=environment, check=False, **streams)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(tmp_path: Path, cache: Path) -> None:
    # A step is the mean over both cases: in one batch of two, or a case in each of two processes.
    one = weights(tmp_path / "one", cache, "data.batch_size=2")
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    two = weights(tmp_path / "two", cache, "data.batch_size=1", *ddp)
    half = weights(tmp_path / "half", cache, "data.batch_size=1")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    assert not all(torch.allclose(half[name], one[name], rtol=1e-3, atol=1e-5) for name in one)
