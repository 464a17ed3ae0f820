"""What a command line asks for, put into the config that a checkpoint carries.

Nodes are plain dicts with their interpolations unresolved, so that what follows another key still does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ctmar.runs.cli import composed, config_dir

Node = dict[str, Any]
Keys = tuple[str, ...]

ABSENT: Any = object()
SEARCHPATH = "hydra.searchpath"
GROUPS = ("data", "geometry", "projector", "extras", "evaluation")
"""Where a key that an earlier ctmar did not have is given its default; a class has defaults of its own."""
WHOLE = ("callbacks", "logger")
"""Groups whose options are sets of members: another option leaves none of the former's."""


def changed(
    cfg: DictConfig, trained: DictConfig, overrides: Sequence[str], job: str, own: Sequence[str]
) -> tuple[DictConfig, list[str]]:
    """The checkpoint's config, changed by what the command line asks for and by nothing else.

    Asked for is each key that an override or a chosen experiment names, though it be the default's value;
    of a chosen option what tells it from others of its group; and all else in which the command line's
    config differs from the plain one.

    Args:
        cfg: The command line's config, composed.
        trained: The config that the checkpoint carries.
        overrides: The command line's overrides.
        job: Whose plain config it is, such as ``evaluate``.
        own: Keys that are the command line's own, whatever the checkpoint's.

    Returns:
        The config, and what differs in it from the run's, such as ``seed: 3 → 0``.
    """
    plain, asked = _composed(job), _raw(cfg)
    run = _linked(_completed(_raw(trained), plain, own), plain)
    run = {key: value for key, value in run.items() if key not in own}
    run |= {key: asked[key] for key in own if key in asked}
    wish = _Wish.of(job, overrides)
    out = _copy(run)
    named = [*wish.groups.values(), *wish.keys]
    for keys in _differences(plain, asked):
        if keys[0] not in own and not any(keys[: len(place)] == place for place in named):
            _take(out, asked, _of_one_class(keys, plain, asked, out))
    for group, keys in sorted(wish.groups.items(), key=lambda choice: len(choice[1])):
        options = [] if keys[0] in WHOLE else _options(job, group, keys)
        node = _at(asked, keys)
        _put(out, keys, _moved(_at(out, keys), node, options) if options else node)
    for keys in wish.keys:
        if keys[0] not in own:
            _take(out, asked, keys)
    return OmegaConf.create(out), _told(run, out)


@dataclass
class _Wish:
    """What overrides name: groups by the place of their node, and keys."""

    groups: dict[str, Keys] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    @classmethod
    def of(cls, job: str, overrides: Sequence[str]) -> "_Wish":
        with _Loader() as loader:
            found = loader.compute_defaults_list(job, list(overrides), RunMode.RUN)
            plain = {
                entry.config_path for entry in loader.compute_defaults_list(job, [], RunMode.RUN).defaults
            }
            folders = [source.path for source in loader.get_sources() if source.scheme() == "file"]
        wish = cls(_nodes(found))
        folders += [str(path) for one in found.config_overrides if one.key_or_group == SEARCHPATH
                    for path in one.value()]  # fmt: skip
        for entry in found.defaults:
            if entry.package == "" and entry.config_path not in plain:
                wish.keys += _leaves(_content(entry.config_path, folders))
        for override in found.config_overrides:
            keys = tuple(override.key_or_group.split("."))
            if keys[0] != "hydra":
                wish.keys += _leaves(None if override.is_delete() else override.value(), keys)
        return wish


def _nodes(found: Any) -> dict[str, Keys]:
    """Where the nodes of the chosen and deleted groups are.

    An option without a place of its own, an experiment's, is known by the keys in its file instead.
    """
    places = {entry.override_key: entry.package for entry in found.defaults if entry.override_key}
    chosen = {
        group: choice for group, choice in found.overrides.override_choices.items() if choice is not None
    }
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
            content = _raw(OmegaConf.load(file))
            return {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return {}


@cache
def _composed(job: str, *overrides: str) -> Node:
    """A config of ctmar's own; to be read, not changed."""
    return _raw(composed(job, overrides))


def _options(job: str, group: str, keys: Keys) -> list[Any]:
    """The node of each option of a group, as it is composed into the plain config."""
    names = sorted(file.stem for file in (config_dir() / group.partition("@")[0]).glob("*.yaml"))
    return [_at(_composed(job, f"{group}={name}"), keys) for name in names]


def _moved(current: Any, asked: Any, options: Sequence[Any]) -> Any:
    """A node under another option: what tells that from others is taken over, the rest stays.

    A node of another class is replaced whole: what is left of one class is no argument of another.
    """
    if not _alike(current, asked):
        return asked
    others = [option for option in options if _alike(option, asked)]
    out = dict(current)
    for key in dict.fromkeys([*asked, *(key for option in others for key in option)]):
        value, values = asked.get(key, ABSENT), [option.get(key, ABSENT) for option in others]
        if all(other == value for other in values) or (value == "???" and key in current):
            continue
        if value is ABSENT:
            out.pop(key, None)
        else:
            out[key] = _moved(current.get(key, ABSENT), value, values)
    return out


def _alike(one: Any, other: Any) -> bool:
    """Whether both are mappings, of one class where they have any."""
    mappings = isinstance(one, dict) and isinstance(other, dict)
    return mappings and one.get("_target_") == other.get("_target_")


def _differences(before: Node, after: Node, keys: Keys = ()) -> Iterator[Keys]:
    """Where two configs differ: single values, and nodes that one lacks or whose class differs."""
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key, ABSENT), after.get(key, ABSENT)
        if _alike(one, other):
            yield from _differences(one, other, (*keys, key))
        elif one is ABSENT or other is ABSENT or one != other or type(one) is not type(other):
            yield (*keys, key)


