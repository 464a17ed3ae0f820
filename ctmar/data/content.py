"""Settings of what a config builds, with the files and folders that they name put in by their content."""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctmar.data.fingerprint import input_digest
from ctmar.data.sources import code_behind, found

INPUT_KEYS = ("artifact", "clean", "ct", "labels", "metal_masks", "root", "screw_meshes")
"""Known by content alone, wherever the files lie and whatever they are called."""
PLACES = ("segment_dir",)
"""What does not matter to a case."""
OWN_PLACES = (*PLACES, "url")
"""Nor this, where this package fetches it: its checksum is a setting of its own."""
TARGET, DEFAULTS = "_target_", "_defaults_"
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def by_content(node: Any, key: str = "", own: bool = True) -> Any:
    """A plain node with what its strings name.

    A string that names a file or folder, relative to the current folder, is known by its last part and its
    content; under :data:`INPUT_KEYS` by its content alone. In nodes of this package's classes words that
    happen to be the name of something in the current folder stay words.

    Args:
        node: Plain types.
        key: What it stands under.
        own: Whether this package's class takes it.
    """
    if isinstance(node, list):
        return [by_content(value, key, own) for value in node]
    if isinstance(node, str):
        return _named(node, key, own)
    if not isinstance(node, dict):
        return node
    own = str(node[TARGET]).startswith("ctmar.") if TARGET in node else own
    kept = {name: value for name, value in node.items() if name not in (OWN_PLACES if own else PLACES)}
    settings = {
        _key(name, own): value if name == TARGET else by_content(value, name, own)
        for name, value in kept.items()
    }
    defaults = {} if own or TARGET not in node else _defaults(node)
    return settings | ({DEFAULTS: defaults} if defaults else {})


def code_of(nodes: Any) -> dict[str, dict[str, str]]:
    """The code behind plain nodes, see :func:`ctmar.data.sources.code_behind`; empty for this package's."""
    strings = list(_strings(nodes))
    targets = {value for key, value in strings if key == TARGET}
    return code_behind(targets, {value for _, value in strings if DOTTED.fullmatch(value)} - targets)


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string with the key that it stands under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, key)
    elif isinstance(node, str):
        yield key, node


def _named(value: str, key: str, own: bool) -> Any:
    """The content of what a string names; the string where it names nothing."""
    path = value if os.path.exists(value) else os.path.expanduser(value)
    if not value or not os.path.exists(path):
        return value
    if key in INPUT_KEYS:
        return input_digest(path) or value
    written_as_path = os.sep in value or (os.path.isfile(path) and bool(Path(value).suffix))
    # "/" and "." are separators far more often than folders.
    if not any(map(str.isalnum, value)) or (own and not written_as_path):
        return value
    content = input_digest(path)
    return value if content is None else {"name": Path(path).name, "content": content}


def _key(name: str, own: bool) -> str:
    """A key, which may name a file in a mapping of the user's."""
    return f"{name} {input_digest(name)}" if not own and os.path.isfile(name) else name


def _defaults(node: dict[str, Any]) -> dict[str, Any]:
    """Files that a user's class takes where the config does not name others."""
    thing = found(str(node[TARGET]))
    makers = [vars(base).get("__init__") for base in thing.__mro__] if inspect.isclass(thing) else [thing]
    named: dict[str, Any] = {}
    for maker in filter(inspect.isroutine, makers):
        for name, parameter in _parameters(maker).items():
            plain = _plain(parameter.default)
            content = by_content(plain, name, own=False)
            if name not in node and content != plain:
                named.setdefault(name, content)
    return named


def _parameters(maker: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(maker).parameters)
    except (TypeError, ValueError):
        return {}  # a function of C's that tells none


def _plain(value: Any) -> Any:
    """A default as a config would have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
