"""Every option of every group composes with every other, and makes the object it names."""

import math
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ctmar.config.build import build_loggers, build_model, build_simulator, make, method_of
from ctmar.config.composing import plain
from ctmar.config.moved import renamed
from ctmar.jobs.mistakes import one_line
from ctmar.methods.base import Method, filled
from ctmar.operators import RayTransform
from ctmar.physics import Scanner
from ctmar.physics.gantries import make_gantry

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = ("data", "anatomy", "geometry", "projector", "scanner", "model", "trainer", "callbacks", "logger")
LAYOUTS = ("verse", "ctspine1k", "totalsegmentator", "csi2014", "covid19")
FILES = ["anatomy.ct=ct.nii", "anatomy.labels=labels.nii"]
OWN = {"pairs": ["data.artifact=.", "data.clean=."], "sinograms": ["data.root=."]}
OWN |= {key: ["data.root=."] for key in ("syndeeplesion", "adn", "cnnmar", "aapm", "aapm_head")}
OWN |= {"paired": ["data._target_=mine.Pairs"]}


def options(group: str) -> list[str]:
    return sorted(
        file.stem for file in (CONFIGS / group).glob("*.yaml") if file.stem not in ("base", "default")
    )


def composed(*overrides: str):  # type: ignore[no-untyped-def]
    chosen = {override.removeprefix("anatomy=") for override in overrides}
    needed = FILES if "files" in chosen else ["anatomy.root=."] if chosen & set(LAYOUTS) else []
    needed = [*needed, *(key for name in chosen if name.startswith("data=") for key in OWN.get(name[5:], []))]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=renamed([*overrides, *needed, "paths.output_dir=out"]))


CHOICES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.mark.parametrize("group,option", CHOICES)
def test_each_option_resolves_to_plain_types(group: str, option: str) -> None:
    resolved = plain(composed(f"{group}={option}"))
    assert group in resolved


Pair = frozenset[tuple[str, str]]


def covering_rows() -> list[dict[str, str]]:
    """Choices of an option for every group such that each two options of two groups meet in one, greedily."""
    known = {group: options(group) for group in GROUPS}
    left: set[Pair] = {
        frozenset({(first, a), (second, b)})
        for first, second in combinations(GROUPS, 2)
        for a, b in product(known[first], known[second])
    }
    rows = []
    while left:
        row = dict(min(left, key=sorted))
        for group in GROUPS:
            if group not in row:
                row[group] = max(
                    known[group], key=lambda x: sum(frozenset({(group, x), y}) in left for y in row.items())
                )
        left -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append(row)
    return rows


@pytest.mark.slow
def test_each_pair_of_options_composes() -> None:
    rows = covering_rows()
    assert len(rows) < 250
    for row in rows:
        plain(composed(*(f"{group}={option}" for group, option in row.items())))


@pytest.mark.slow
@pytest.mark.parametrize("group", ["anatomy", "scanner"])
def test_each_option_makes_its_object(group: str) -> None:
    for option in options(group):
        made = make(composed(f"{group}={option}")[group])
        assert type(made).__module__.startswith("ctmar.")


@pytest.mark.slow
def test_each_geometry_covers_its_image_and_wraps() -> None:
    for option in options("geometry"):
        node = composed(f"geometry={option}").geometry
        grid, beam = make(node.grid), make(node.beam)
        assert beam.covers(grid) and beam.wraps


@pytest.mark.slow
def test_each_acquisition_reaches_over_the_image_of_its_geometry() -> None:
    names = sorted(file.stem for file in (CONFIGS / "geometry" / "acquisition").glob("*.yaml"))
    assert {"clinical", "helical", "cnnmar", "adn", "syndeeplesion", "aapm"} <= set(names)
    published = set(names) & set(options("geometry"))
    assert published == {"cnnmar", "adn", "syndeeplesion", "aapm"}
    for name in names:
        chosen = [f"geometry={name}"] if name in published else [f"geometry/acquisition={name}"]
        node = composed(*chosen).geometry
        gantry = make_gantry(Scanner(), make(node.grid), make(node.acquisition or None), make(node.beam))
        assert gantry.slices(5, (5,), 2.0)
    assert not composed("geometry=large").geometry.acquisition
    assert not composed("geometry=aapm", "geometry/acquisition=parallel").geometry.acquisition


@pytest.mark.parametrize(
    "name,views,bins,step,radius,reach",
    [
        ("cnnmar", 984, 920, 0.001, 595.0, 263.9),
        ("aapm", 1000, 900, -1 / 950, 550.0, 550 * math.sin(450.75 / 950)),
        ("adn", 320, 197, math.radians(0.1), 400 / 153.6 * 1075 * 0.6, 400 / 153.6 * 109.8),
        ("syndeeplesion", 640, 641, None, 400 / 153.6 * 396.9, 400 / 153.6 * 104.6),
        ("clinical", 984, 888, 1.0239 / 949.075, 541.0, 249.6),
    ],
)
def test_published_fans_have_their_numbers(
    name: str, views: int, bins: int, step: float | None, radius: float, reach: float
) -> None:
    fan = make(composed(f"geometry/acquisition={name}").geometry.acquisition)
    assert fan.shape == (views, bins) and fan.detector == ("flat" if step is None else "arc")
    assert fan.src_radius_mm == pytest.approx(radius, rel=1e-3)
    assert fan.reach_mm == pytest.approx(reach, rel=1e-3)
    if step is not None:
        assert fan.gamma[1] - fan.gamma[0] == pytest.approx(step, rel=1e-4)


def test_each_generator_and_model_is_made() -> None:
    for option in set(options("data")) - set(OWN):
        assert hasattr(make(composed(f"data={option}").data.generator), "sample")
    for option in options("model"):
        assert isinstance(method_of(build_model(composed(f"model={option}"))), Method)


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


def test_methods_take_the_millimetres_of_shrunken_patients(tiny) -> None:  # type: ignore[no-untyped-def]
    cfg = tiny("model=tv", "scanner=syndeeplesion", job="evaluate")
    simulator, model = build_simulator(cfg, 1), build_model(cfg)
    scan = simulator.case("test", 0).scan
    grid, beam = make(cfg.geometry.grid), make(cfg.geometry.beam)
    elsewhere = replace(scan, fills={}, ray=RayTransform(grid, beam))
    nmar, fill = model.start, scan.fills["nmar"]
    # In the configured grid's millimetres everything looks 2.6 times too thin: air.
    assert (nmar.complete(elsewhere).sinogram - fill).abs().max() > 0.1
    assert torch.equal(nmar.complete(replace(scan, fills={})).sinogram, fill)
    assert torch.equal(filled(scan, nmar), fill)


def test_search_preset_composes_or_names_its_extra() -> None:
    searched = ["experiment=unet_pretrain", "hparams_search=optuna", "paths.output_dir=out"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            cfg = compose("train", overrides=searched, return_hydra_config=True)
        except HydraException as error:
            assert (
                one_line(error) == "hparams_search=optuna needs the sweeps extra: pip install 'ctmar[sweeps]'"
            )
            return
    sweeper = cfg.hydra.sweeper
    assert sweeper.direction == "minimize" and cfg.optimized_metric == "val/rmse_trace"
    for key in sweeper.params:
        assert OmegaConf.select(cfg, key) is not None, key