def _leaves(value: Any, keys: Keys = ()) -> list[Keys]:
    """Keys of single values, lists and nodes with a class, within a value."""
    if not isinstance(value, dict) or not value or "_target_" in value:
        return [keys]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*keys, key))]


def _of_one_class(keys: Keys, plain: Node, asked: Node, out: Node) -> Keys:
    """Where a difference begins: at its node, if an argument came or went and the run's class is another."""
    wanted, current = _at(asked, keys[:-1]), _at(out, keys[:-1])
    same_arguments = _at(plain, keys) is not ABSENT and _at(asked, keys) is not ABSENT
    if same_arguments or "_target_" not in wanted or _alike(wanted, current):
        return keys
    return keys[:-1]


def _take(out: Node, asked: Node, keys: Keys) -> None:
    """Puts what is asked at ``keys`` in place; with the node around it, where that is not there yet."""
    here, there = out, asked
    for place, key in enumerate(keys[:-1], 1):
        inner, wanted = here.get(key), there.get(key)
        if not isinstance(inner, dict) or not isinstance(wanted, dict):
            keys = keys[:place]
            break
        here, there = inner, wanted
    _put(out, keys, _at(asked, keys))


def _put(out: Node, keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(out.get(key), dict):
            out[key] = {}
        out = out[key]
    if value is ABSENT:
        out.pop(keys[-1], None)
    else:
        out[keys[-1]] = _copy(value)


def _at(node: Any, keys: Keys) -> Any:
    for key in keys:
        node = node.get(key, ABSENT) if isinstance(node, dict) else ABSENT
    return node


def _completed(trained: Node, plain: Node, own: Sequence[str]) -> Node:
    """With defaults for keys that the checkpoint's ctmar did not have."""
    out = {key: value for key, value in plain.items() if key not in own} | trained
    for group in GROUPS:
        if isinstance(out[group], dict) and isinstance(plain[group], dict):
            out[group] = plain[group] | out[group]
    return out


def _linked(trained: Node, plain: Node) -> Node:
    """With the plain config's interpolations where the values agree: what followed a key still does."""
    out, resolved = _copy(trained), OmegaConf.create(trained)
    for keys, text in _interpolations(plain):
        value = _at(trained, keys)
        if value is ABSENT:
            continue
        tried = _copy(trained)
        _put(tried, keys, text)
        try:
            same = OmegaConf.select(OmegaConf.create(tried), ".".join(keys)) == _select(resolved, keys)
        except OmegaConfBaseException:
            continue
        if same:
            _put(out, keys, text)
    return out


def _interpolations(node: Node, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _interpolations(value, (*keys, key))
        elif isinstance(value, str) and "${" in value:
            yield (*keys, key), value


def _told(run: Node, out: Node) -> list[str]:
    """What differs, ``key: old → new``; a node by its class."""
    before, after = OmegaConf.create(run), OmegaConf.create(out)
    return [
        f"{'.'.join(keys)}: {_short(before, keys)} → {_short(after, keys)}"
        for keys in _differences(run, out)
        if _short(before, keys) != _short(after, keys)
    ]


def _short(config: DictConfig, keys: Keys) -> str:
    value = _select(config, keys)
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    return "null" if value is None else "nothing" if value is ABSENT else str(value)


def _select(config: DictConfig, keys: Keys) -> Any:
    return OmegaConf.select(config, ".".join(keys), default=ABSENT, throw_on_missing=False)


def _raw(config: Any) -> Node:
    container: Node = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return container


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return list(node) if isinstance(node, list) else node
