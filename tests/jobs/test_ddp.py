"""Two CPU processes under gloo give what one process gives, however the training is started."""

import sys
from pathlib import Path

import pytest
import torch

from tests.children import run
from tests.tiny_runs import SMALL_NETWORK, TINY

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

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def weights(folder: Path, cache: Path, *overrides: str) -> dict[str, torch.Tensor]:
    command = [sys.executable, str(ROOT / "train.py"), *TINY, *SMALL_NETWORK, *PLAIN, *overrides]
    command += [f"hydra.run.dir={folder}", f"paths.outputs={folder}", f"paths.cache_dir={cache}"]
    done = run(command, cwd=folder.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(tmp_path: Path, cache: Path) -> None:
    # A step is the mean over both cases: in one batch of two, or a case in each of two processes.
    one = weights(tmp_path / "one", cache, "data.batch_size=2")
    two = weights(tmp_path / "two", cache, "data.batch_size=1", *DDP)
    half = weights(tmp_path / "half", cache, "data.batch_size=1")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    assert not all(torch.allclose(half[name], one[name], rtol=1e-3, atol=1e-5) for name in one)


STARTS = {
    "ctmar": ["-c", "import sys; from ctmar.jobs.cli import main; sys.exit(main())", "train"],
    "module": ["-m", "ctmar", "train"],
    "code": ["-c", "import sys; from ctmar.jobs.cli import main; sys.exit(main('train'))"],
}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_two_processes_are_started_from_any_command(start: list[str], tmp_path: Path, cache: Path) -> None:
    own = tmp_path / "configs" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nseed: 7\n", encoding="utf-8")
    every = [*TINY, *SMALL_NETWORK, *PLAIN, *DDP, "trainer.max_epochs=1", f"paths.cache_dir={cache}"]
    flags = [f"--config-dir={tmp_path / 'configs'}", "experiment=mine", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run([sys.executable, *start, *flags, *dict.fromkeys(every)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout + done.stderr).count("MEMBER: 2/2") == 1
    config = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["ctmar_config"]
    assert config["seed"] == 7 and not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_each_job_of_a_sweep_has_processes_of_its_own(tmp_path: Path, cache: Path) -> None:
    every = [*TINY, *SMALL_NETWORK, *PLAIN, *DDP, "trainer.max_epochs=1", f"paths.cache_dir={cache}"]
    sweep = ["-m", "model.norm=instance,group", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    every.remove("model.norm=none")
    done = run([sys.executable, ROOT / "train.py", *sweep, *dict.fromkeys(every)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout + done.stderr).count("MEMBER: 2/2") == 2
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["0", "1", "multirun.yaml"]
    assert not (tmp_path / "outputs").exists()
    first, second = (
        torch.load(tmp_path / "sweep" / job / "checkpoints" / "last.ckpt", weights_only=True) for job in "01"
    )
    assert (
        first["ctmar_config"]["model"]["method"]["network"]
        != second["ctmar_config"]["model"]["method"]["network"]
    )
