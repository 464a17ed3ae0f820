"""Options and values at random: everything is built, or one line says what is wrong; never a traceback."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.jobs.building import CONFIGS, NETWORK, SMALL, answer

GROUPS = {
    "data": ["realistic", "random", "mixed", "surgery"],
    "scanner": ["standard", "ideal", "clinical", "cnnmar", "syndeeplesion"],
    "model": ["unet", "cgan", "li", "nmar", "fsnmar", "mbhc", "tv", "physics", "pretrained"],
    "projector": ["auto", "native", "torch"],
    "geometry/acquisition": ["parallel", "clinical", "helical"],
    "trainer": ["cpu", "default"],
    "callbacks": ["default", "none"],
    "logger": ["csv", "none"],
}
LEFT = ("paths", "task_name", "tags", "experiment", "debug", "hydra")
"""Free text and places: any value is one."""
VALUES = ["null", "true", "-1", "0", "1", "3", "0.5", "1e9", "nan", "inf", "nonsense", "''", "[]", "[1,2]",
          "[-1,x]", "{}", "{a:1}", "[[]]"]  # fmt: skip
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow],  # composing a config is a part of drawing
}


def leaves(node: Any, at: str = "") -> Iterator[str]:
    for name, value in node.items():
        key = f"{at}.{name}" if at else str(name)
        if isinstance(value, dict) and value:
            yield from leaves(value, key)
        elif name not in ("_target_", "_partial_"):
            yield key


@functools.cache
def keys(*choices: str) -> list[str]:
    """Every key of the config that the choices make."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=[*SMALL, *choices])
    return [key for key in leaves(OmegaConf.to_container(cfg)) if key.split(".")[0] not in LEFT]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """An option of each of some groups, and up to three keys of theirs with values of any kind."""
    groups = draw(st.lists(st.sampled_from(sorted(GROUPS)), max_size=3, unique=True))
    choices = [f"{group}={draw(st.sampled_from(GROUPS[group]))}" for group in groups]
    changed = draw(st.lists(st.sampled_from(keys(*choices)), min_size=1, max_size=3, unique=True))
    return [*choices, *(f"{key}={draw(st.sampled_from(VALUES))}" for key in changed)]


def is_answered(overrides: list[str], folder: Path) -> None:
    line = answer(folder, *overrides)
    assert line is None or (line.strip() and "\n" not in line and "Traceback" not in line)


@pytest.mark.slow
@settings(max_examples=60, **SETTINGS)
@given(overrides=command_lines())
def test_many_command_lines_are_built_or_answered(overrides: list[str]) -> None:
    is_answered(overrides, Path("unused"))


def test_the_answer_is_none_where_all_is_well_and_a_bug_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(tmp_path) is None and len(keys()) > 100 and NETWORK
    monkeypatch.setattr("tests.jobs.building.build_model", lambda cfg: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        answer(tmp_path)
