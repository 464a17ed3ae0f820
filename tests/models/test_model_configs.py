"""The model configs name every argument of their constructors, with the constructors' own defaults."""

import inspect
from pathlib import Path

import pytest
import yaml

from ctmar.models import classical
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import NetworkCompletion

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
# What a run chooses differently from a bare constructor.
DIFFERENT = {"augment_mirror", "augment_rotate_views", "augment_seed", "refine_filter"}


def config(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "model"), [("unet", NetworkCompletion), ("cgan", CGANCompletion)])
def test_keys_are_the_constructor_arguments_with_their_defaults(name: str, model: type) -> None:
    given = {key: value for key, value in config(name).items() if key not in ("_target_", "defaults")}
    parameters = inspect.signature(model).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert given.keys() == expected.keys()
    for key in given.keys() - DIFFERENT:
        default = expected[key]
        assert given[key] == (list(default) if isinstance(default, tuple) else default), key


def test_cgan_takes_everything_else_from_the_unet() -> None:
    assert config("cgan")["defaults"] == ["unet"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("nmar", classical.NMAR),
        ("fsnmar", classical.FSNMAR),
        ("mbhc", classical.HardeningCorrection),
        ("tv", classical.TVCompletion),
    ],
)
def test_classical_methods_state_their_defaults(name: str, model: type) -> None:
    given = {key: value for key, value in config(name).items() if key not in ("_target_", "defaults")}
    for key, parameter in inspect.signature(model).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or key in ("fill", "start"):
            continue
        value = given.pop(key)
        if not str(value).startswith("${"):
            assert value == parameter.default, key
    assert not given
