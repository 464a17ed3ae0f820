"""What decides the cases of a config, and where they are kept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ctmar.config.composing import plain
from ctmar.config.moved import upgraded
from ctmar.config.moved_targets import renamed
from ctmar.config.paired import OF_THE_RUN, is_paired
from ctmar.data.content import TARGET, by_content, code_of
from ctmar.data.fingerprint import code_digest, fingerprint
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.operators.choice import is_dotted

SIMULATION_KEYS = ("source", "metal", "metal_threshold_hu", "extended_scale", "fills", "generator")
OF_IMAGES = ("metal_threshold_hu", "extended_scale")
"""Of the same: what is for cases alone whose metal is found in their images."""
BUILT = ("anatomy", "generator", "scanner", "geometry", "data", "scans")
"""Of a config: what classes are named in, this package's or a user's."""
CODE = ("modules", "packages")
"""Of a config: the code behind a user's classes."""
MANIFEST, SCHEMA = "manifest.json", 2
TOLD, LONGEST = 4, 40
"""Differences of a data set that are told, and letters of a value among them."""
IN_DATA = dict.fromkeys(("seed", *SIMULATION_KEYS), "data.")
"""Where a setting of the cases stands in a config, if not at its root."""


def data_seed(cfg: DictConfig) -> int:
    """The seed of the simulated cases: the run's, where ``data.seed`` names no other."""
    own = cfg.data.get("seed")
    return int(cfg.seed if own is None else own)


def case_settings(cfg: DictConfig, slices: int) -> dict[str, Any]:
    """Every setting that decides what a case holds, as plain types.

    Input files are known by their digest. So is the code behind classes that are not this package's.
    """
    resolved = plain(cfg)
    settings = {key: resolved[key] for key in ("anatomy", "scanner", "geometry", "projector", "seed")}
    settings["seed"] = data_seed(cfg)
    settings["slices"] = slices
    if is_paired(cfg):
        del settings["anatomy"]
        settings["fills"] = resolved["data"]["fills"]
        settings["data"] = {key: value for key, value in resolved["data"].items() if key not in OF_THE_RUN}
    else:
        settings |= {key: resolved["data"][key] for key in SIMULATION_KEYS}
        if resolved["data"].get("scans"):
            settings["scans"] = resolved["data"]["scans"]
    settings = _deciding(settings)
    built = {key: settings[key] for key in BUILT if key in settings}
    return (
        settings | {key: by_content(node) for key, node in built.items()} | code_of([built, _projector(cfg)])
    )


def _projector(cfg: DictConfig) -> dict[str, str]:
    """The user's own projector as a node that names its class; nothing for this package's."""
    name = str(cfg.projector.backend)
    return {TARGET: name} if is_dotted(name) else {}


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what does not matter to a case: how metal is found in images, where none is looked for."""
    if settings.get("source") != "raw" or settings.get("metal") != "scene":
        return settings
    return {key: value for key, value in settings.items() if key not in OF_IMAGES}


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
    """Refuses a data set of other settings, and names what differs: its own value, then the one asked for."""
    differ = list(_differing(_deciding(renamed(manifest["config"])), wanted))
    if differ:
        more = f" and {len(differ) - TOLD} more" if len(differ) > TOLD else ""
        raise CtmarError(
            f"a data set's folder must be empty or of the same configuration, {folder} was made by another"
            f" ({', '.join(differ[:TOLD])}{more}): give these its values, or name another folder"
        )


def _differing(had: dict[str, Any], wanted: dict[str, Any], at: str = "") -> Iterator[str]:
    """What differs between two configs, ``key: old → new``; of the code each module and package."""
    for key in sorted({*had, *wanted}):
        old, new = had.get(key), wanted.get(key)
        if key in CODE and not at:
            old, new = old or {}, new or {}
            yield from (f"{key[:-1]} {n}" for n in sorted({*old, *new}) if old.get(n) != new.get(n))
        elif isinstance(old, dict) and isinstance(new, dict) and old.get(TARGET) == new.get(TARGET):
            yield from _differing(old, new, f"{at}{key}.")
        elif old != new:
            yield f"{at or IN_DATA.get(key, '')}{key}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    """A value for people; a node by its class."""
    if isinstance(value, dict) and TARGET in value:
        return str(value[TARGET]).rpartition(".")[2]
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
