"""A checkpoint of somebody else's: its config calls nothing but what scans and networks are made of."""

import copy
from pathlib import Path

import pytest
import torch

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.build import build_model, plain
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import from_checkpoint
from ctmar.jobs.correct import method_from_checkpoint
from ctmar.jobs.evaluate import run as evaluate_run

FOREIGN = {
    "a function of Python's": "os.system",
    "one reached through ctmar": "ctmar.jobs.recipe.subprocess.run",
    "a function of ctmar that writes": "ctmar.files.write_text",
    "a class of ctmar that loads anything": "ctmar.callbacks.EMA",
    "a function that downloads": "ctmar.anatomy.download.fetch",
}


def forged(tiny, tmp_path: Path, target: str, key: str = "model") -> Path:  # type: ignore[no-untyped-def]
    """A checkpoint as a run leaves it, but for one ``_target_``."""
    cfg = tiny("test=false")
    config = copy.deepcopy(plain(cfg))
    node = {"_target_": target, "command": f"touch {tmp_path}/called", "path": f"{tmp_path}/called"}
    config["data" if key == "generator" else key] |= {"generator": node} if key == "generator" else node
    path = tmp_path / "forged.ckpt"
    torch.save({"state_dict": build_model(cfg).state_dict(), CONFIG_KEY: config}, path)
    return path


@pytest.mark.parametrize("what", FOREIGN)
def test_a_checkpoint_that_names_another_function_is_refused(tiny, tmp_path: Path, what: str) -> None:  # type: ignore[no-untyped-def]
    path = forged(tiny, tmp_path, FOREIGN[what])
    refused = pytest.raises(
        CtmarError, match=f"a checkpoint may name classes of ctmar's .* got '{FOREIGN[what]}'"
    )
    with refused:
        evaluate_run(tiny(f"ckpt_path={path}", job="evaluate"), [f"ckpt_path={path}"])
    with refused:
        from_checkpoint(str(path))
    with refused:
        method_from_checkpoint(path)
    assert not (tmp_path / "called").exists()


def test_one_deep_in_the_config_is_found(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = forged(tiny, tmp_path, "os.system", "generator")
    with pytest.raises(CtmarError, match="got 'os.system'"):
        evaluate_run(tiny(f"ckpt_path={path}", job="evaluate"), [f"ckpt_path={path}"])


def test_a_runs_own_checkpoint_is_taken_and_downloads_nothing(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = forged(tiny, tmp_path, "tests.mine.Network")
    checkpoint = torch.load(path, weights_only=True)
    with pytest.raises(CtmarError, match="CTMAR_TRUST=tests accepts that package"):
        config_of(checkpoint)
    monkeypatch.setenv("CTMAR_TRUST", "other,tests")
    assert config_of(checkpoint).model._target_ == "tests.mine.Network"
    genuine = {CONFIG_KEY: plain(tiny("model=nmar", "+anatomy.url=https://example.org/a.zip"))}
    monkeypatch.delenv("CTMAR_TRUST")
    cfg = config_of(genuine)
    assert cfg.model._target_.endswith("NMAR") and cfg.anatomy.url is None
