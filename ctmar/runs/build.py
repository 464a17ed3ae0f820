"""From a composed config to the objects that a job works with."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ctmar.data.content import by_content, code_of
from ctmar.data.fingerprint import code_digest, fingerprint
from ctmar.data.module import MARDataModule
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.runs.moved import upgraded
from ctmar.runs.typed import check_types

SIMULATION_KEYS = ("source", "metal", "metal_threshold_hu", "extended_scale", "fills", "generator")
BUILT = ("anatomy", "generator", "scanner", "geometry")
"""Of a recipe: what classes are named in, this package's or a user's."""
CODE = ("modules", "packages")
"""Of a recipe: the code behind a user's classes."""
MANIFEST, SCHEMA = "manifest.json", 2


def set_threads(cfg: DictConfig) -> None:
    """Torch's threads, where the config names a number."""
    if cfg.extras.num_threads is not None:
        torch.set_num_threads(int(cfg.extras.num_threads))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain types: what travels in checkpoints and reports."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return json.loads(json.dumps(container))  # type: ignore[no-any-return]


def make(cfg: DictConfig | None, **more: Any) -> Any:
    """Instantiates a config node with plain arguments; an unfit argument is one clear line."""
    if isinstance(cfg, DictConfig):
        check_types(OmegaConf.to_container(cfg, resolve=True), cfg._get_full_key(None))
    try:
        return instantiate(cfg, **more, _convert_="all")
    except TypeError as error:
        raise CtmarError(str(error)) from error


def build_simulator(cfg: DictConfig, slices: int) -> Simulator:
    """The simulator of the config's body, scenes, scanner and geometry."""
    data = cfg.data
    return Simulator(
        anatomy=make(cfg.anatomy),
        generator=make(data.generator),
        scanner=make(cfg.scanner),
        grid=make(cfg.geometry.grid),
        beam=make(cfg.geometry.beam),
        seed=data_seed(cfg),
        slices=slices,
        source=data.source,
        metal=data.metal,
        metal_threshold_hu=data.metal_threshold_hu,
        extended_scale=data.get("extended_scale", False),  # checkpoints of before the option lack it
        fills=tuple(data.fills),
        filter=cfg.projector.filter,
        backend=cfg.projector.backend,
        acquisition=make(cfg.geometry.get("acquisition") or None),
    )


def data_seed(cfg: DictConfig) -> int:
    """The seed of the simulated cases: the run's, where ``data.seed`` names no other."""
    own = cfg.data.get("seed")
    return int(cfg.seed if own is None else own)


def case_settings(cfg: DictConfig, slices: int) -> dict[str, Any]:
    """Every setting that decides what a case holds, as plain types; input files by their digest."""
    resolved = plain(cfg)
    settings = {key: resolved[key] for key in ("anatomy", "scanner", "geometry", "projector", "seed")}
    settings["seed"] = data_seed(cfg)
    settings |= {key: resolved["data"][key] for key in SIMULATION_KEYS} | {"slices": slices}
    built = {key: settings[key] for key in BUILT}
    return settings | {key: by_content(node) for key, node in built.items()} | code_of(built)


def case_store(cfg: DictConfig, slices: int) -> CaseStore | None:
    """Where this config's cases are kept, if anywhere.

    ``data.cache`` is a data set that ``scripts/simulate.py`` wrote with these settings, or a folder in which
    the cases get one named by all that decides them.

    Raises:
        CtmarError: If the data set is of other settings.
    """
    if cfg.data.cache is None:
        return None
    folder, wanted = Path(cfg.data.cache), case_settings(cfg, slices)
    manifest = read_manifest(folder)
    if manifest is None:
        return CaseStore(folder / fingerprint(wanted))
    require_settings(folder, manifest, wanted)
    closed = manifest["code"] != code_digest()
    return CaseStore(folder, manifest["dtype"], manifest["shard_cases"], closed)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a data set; None where the folder is none.

    Raises:
        CtmarError: If the file is no manifest of this version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["schema"] == SCHEMA and {"config", "dtype", "shard_cases", "code"} <= set(manifest)
        known = known and isinstance(manifest["config"], dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise CtmarError(f"{path} must be the manifest of a data set, schema {SCHEMA}; it is not")
    return manifest | {"config": upgraded(manifest["config"])}


def require_settings(folder: Path, manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses a data set of other settings, and names what differs."""
    had = renamed(manifest["config"])
    differ = [key for key in sorted({*wanted, *had}) if had.get(key) != wanted.get(key)]
    if differ:
        raise CtmarError(
            f"a data set's folder must be empty or of the same configuration, {folder} was made by another:"
            f" {', '.join(differ)} differ"
        )


def _differing(had: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """What differs between two recipes; of the code each module and package."""
    for key in sorted({*had, *wanted}):
        old, new = had.get(key), wanted.get(key)
        if key in CODE:
            old, new = old or {}, new or {}
            yield from (f"{key[:-1]} {n}" for n in sorted({*old, *new}) if old.get(n) != new.get(n))
        elif old != new:
            yield key


def build_data(cfg: DictConfig, slices: int) -> MARDataModule:
    """The data module over the simulator's cases."""
    return MARDataModule(
        simulator=build_simulator(cfg, slices),
        num_cases=dict(cfg.data.num_cases),
        batch_size=cfg.data.batch_size,
        store=case_store(cfg, slices),
        num_workers=cfg.data.num_workers,
        in_memory=cfg.data.in_memory,
        seed=cfg.seed,
    )


def build_model(cfg: DictConfig) -> Completion:
    """The model, initialised from the seed."""
    torch.manual_seed(cfg.seed)
    model = make(cfg.model)
    if not isinstance(model, Completion):
        raise CtmarError(f"model must be a ctmar completion, got {type(model).__name__}")
    return model


def build_callbacks(cfg: DictConfig, data: MARDataModule) -> list[Any]:
    """The callbacks; one that is configured as partial is given the geometry."""
    callbacks = []
    for node in (cfg.callbacks or {}).values():
        if node is None:
            continue
        callback = make(node)
        if isinstance(callback, partial):
            callback = callback(ray=data.simulator.ray, filter=cfg.projector.filter)
        callbacks.append(callback)
    return callbacks


def build_loggers(cfg: DictConfig) -> list[Any]:
    """The loggers; none is an answer too. One that has a name to give, such as wandb's, gets the run's."""
    nodes = [node for node in (cfg.logger or {}).values() if node is not None]
    unnamed = [{"name": run_title(cfg)} if "name" in node and node.name is None else {} for node in nodes]
    return [make(node, **name) for node, name in zip(nodes, unnamed, strict=True)]


def run_title(cfg: DictConfig) -> str:
    """What tells a run from the others at a glance: model, metal, body, seed."""
    classes = (str(node._target_).rpartition(".")[2] for node in (cfg.model, cfg.data.generator))
    model, metal = (name.removesuffix("Completion").removesuffix("Generator").lower() for name in classes)
    return f"{model} {metal} {cfg.anatomy.get('name', '')} seed {cfg.seed}".replace("  ", " ")
