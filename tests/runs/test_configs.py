"""Every option of every group composes with every other, and makes the object it names."""

from itertools import combinations, product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ctmar.models.base import Completion
from ctmar.runs.build import build_loggers, build_model, make, plain

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = ("data", "anatomy", "geometry", "projector", "scanner", "model", "trainer", "callbacks", "logger")
FILES = ["anatomy.ct=ct.nii", "anatomy.labels=labels.nii"]


def options(group: str) -> list[str]:
    return sorted(
        file.stem for file in (CONFIGS / group).glob("*.yaml") if file.stem not in ("base", "default")
    )


def composed(*overrides: str):  # type: ignore[no-untyped-def]
    needed = FILES if "anatomy=files" in overrides else []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=[*overrides, *needed, "paths.output_dir=out"])


CHOICES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.mark.parametrize("group,option", CHOICES)
def test_each_option_resolves_to_plain_types(group: str, option: str) -> None:
    resolved = plain(composed(f"{group}={option}"))
    assert group in resolved


@pytest.mark.slow
@pytest.mark.parametrize("first,second", [*combinations(GROUPS, 2)])
def test_each_pair_of_options_composes(first: str, second: str) -> None:
    for a, b in product(options(first), options(second)):
        plain(composed(f"{first}={a}", f"{second}={b}"))


@pytest.mark.parametrize("group", ["anatomy", "scanner"])
def test_each_option_makes_its_object(group: str) -> None:
    for option in options(group):
        made = make(composed(f"{group}={option}")[group])
        assert type(made).__module__.startswith("ctmar.")


def test_each_geometry_covers_its_image_and_wraps() -> None:
    for option in options("geometry"):
        node = composed(f"geometry={option}").geometry
        grid, beam = make(node.grid), make(node.beam)
        assert beam.covers(grid) and beam.wraps


def test_each_generator_and_model_is_made() -> None:
    for option in options("data"):
        assert hasattr(make(composed(f"data={option}").data.generator), "sample")
    for option in options("model"):
        assert isinstance(build_model(composed(f"model={option}")), Completion)


def test_each_logger_is_made(tmp_path: Path) -> None:
    for option in ("csv", "tensorboard", "none"):
        loggers = build_loggers(composed(f"logger={option}", f"paths.output_dir={tmp_path}"))
        assert len(loggers) == (option != "none")


@pytest.mark.parametrize("kind", ["experiment", "debug"])
def test_experiments_and_debug_presets_are_deltas_that_compose(kind: str) -> None:
    for option in options(kind):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", overrides=[f"{kind}={option}", "paths.output_dir=out"])
        assert cfg.task_name != "train"
        OmegaConf.resolve(cfg)


def test_the_defaults_are_the_promised_ones() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=["paths.output_dir=out"], return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    expected = {"model": "unet", "data": "realistic", "anatomy": "procedural", "scanner": "standard"}
    expected |= {"geometry": "small", "trainer": "cpu", "logger": "csv"}
    assert {name: choices[name] for name in expected} == expected
