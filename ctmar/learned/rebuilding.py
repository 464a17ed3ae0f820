"""Objects from plain descriptions, as files of weights hold them: classes that may be made, no others."""

import os
import pkgutil
from functools import partial
from typing import Any

from ctmar.errors import CtmarError

STATIONS = ("inputs", "learned", "methods", "networks")
"""Parts of ctmar whose classes a file of weights may name: none writes or runs what it is told."""
SETTINGS = ("ctmar.physics.water.Water",)
"""Classes of other parts that are settings of a method, as of physics."""
VARIABLE = "CTMAR_TRUST"


def rebuilt(node: Any) -> Any:
    """What a description gives: ``_target_`` and its arguments, nested in lists and mappings.

    Args:
        node: Plain types. ``_partial_: true`` gives a function that is still to be called.

    Raises:
        CtmarError: It names what is no class of ctmar's networks, inputs or methods, nor of a package in
            the environment variable ``CTMAR_TRUST``; or one that cannot be made of its arguments.
    """
    if isinstance(node, list):
        return [rebuilt(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: rebuilt(value) for name, value in node.items() if not name.startswith("_")}
    if "_target_" not in node:
        return made
    target = str(node["_target_"])
    try:
        found = trusted(target)
        return partial(found, **made) if node.get("_partial_") else found(**made)
    except (TypeError, ImportError, AttributeError, ValueError) as error:
        raise CtmarError(f"weights name {target}, which cannot be made: {error}") from None


def trusted(target: str) -> type:
    """The class of that name, if a file may name it."""
    package = target.partition(".")[0]
    own = package in filter(None, os.environ.get(VARIABLE, "").split(","))
    if own or package == "ctmar":
        found: Any = pkgutil.resolve_name(target)
        # By where it is defined: ctmar.x.os.system is none of ours, nor mine.subprocess.Popen of mine.
        home, station = (*str(getattr(found, "__module__", "")).split("."), "", "")[:2]
        known = isinstance(found, type) and f"{found.__module__}.{found.__qualname__}" in SETTINGS
        if isinstance(found, type) and home == package and (own or known or station in STATIONS):
            return found
    raise CtmarError(
        f"weights may name classes of ctmar's {', '.join(STATIONS)}, got {target!r};"
        f" where you trust whoever made them, {VARIABLE}={package} accepts that package"
    )
