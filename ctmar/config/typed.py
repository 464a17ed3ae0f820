"""Values of a config held against the annotations of what takes them: a wrong one is named by its key.

Ranges and choices are for the constructors to check; what they are given has the right type by then.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import OmegaConf

from ctmar.errors import CtmarError

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
LISTS, MAPPINGS = (list, tuple, Sequence), (dict, Mapping)


def check_types(node: Any, key: str = "") -> None:
    """Checks a plain config node and the nodes in it.

    Args:
        node: Plain types; a mapping with ``_target_`` is to be made.
        key: Where it stands, such as ``data.generator``.

    Raises:
        CtmarError: A value that is not of the annotated type; annotations other than numbers, text, lists and
            mappings of them pass.
    """
    if isinstance(node, list):
        for place, value in enumerate(node):
            check_types(value, f"{key}[{place}]")
    if not isinstance(node, dict):
        return
    hints = _hints(str(node["_target_"])) if "_target_" in node else {}
    for name, value in node.items():
        own = f"{key}.{name}" if key else str(name)
        made = isinstance(value, dict) and "_target_" in value
        if name in hints and not made and not fits(value, hints[name]):
            raise CtmarError(f"{own} must be {described(hints[name])}, got {value!r}")
        check_types(value, own)


def required(node: Any, name: str, key: str, hint: Any) -> Any:
    """The plain value of a node's key, whose type must be this.

    Args:
        node: The config in which the key is.
        name: What the node is called in the error.
        key: Dots lead into it.
        hint: The type.

    Raises:
        CtmarError: It is of another, or not there.
    """
    value = OmegaConf.select(node, key)
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if not fits(value, hint):
        raise CtmarError(f"{name}.{key} must be {described(hint)}, got {value!r}")
    return value


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of the annotated type; True where that is no type of plain values."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        plain = [one for one in inner if _is_plain(one)]
        return any(fits(value, one) for one in plain or inner)
    if origin is Literal:
        return value in inner
    if origin in (int, float, bool, str, NoneType):
        numbers: dict[Any, Any] = {int: int, float: (int, float)}
        return isinstance(value, numbers.get(origin, origin)) and (
            origin is bool or not isinstance(value, bool)
        )
    if origin in LISTS:
        return isinstance(value, (list, tuple)) and all(_each(value, inner))
    if origin in MAPPINGS:
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values() if inner)
    return True


def _is_plain(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return origin in (*NAMES, *LISTS, *MAPPINGS, Literal)


def _each(values: Sequence[Any], inner: tuple[Any, ...]) -> list[bool]:
    """Whether each value of a list fits; a tuple of stated length has a type for each place."""
    if not inner:
        return []
    if len(inner) == 1 or inner[1] is Ellipsis:
        return [fits(value, inner[0]) for value in values]
    return [len(values) == len(inner), *(fits(v, hint) for v, hint in zip(values, inner, strict=False))]


def described(hint: Any) -> str:
    """The annotation in words."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        plain = [one for one in inner if _is_plain(one)]
        return " or ".join(dict.fromkeys(described(one) for one in plain or inner))
    if origin is Literal:
        return " or ".join(str(one) for one in inner)
    if origin in LISTS:
        return f"a list (each {described(inner[0])})" if inner else "a list"
    if origin in MAPPINGS:
        return f"a mapping (each {described(inner[1])})" if inner and inner[1] in NAMES else "a mapping"
    return NAMES.get(origin, getattr(origin, "__name__", str(origin)))


@cache
def _hints(target: str) -> dict[str, Any]:
    """Annotations of a callable's arguments."""
    try:
        found = get_object(target)
        dataclass = hasattr(found, "__dataclass_fields__")
        return get_type_hints(found.__init__ if inspect.isclass(found) and not dataclass else found)
    except (ImportError, AttributeError, NameError, TypeError, ValueError):
        return {}  # Hydra names what cannot be found, and not everything tells its types
