"""A checkpoint as weights with a card, and those weights through the evaluation."""

import json
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.models.pretrained import load
from ctmar.models.weights import read
from ctmar.runs.calibrate import main as calibrate
from ctmar.runs.evaluate import run as evaluate_run
from ctmar.runs.export import run as export_run
from ctmar.runs.train import train
from tests.runs.conftest import SMALL_NETWORK, TINY


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_exported_weights_score_as_their_checkpoint_did(tiny, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    train(tiny("seed=3", "trainer.max_epochs=1"))
    best, file = tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "out" / "mine.safetensors"
    options = [f"ckpt_path={best}", f"output={file}", "method=model", "commit=abc"]
    options.append(f"summary={tmp_path / 'run' / 'evaluation' / 'summary.json'}")
    export_run(tiny(*options, job="export", bare=True))
    card = load(file).card
    assert (card["seed"], card["commit"], card["epochs"], card["steps"]) == (3, "abc", 1, 2)
    found = card["figures"]["means"]["model"]["rmse_hu_near"]
    own = summary_of(tmp_path / "run")["methods"]["model"]
    assert found == own["rmse_hu_near"]["mean"]
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    assert "## Limits" in text and "4 simulated cases" in text and f"| {found:.4g} |" in text
    assert str(tmp_path) not in text and str(tmp_path) not in json.dumps(card)
    # The same cases: the seed is the run's.
    weights = ["model=pretrained", f"model.weights={file}", "model.symmetries=1", "seed=3"]
    evaluate_run(tiny(*weights, job="evaluate", folder="again"))
    assert summary_of(tmp_path / "again")["methods"]["model"] == own

    before = read(file)[1]
    cases = [*TINY, *SMALL_NETWORK, f"paths.cache_dir={tmp_path}/cache", "--cases", "4", "--test-cases", "3"]
    assert calibrate([str(file), *cases, "--coverage", "0.8"]) == 0
    about, state = read(file)
    assert all(torch.equal(state[name], value) for name, value in before.items())
    told = about["card"].pop("uncertainty")
    assert about["card"] == card and told["coverage"] == 0.8 and len(told["coverage_by_width"]) == 5
    assert "4 validation cases: 0.8 of the errors within; 3 test cases" in capsys.readouterr().out
    said = [line for line in file.with_suffix(".md").read_text(encoding="utf-8").splitlines() if line]
    assert [line for line in said if line in text.splitlines()] == [
        line for line in text.splitlines() if line
    ]
    assert "to hold 0.8 of the errors" in "".join(set(said) - set(text.splitlines()))


def test_what_cannot_be_exported_is_said(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CtmarError, match="does not exist"):
        export_run(tiny("ckpt_path=absent.ckpt", "output=a.safetensors", job="export", bare=True))
