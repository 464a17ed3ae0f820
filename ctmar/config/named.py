"""What a command line names: options of groups, and keys.

Read from Hydra's own list of defaults, so that experiments of a user's own count too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from ctmar.config.composing import config_dir

Node = dict[str, Any]
Keys = tuple[str, ...]

SEARCHPATH = "hydra.searchpath"


@dataclass
class Named:
    """What overrides name: groups by the place of their node, and keys."""

    groups: dict[str, Keys] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    @classmethod
    def of(cls, job: str, overrides: Sequence[str]) -> "Named":
        """What these overrides of a job name."""
        with _Loader() as loader:
            found = loader.compute_defaults_list(job, list(overrides), RunMode.RUN)
            plain = {
                entry.config_path for entry in loader.compute_defaults_list(job, [], RunMode.RUN).defaults
            }
            folders = [source.path for source in loader.get_sources() if source.scheme() == "file"]
        given = cls(_nodes(found, job))
        folders += [str(path) for one in found.config_overrides if one.key_or_group == SEARCHPATH
                    for path in one.value()]  # fmt: skip
        for entry in found.defaults:
            if entry.package == "" and entry.config_path not in plain:
                given.keys += leaves(_content(entry.config_path, folders))
        for override in found.config_overrides:
            keys = tuple(override.key_or_group.split("."))
            if keys[0] != "hydra":
                given.keys += leaves(None if override.is_delete() else override.value(), keys)
        return given


def _nodes(found: Any, job: str) -> dict[str, Keys]:
    """Where the nodes of the chosen and deleted groups are.

    An option without a place of its own, an experiment's, is known by the keys in its file instead. What the
    job's own file puts in place of a group's default, nobody asked for.
    """
    places = {entry.override_key: entry.package for entry in found.defaults if entry.override_key}
    by = found.overrides.override_metadata
    chosen = [
        group
        for group, choice in found.overrides.override_choices.items()
        if choice is not None and by[group].containing_config_path != job
    ]
    named = {
        group: places.get(group, group.replace("/", ".")) for group in (*chosen, *found.overrides.deletions)
    }
    return {
        group: tuple(place.split("."))
        for group, place in named.items()
        if place and not group.startswith("hydra/")
    }


class _Loader:
    """Hydra's loader: the running job's, which knows of ``--config-dir``; else one of ctmar's own configs."""

    def __enter__(self) -> ConfigLoader:
        self.own = None
        if not GlobalHydra.instance().is_initialized():
            self.own = initialize_config_dir(str(config_dir().resolve()), version_base="1.3")
            self.own.__enter__()
        return GlobalHydra.instance().config_loader()

    def __exit__(self, *error: Any) -> None:
        if self.own is not None:
            self.own.__exit__(*error)


def _content(config_path: str, folders: Iterable[str]) -> Node:
    """What the file of an option without a place of its own holds."""
    for folder in folders:
        file = Path(folder.removeprefix("file://")) / f"{config_path}.yaml"
        if file.is_file():
            content = raw(OmegaConf.load(file))
            return {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return {}


def leaves(value: Any, keys: Keys = ()) -> list[Keys]:
    """Keys of single values, lists and nodes with a class, within a value."""
    if not isinstance(value, dict) or not value or "_target_" in value:
        return [keys]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, (*keys, key))]


def raw(config: Any) -> Node:
    """A config as plain types, its interpolations as they are."""
    container: Any = OmegaConf.to_container(config, resolve=False)
    return container
