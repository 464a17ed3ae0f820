"""Pairs by a class of the user's own: one Python file and one YAML, in a folder outside of ctmar."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.outside.folder import ctmar

pytestmark = pytest.mark.slow
MINE = '''
"""Pairs in a format of one's own: a disk of water, a pin of metal, and streaks that the pin leaves."""

import numpy as np

from ctmar.data import image_case

STREAK_HU = 300.0


class Pairs:
    def __init__(self, setup, table):
        self.setup, self.ray, self.kvp, self.fills = setup, setup.ray, setup.kvp, setup.fills
        self.rows = np.loadtxt(table, delimiter=",", ndmin=2)

    def count(self, split):
        return {"train": 4, "val": 2, "test": 2}[split]

    def case(self, split, index):
        first = {"train": 0, "val": 4, "test": 6}[split]
        x, y = self.rows[first + index]
        rows, columns = np.indices(self.ray.grid.shape) - (self.ray.grid.shape[0] - 1) / 2
        clean = np.where(np.hypot(rows, columns) < 22, 30.0, -1000.0)
        pin = np.hypot(rows - y, columns - x) < 1.5
        streak = STREAK_HU * np.exp(-(((rows - y) / 2) ** 2)) * (clean > -500)
        return image_case(self.setup, np.where(pin, 3071.0, clean + streak), clean, f"{split}-{index}")
'''
YAML = """defaults:
  - paired
  - _self_
_target_: mine.Pairs
table: ???
"""
SMALL = [
    "--config-dir=configs",
    "data=mine",
    "data.table=table.csv",
    "geometry=tiny",
    "data.batch_size=2",
    "data.num_workers=2",
    "model.method.network.channels=[8,16]",
    "model.method.wrap_views=8",
    "trainer.max_epochs=2",
    "callbacks.image_panels=null",
    "evaluation.lesions=false",
    "evaluation.num_panels=1",
    "extras.progress_bar=false",
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder: ``mine.py``, ``configs/data/mine.yaml`` and the table that the class reads."""
    (tmp_path / "configs/data").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "configs/data/mine.yaml").write_text(YAML, encoding="utf-8")
    places = np.random.default_rng(0).uniform(-12, 12, (8, 2))
    np.savetxt(tmp_path / "table.csv", places, delimiter=",")
    return tmp_path


def cached(home: Path) -> set[str]:
    return set(os.listdir(home / "outputs/cache"))


def test_a_class_of_ones_own_is_trained_on_and_evaluated(home: Path) -> None:
    out = ctmar(home, "train", *SMALL, "hydra.run.dir=run")
    assert out.returncode == 0, out.stderr
    summary = json.loads((home / "run/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["num_cases"] == 2 and summary["source"] == "image" and summary["cases_without_labels"] == 2
    assert summary["off_trace_max_abs_change"] == 0.0
    found = {name: told["rmse_hu_near"]["mean"] for name, told in summary["methods"].items()}
    assert (
        set(found) == {"uncorrected", "li", "nmar", "model", "clean"} and found["li"] < found["uncorrected"]
    )
    best = "ckpt_path=run/checkpoints/best.ckpt"
    refused = ctmar(home, "evaluate", "--config-dir=configs", best)
    assert refused.returncode == 2 and "CTMAR_TRUST=mine" in refused.stderr
    again = ctmar(home, "evaluate", "--config-dir=configs", best, "hydra.run.dir=again", CTMAR_TRUST="mine")
    assert again.returncode == 0, again.stderr
    csv = [
        (home / folder / "evaluation/cases.csv").read_text(encoding="utf-8") for folder in ("run", "again")
    ]
    assert csv[0] == csv[1]
    # After an edit of the code, and of the file that it names, the cases are others and are made anew.
    before = cached(home)
    classical = [o for o in SMALL if not o.startswith("model.")] + ["model=li"]
    (home / "mine.py").write_text(MINE.replace("300.0", "900.0"), encoding="utf-8")
    edited = ctmar(home, "evaluate", *classical, "hydra.run.dir=edited")
    assert edited.returncode == 0, edited.stderr
    assert len(cached(home)) == len(before) + 1
    told = json.loads((home / "edited/evaluation/summary.json").read_text(encoding="utf-8"))
    assert told["methods"]["uncorrected"]["rmse_hu_near"]["mean"] > 1.5 * found["uncorrected"]
    np.savetxt(home / "table.csv", np.random.default_rng(1).uniform(-12, 12, (8, 2)), delimiter=",")
    moved = ctmar(home, "evaluate", *classical, "hydra.run.dir=moved")
    assert moved.returncode == 0 and len(cached(home)) == len(before) + 2
    assert ctmar(home, "evaluate", *classical, "hydra.run.dir=same").returncode == 0
    assert len(cached(home)) == len(before) + 2


@pytest.mark.parametrize(
    "text,overrides,message",
    [
        (MINE, ["data.table=none.csv"], "none.csv"),
        (MINE, ["+data.colour=1"], "mine.Pairs must take setup and the keys of data"),
        (MINE.replace("def count", "def other"), [], "got mine.Pairs without count"),
        (MINE.replace("3071.0, clean", "np.nan, clean"), [], "train-0: the image with metal must be finite"),
        (MINE.replace("clean, f", "clean[1:], f"), [], "must be of (1, 64, 64), by the run's geometry"),
    ],
)
def test_a_mistake_of_ones_own_is_one_line(home: Path, text: str, overrides: list[str], message: str) -> None:
    (home / "mine.py").write_text(text, encoding="utf-8")
    out = ctmar(home, "train", *SMALL, "data.num_workers=0", *overrides)
    assert out.returncode != 0 and message in out.stderr.splitlines()[-1], out.stderr
