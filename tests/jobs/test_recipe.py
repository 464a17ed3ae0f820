"""The recipe's steps follow one another, and what is done is not done again."""

import json
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.jobs import recipe as module
from ctmar.jobs.recipe import recipe
from tests.tiny_runs import SMALL_NETWORK, TINY


def best(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.mark.slow
def test_three_steps_and_a_comparison(tmp_path: Path, cache: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "recipe"
    overrides = [
        *TINY,
        *SMALL_NETWORK,
        f"paths.cache_dir={cache}",
        "model.channels=[8,16,16]",
        "model.downscale=2",
        "trainer.precision=32-true",
    ]
    table = recipe(folder, [1.0, 100.0], overrides)
    assert (folder / "compare.html").is_file() and "compare.html" in table
    unet, cgan = (best(folder / name)["state_dict"] for name in ("unet", "cgan"))
    frozen = [name for name in unet if name.startswith("method.generator.net.body.model.0.")]
    assert frozen and all(torch.equal(unet[name], cgan[name]) for name in frozen)
    assert not torch.equal(unet["method.generator.net.head.weight"], cgan["method.generator.net.head.weight"])
    models = [best(folder / "lambda" / n)["ctmar_config"]["model"] for n in "01"]
    assert [model["adversary"]["lambda_l2"] for model in models] == [1, 100]
    capfd.readouterr()
    assert recipe(folder, [1.0, 100.0], overrides) == table
    assert "step" not in capfd.readouterr().out


def test_only_what_is_missing_is_run_with_the_first_steps_weights(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    calls = []

    class Done:
        returncode = 0

    def fake(command, check):
        calls.append(command)
        return Done()

    monkeypatch.setattr(module.subprocess, "run", fake)
    monkeypatch.setattr(module, "compare", lambda folders, out, method: f"{len(folders)} to {out.name}")
    done = tmp_path / "unet" / "evaluation" / "summary.json"
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps({}), encoding="utf-8")
    assert recipe(tmp_path, [1.0, 50.0], ["seed=3"]) == "3 to compare.html"
    assert len(calls) == 2
    start = f"model.generator_checkpoint={tmp_path / 'unet' / 'checkpoints' / 'best.ckpt'}"
    assert all(start in call and call[-1] == "seed=3" for call in calls)
    assert "model.lambda_l2=1,50" in calls[1] and "-m" in calls[1]
    Done.returncode = 2
    with pytest.raises(CtmarError, match="cgan ended with an error"):
        recipe(tmp_path, [1.0, 50.0])
