"""A callback of a user's own, from a folder that holds nothing else."""

from pathlib import Path

import pytest

from tests.outside.folder import NETWORK, SMALL, done, refused, write

MINE = """
    from pytorch_lightning import Callback


    class Diary(Callback):
        def __init__(self, file):
            self.file = file

        def on_train_epoch_end(self, trainer, pl_module):
            with open(self.file, "a", encoding="utf-8") as diary:
                diary.write(f"{trainer.current_epoch}\\n")


    class Nothing:
        pass
"""
FOLDER = {
    "mine.py": MINE,
    "configs/callbacks/mine.yaml": "diary:\n  _target_: mine.Diary\n  file: diary.txt\n",
    "configs/callbacks/nothing.yaml": "nothing:\n  _target_: mine.Nothing\n",
}
TRAIN = ("train", "--config-dir=configs", *SMALL, *NETWORK, "test=false")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FOLDER)


@pytest.mark.slow
def test_it_is_called_in_a_training_and_after_resuming_where_it_may(folder: Path) -> None:
    done(folder, *TRAIN, "callbacks=[default,mine]", "hydra.run.dir=run")
    diary = folder / "diary.txt"
    assert diary.read_text(encoding="utf-8") == "0\n"
    assert (folder / "run/checkpoints/last.ckpt").is_file()  # of the default callbacks, which stay
    on = ("train", "--config-dir=configs", "ckpt_path=run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    out = done(folder, *on, "hydra.run.dir=on")
    assert "callbacks.diary (mine.Diary)" in out.stderr and "CTMAR_TRUST" in out.stderr
    assert diary.read_text(encoding="utf-8") == "0\n"
    done(folder, *on, "hydra.run.dir=trusted", CTMAR_TRUST="mine")
    assert diary.read_text(encoding="utf-8") == "0\n1\n"
    done(folder, *on, "hydra.run.dir=named", "callbacks=[default,mine]")
    assert diary.read_text(encoding="utf-8") == "0\n1\n1\n"


@pytest.mark.slow
def test_what_is_none_is_one_line(folder: Path) -> None:
    line = refused(folder, *TRAIN, "callbacks=[default,nothing]", "hydra.run.dir=run")
    assert "callbacks.nothing must be made into a pytorch_lightning.Callback, got <mine.Nothing" in line
