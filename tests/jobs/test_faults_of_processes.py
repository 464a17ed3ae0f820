"""What a machine does to the processes of a training: killed, interrupted, two at once."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.jobs.mistakes import one_line
from tests.children import end
from tests.jobs.job import end_all, error_line, finish, start, weights

EPOCHS_A_KILL = 60


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """A test that fails leaves no training behind."""
    yield
    end_all()


def until(seen: Callable[[], bool], seconds: float = 900) -> None:
    """Waits for something to be seen."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def killed_at_random(folder: Path, cache: Path, kills: int, seed: int) -> tuple[int, int]:
    """Trains once unbroken and once killed ``kills`` times, each time going on from the last checkpoint.

    Returns:
        The kills that met a checkpoint to go on from, and the number of weights compared.
    """
    plain = f"trainer.max_epochs={EPOCHS_A_KILL * kills}"
    # In an interpreter of its own, which has another order of hashes than those that are killed.
    status, said = finish(start(folder / "whole", cache, plain, imported=False))
    assert status == 0, said
    rng = random.Random(seed)
    resume: list[str] = []
    met = 0
    for turn in range(kills + 1):
        job = start(folder / f"turn-{turn}", cache, plain, *resume)
        if turn < kills:
            own = folder / f"turn-{turn}" / "checkpoints" / "last.ckpt"
            if turn % 4:  # among its epochs; else at any moment, the start among them
                until(lambda own=own, job=job: own.is_file() or job.poll() is not None)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.8) if turn % 4 else rng.uniform(0, 6))
            end(job)
        else:
            status, said = finish(job)
            assert status == 0, said
        found = folder / f"turn-{turn}" / "checkpoints" / "last.ckpt"
        if found.is_file():  # none where a kill came after the last epoch: nothing is left to do
            last = found
            weights(last)
            resume, met = [f"ckpt_path={last}"], met + (turn < kills)
    a, b = weights(folder / "whole" / "checkpoints" / "last.ckpt"), weights(last)
    assert all(torch.equal(a[name], b[name]) for name in a)
    return met, len(a)


@pytest.mark.slow
def test_killed_five_times_a_training_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, cache: Path
) -> None:
    met, compared = killed_at_random(tmp_path, cache, kills=5, seed=0)
    assert met >= 3 and compared > 10


@pytest.mark.slow
def test_interrupted_a_training_exits_with_130_and_goes_on(tmp_path: Path, cache: Path) -> None:
    job = start(tmp_path / "run", cache, "trainer.max_epochs=100000")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    until(last.is_file)
    os.killpg(job.pid, signal.SIGINT)
    status, said = finish(job)
    assert status == 130 and said.strip().endswith("interrupted") and "Traceback" not in said
    epoch = torch.load(last, weights_only=True)["epoch"]
    more = [f"trainer.max_epochs={epoch + 3}", f"ckpt_path={last}"]
    assert finish(start(tmp_path / "more", cache, *more))[0] == 0
    again = torch.load(tmp_path / "more" / "checkpoints" / "last.ckpt", weights_only=True)
    assert again["epoch"] == epoch + 2


@pytest.mark.slow
def test_interrupted_while_cases_are_made_a_run_exits_with_130(tmp_path: Path) -> None:
    counts = "data.num_cases={train:400,val:2,test:2}"
    job = start(tmp_path / "run", tmp_path / "cache", counts, "data.num_workers=2")
    until(lambda: len(list((tmp_path / "cache").rglob("*.h5"))) > 2)
    os.killpg(job.pid, signal.SIGINT)
    status, said = finish(job)
    assert status == 130 and said.strip().endswith("interrupted") and "Traceback" not in said


@pytest.mark.slow
def test_a_process_that_simulates_and_is_killed_ends_the_run_with_a_line(tmp_path: Path) -> None:
    counts = "data.num_cases={train:400,val:2,test:2}"
    job = start(tmp_path / "run", tmp_path / "cache", counts, "data.num_workers=2")
    until(lambda: len(list((tmp_path / "cache").rglob("*.h5"))) > 2)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text(encoding="utf-8").split()
    os.kill(int(children[-1]), signal.SIGKILL)
    status, said = finish(job)
    assert status == 2 and "a process that simulates cases died" in error_line(said)
    assert "the same command goes on" in error_line(said)


@pytest.mark.slow
def test_a_process_that_loads_and_is_killed_ends_the_run_with_a_line(tmp_path: Path, cache: Path) -> None:
    workers = ["data.in_memory=false", "data.num_workers=2", "trainer.max_epochs=10000"]
    job = start(tmp_path / "run", cache, *workers)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    until(last.is_file)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children")
    deadline = time.monotonic() + 900
    while job.poll() is None:  # they come and go with each epoch, and one that is done is not missed
        assert time.monotonic() < deadline
        for child in children.read_text(encoding="utf-8").split()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        time.sleep(0.3)
    status, said = finish(job)
    assert status == 2
    # Torch may speak of one that died where it cannot raise, after the line as before it.
    assert any(line.startswith("error: a process that loads cases died") for line in said.splitlines()), said
    weights(last)


def test_a_death_that_a_check_took_for_its_own_is_still_told() -> None:
    died = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    taken = CtmarError(f"network must take 6 channels, got: {died}")
    taken.__cause__ = died
    for error in (died, taken):
        said = one_line(error)
        assert said is not None and said.startswith("a process that loads cases died")
    assert one_line(CtmarError("network must take 6 channels")) == "network must take 6 channels"


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache_and_no_folder(tmp_path: Path) -> None:
    own = f"hydra.run.dir={tmp_path}/outputs/" + "${now:%Y-%m-%d_%H-%M-%S-%f}"
    pair = [start(tmp_path / "runs", tmp_path / "cache", own, "trainer.max_epochs=1") for _ in range(2)]
    assert [finish(job)[0] for job in pair] == [0, 0]
    runs = sorted((tmp_path / "outputs").iterdir())
    assert len(runs) == 2
    a, b = (weights(run / "checkpoints" / "last.ckpt") for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
