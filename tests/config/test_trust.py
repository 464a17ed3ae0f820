"""A checkpoint of somebody else's: its config calls nothing but what scans and networks are made of."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.build import build_model
from ctmar.config.composing import plain
from ctmar.config.trust import config_of, may_call_back
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
    "a class that is made by ctmar alone": "ctmar.physics.gantries._Helix",
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


def carried(tiny, key: str, value: Any) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """A run's checkpoint but for one key of its config."""
    config = copy.deepcopy(plain(tiny("model=nmar")))
    *above, last = key.split(".")
    node = config
    for name in above:
        node = node[name]
    node[last] = value
    return {CONFIG_KEY: config}


def test_a_projector_by_its_dotted_name_is_imported_from_trusted_packages_alone(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "import sys\nsys.modules['imported_by_name'] = sys\nclass Backend: pass\n"
    (tmp_path / "evil_projector.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CTMAR_TRUST", raising=False)
    monkeypatch.delitem(sys.modules, "imported_by_name", raising=False)
    node = {"_target_": "ctmar.methods.li.LI", "backend": "evil_projector.Backend"}
    for key, value in (("projector.backend", "evil_projector.Backend"), ("model", node)):
        with pytest.raises(CtmarError, match="CTMAR_TRUST=evil_projector accepts that package"):
            config_of(carried(tiny, key, value))
    assert "imported_by_name" not in sys.modules
    monkeypatch.setenv("CTMAR_TRUST", "evil_projector")
    cfg = config_of(carried(tiny, "projector.backend", "evil_projector.Backend"))
    assert cfg.projector.backend == "evil_projector.Backend" and "imported_by_name" in sys.modules
    # What it imports is not its own; and the names of ctmar's need no trust.
    with pytest.raises(CtmarError, match="got 'evil_projector.sys.exit'"):
        config_of(carried(tiny, "projector.backend", "evil_projector.sys.exit"))
    monkeypatch.delenv("CTMAR_TRUST")
    assert config_of(carried(tiny, "projector.backend", "torch")).projector.backend == "torch"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "${oc.decode:'{_target_: os.system, command: exit}'}"),
        ("callbacks.other", "${oc.decode:'{_target_: os.system, command: exit}'}"),
        ("projector", "${oc.decode:'{backend: evil.Backend}'}"),
        ("seed", {1, 2}),
        ("seed", torch.zeros(1)),
    ],
)
def test_what_is_still_to_be_worked_out_is_refused(tiny, key: str, value: Any) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CtmarError, match="must hold plain values, all worked out"):
        config_of(carried(tiny, key, value))


def test_a_tuple_hides_nothing(tiny) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CtmarError, match="got 'os.system'"):
        config_of(carried(tiny, "data.fills", ({"_target_": "os.system"},)))


def test_a_callback_through_a_trusted_package_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTMAR_TRUST", "tests")
    assert may_call_back("tests.jobs.stop_after.StopAfter")
    assert not may_call_back("tests.children.subprocess.Popen")
