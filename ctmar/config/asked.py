"""What a command line asks for, put into the config that a checkpoint carries.

Nodes are plain dicts with their interpolations unresolved, so that what follows another key still does.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ctmar.config.composing import composed, options, places, searching
from ctmar.config.named import Keys, Named, Node, leaves, raw

ABSENT: Any = object()
GROUPS = ("data", "geometry", "projector", "extras", "evaluation")
"""Where a key that an earlier ctmar did not have is given its default; a class has defaults of its own."""
WHOLE = ("callbacks", "logger", "metric", "input", "term")
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
    plain, asked = _composed(job), raw(cfg)
    run = _linked(_completed(raw(trained), plain, own), plain)
    run = {key: value for key, value in run.items() if key not in own}
    run |= {key: asked[key] for key in own if key in asked}
    given = Named.of(job, overrides)
    out = _copy(run)
    named = [*given.groups.values(), *given.keys]
    for keys in _differences(plain, asked):
        if keys[0] not in own and not _is_named(leaves(_at(asked, keys), keys), named):
            _take(out, asked, _of_one_class(keys, plain, asked, out))
    for group, keys in sorted(given.groups.items(), key=lambda choice: len(choice[1])):
        options = [] if group.partition("@")[0] in WHOLE else _options(job, group, keys)
        node = _at(asked, keys)
        _put(out, keys, _moved(_at(out, keys), node, options) if options else node)
    for keys in given.keys:
        if keys[0] not in own:
            _take(out, asked, keys)
    return OmegaConf.create(out), _told(run, out)


def _composed(job: str, *overrides: str) -> Node:
    """A job's config without the command line's overrides; to be read, not changed."""
    return _composed_in(places(), job, *overrides)


@cache
def _composed_in(folders: tuple[str, ...], job: str, *overrides: str) -> Node:
    with searching(folders):
        return raw(composed(job, overrides))


def _options(job: str, group: str, keys: Keys) -> list[Any]:
    """The node of each option of a group, as composed into the plain config; none where it has no place."""
    try:
        return [_at(_composed(job, f"{group}={name}"), keys) for name in options(group.partition("@")[0])]
    except ConfigCompositionException:
        return []


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


def _is_named(leaves: Sequence[Keys], named: Sequence[Keys]) -> bool:
    """Whether overrides name all that differs there: it is taken over with them."""
    return all(any(leaf[: len(place)] == place for place in named) for leaf in leaves)


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
        if _alike(out[group], plain[group]):  # else what is left of one class is no argument of another
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


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return list(node) if isinstance(node, list) else node
