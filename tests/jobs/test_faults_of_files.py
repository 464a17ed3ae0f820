"""What a disk does to a training: full, read-only, damaged files."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.jobs.train import train
from tests.jobs.job import end_all, error_line, finish, start
from tests.jobs.test_cli import call


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """A test that fails leaves no training behind."""
    yield
    end_all()


SMALL_FILES = {resource.RLIMIT_FSIZE: (30_000, 30_000)}
"""No file may grow beyond 30 kB: writing stops half-way, as on a full disk."""


@pytest.mark.slow
def test_without_room_for_a_checkpoint_the_last_one_stays(tmp_path: Path, cache: Path) -> None:
    run = tmp_path / "run"
    assert finish(start(run, cache, "trainer.max_epochs=2"))[0] == 0
    last = run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    assert len(before) > 30_000
    more = ["trainer.max_epochs=4", f"ckpt_path={last}"]
    status, said = finish(start(run, cache, *more, limits=SMALL_FILES))
    assert status == 2 and error_line(said).startswith("error: File too large: ")
    assert last.read_bytes() == before
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert finish(start(run, cache, *more))[0] == 0


@pytest.mark.slow
def test_without_room_for_a_case_nothing_broken_is_left(tmp_path: Path) -> None:
    for workers in (0, 2):
        cache = tmp_path / f"cache-{workers}"
        job = start(tmp_path / "run", cache, f"data.num_workers={workers}", limits=SMALL_FILES)
        status, said = finish(job)
        assert status == 2 and "too large" in error_line(said).lower()
        assert not [path for path in cache.rglob("*") if path.is_file()]


def test_outputs_that_may_not_be_written_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with monkeypatch.context() as patch:
        assert call(patch, tmp_path, "debug=fdr", f"hydra.run.dir={tmp_path}/file/run") == 2
        assert error_line(capfd.readouterr().err).startswith(f"error: Not a directory: {tmp_path}/file/run")

        def read_only(path: object, *_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system", str(path))

        patch.setattr("os.mkdir", read_only)
        assert call(patch, tmp_path, "debug=fdr", f"hydra.run.dir={tmp_path}/new/run") == 2
        assert error_line(capfd.readouterr().err).startswith("error: Read-only file system: ")


def damaged(path: Path, how: str) -> None:
    """Cuts a file short, or changes bytes of it."""
    content = path.read_bytes()
    kind, where = how.split()
    place = int(len(content) * float(where))
    if kind == "cut":
        path.write_bytes(content[:place])
    else:
        path.write_bytes(content[:place] + bytes(255 - b for b in content[place : place + 64])
                         + content[place + 64 :])  # fmt: skip


DAMAGE = [f"{kind} {where}" for kind in ("cut", "flip") for where in (0.0, 0.02, 0.5, 0.9, 0.99)]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_before_anything_is_trained(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train(tiny("test=false", "trainer.max_epochs=1", folder="good"))
    good, bad = tmp_path / "good" / "checkpoints" / "last.ckpt", tmp_path / "bad.ckpt"
    for how in DAMAGE:
        shutil.copy(good, bad)
        damaged(bad, how)
        with pytest.raises(CtmarError, match="ckpt_path must be a checkpoint of"):
            train(tiny("test=false", f"ckpt_path={bad}", folder=f"resumed {how}"))
        assert not (tmp_path / f"resumed {how}").exists()
    with pytest.raises(CtmarError, match="the checkpoint's weights do not fit the configured model"):
        train(tiny("test=false", "model.channels=[4,8]", f"ckpt_path={good}"))


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_case_is_simulated_anew(tiny, tmp_path: Path, how: str) -> None:  # type: ignore[no-untyped-def]
    settings = ["model=li", "test=false", f"paths.cache_dir={tmp_path}/cache", "data.fills=[li]"]
    _, objects = train(tiny(*settings))
    objects["data"].prepare("test")
    (case,) = (tmp_path / "cache").rglob("test/00001.h5")
    whole = objects["data"].sets["test"].store.load("test", 1, objects["data"].source.ray, 120)
    damaged(case, how)
    _, again = train(tiny(*settings))
    again["data"].prepare("test")
    healed = again["data"].sets["test"][1]
    assert torch.equal(healed.scan.measured, whole.scan.measured)
    assert torch.equal(healed.truth.clean, whole.truth.clean)
