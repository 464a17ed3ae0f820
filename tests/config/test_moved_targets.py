"""Configs of before a move: a checkpoint's and a data set's still name what they named."""

import copy
import importlib
import inspect
from pathlib import Path

import pytest

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.build import build_simulator
from ctmar.config.cases import case_settings, require_settings
from ctmar.config.composing import plain
from ctmar.config.moved_targets import TARGETS, renamed
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError

OLD = {new: old for old, new in TARGETS.items()}


def aged(node):  # type: ignore[no-untyped-def]
    """A config as it was written before the moves."""
    if isinstance(node, dict):
        return {k: OLD.get(v, v) if k == "_target_" else aged(v) for k, v in node.items()}
    return [aged(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize("old", TARGETS)
def test_every_new_name_is_a_class_where_it_is_said_to_be(old: str) -> None:
    module, _, name = TARGETS[old].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert inspect.isclass(found) and found.__module__ == module
    assert TARGETS[old] not in TARGETS, "one step leads to where it is"


def test_names_are_replaced_wherever_they_stand_and_nothing_else() -> None:
    old, new = next(iter(TARGETS.items()))
    config = {"_target_": old, "name": old, "parts": [{"a": {"_target_": old}}, 3], "n": None}
    before = copy.deepcopy(config)
    assert renamed(config) == {
        "_target_": new,
        "name": old,
        "parts": [{"a": {"_target_": new}}, 3],
        "n": None,
    }
    assert config == before
    assert renamed({"_target_": ["x"]}) == {"_target_": ["x"]}


def test_an_older_checkpoint_builds_its_cases(tiny) -> None:  # type: ignore[no-untyped-def]
    config = aged(plain(tiny("geometry/acquisition=helical")))
    assert config["anatomy"]["_target_"] in TARGETS
    assert config["geometry"]["acquisition"]["_target_"] in TARGETS
    simulator = build_simulator(config_of({CONFIG_KEY: config}), 1)
    assert type(simulator.anatomy).__name__ == "ProceduralSpine"


def test_an_older_data_set_is_of_the_same_settings(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wanted = case_settings(tiny(), 1)
    had = aged(wanted)
    assert had != wanted
    require_settings(tmp_path, {"config": had}, wanted)
    had["anatomy"]["seed"] = 5
    with pytest.raises(CtmarError, match=r"made by another \(anatomy.seed: 5 → 0\)"):
        require_settings(tmp_path, {"config": had}, wanted)
