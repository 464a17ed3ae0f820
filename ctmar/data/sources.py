"""The code behind the classes that a config names, wherever it lives: its modules by their digest.

This package's own simulating code has a digest of its own (:func:`ctmar.data.fingerprint.code_digest`). What
a user's class is made of is found here: the modules that it is defined in, and all that they import, however
far, but for the standard library. Other packages that are installed count by their version; those that this
package stands on itself count for a user's code as they do for this package's, not at all.
"""

import ast
import hashlib
import inspect
import os
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import ctmar
from ctmar.data.fingerprint import simulating_code
from ctmar.errors import CtmarError

INSTALLED = {"site-packages", "dist-packages"}
IDLE = ("__init__.py", "errors.py", "files.py")
"""Of this package: imported everywhere, and nothing in a case is theirs."""
_AT_FIRST: dict[int, tuple[ModuleSpec, str]] = {}
"""The digest that each loaded module had when it was first looked at, by its spec: a reload has another."""


def code_behind(targets: Iterable[str], mentioned: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """What is behind dotted names but is none of this package's simulating code.

    Args:
        targets: Names of what is called: classes, functions, methods, ``functools.partial`` objects.
        mentioned: Other dotted names that a config holds; modules among them count, and are not imported.

    Returns:
        ``modules``, the digest of each by its name, and ``packages``, the version of each installed one; what
        is empty is left out.

    Raises:
        CtmarError: A module has no file to be known by.
    """
    targets = set(targets)
    followed = {target.partition(".")[0] for target in targets}
    waiting = [module for target in targets for module in _modules_of(target)]
    waiting += [module for name in mentioned for module in _parents(name)]
    modules: dict[str, str] = {}
    packages: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = _spec(name)
        if spec is None or not spec.has_location or _is_known(spec):
            continue
        package = name.partition(".")[0]
        if _is_installed(spec) and _is_released(package, followed):
            packages |= _versions(package)
            continue
        content = _content(spec)
        modules[name] = _digest(spec, content)
        if str(spec.origin).endswith(".py"):
            waiting += _imported(content, spec.parent or "")
    return {key: found for key, found in (("modules", modules), ("packages", packages)) if found}


def found(target: str) -> Any:
    """What a dotted name stands for, a partial's function for a partial; None where nothing can be had."""
    try:
        thing = pkgutil.resolve_name(target)
    except Exception:
        return None  # whatever a module raises where it is imported: Hydra says it where it is to be made
    while isinstance(thing, partial):
        thing = thing.func
    return thing


def _modules_of(target: str) -> Iterator[str]:
    """The modules in the name, and those that define what it stands for."""
    yield from _parents(target)
    thing = found(target)
    kinds = thing.__mro__ if inspect.isclass(thing) else type(thing).__mro__
    modules = [getattr(one, "__module__", None) for one in (thing, *kinds)]
    function = getattr(thing, "__func__", thing)
    if inspect.isfunction(function):
        modules.append(function.__globals__.get("__name__"))  # a decorator's, where it is decorated
    for module in filter(None, modules):
        yield from _parents(str(module))


def _parents(name: str) -> Iterator[str]:
    """``a``, ``a.b``, ``a.b.c``."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def _spec(name: str) -> ModuleSpec | None:
    """Where a module comes from; no module is imported for it. None where there is no such module."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    package = name.rpartition(".")[0]
    holder = _spec(package) if package else None
    if holder is not None and (_is_standard(holder) or _is_installed(holder)):
        return None if loaded is not None else _below(holder, name)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)  # a script that is run has no more than that
        if file is None:
            raise _unknown(name)
        return spec_from_file_location(name, file)
    if not package:
        return find_spec(name) if name else None
    return None if holder is None else _below(holder, name)


def _below(package: ModuleSpec, name: str) -> ModuleSpec | None:
    places = package.submodule_search_locations
    return None if places is None else PathFinder.find_spec(name, places)


def _is_known(spec: ModuleSpec) -> bool:
    """Whether a module is Python's own, or of this package and known by :func:`code_digest`."""
    root = Path(ctmar.__file__).parent
    ours = {*(root / name for name in IDLE), *simulating_code()}
    return _is_standard(spec) or Path(str(spec.origin)) in ours


def _is_standard(spec: ModuleSpec) -> bool:
    homes = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")]
    place = Path(str(spec.origin))
    return not _is_installed(spec) and any(place.is_relative_to(home) for home in homes)


def _is_installed(spec: ModuleSpec) -> bool:
    """Whether it lies where packages are installed; this package's own modules count by their content."""
    place = Path(str(spec.origin))
    ours = place.is_relative_to(Path(ctmar.__file__).parent)
    return not ours and not INSTALLED.isdisjoint(place.parts)


def _is_released(package: str, followed: set[str]) -> bool:
    """Whether an installed package counts by its version: it has one, and is not the one that is asked about.

    That is followed as a user's own: installed anew while it is worked on, it keeps its version.
    """
    names = set(_distributions().get(package, []))
    return bool(names) and (package not in followed or bool(names & _requirements()))


def _versions(package: str) -> dict[str, str]:
    """The versions of the distributions that an installed package comes from."""
    names = set(_distributions().get(package, [])) - _requirements()
    return {name: metadata.version(name) for name in names}


@lru_cache(maxsize=1)
def _requirements() -> set[str]:
    """What this package stands on itself, without its extras."""
    try:
        lines = metadata.requires("ctmar") or []
    except metadata.PackageNotFoundError:
        return set()  # run from its sources alone
    return {re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line}


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _content(spec: ModuleSpec) -> bytes:
    """The bytes of a module's file: source, compiled, or a member of an archive."""
    origin = str(spec.origin)
    if os.path.isfile(origin):
        return Path(origin).read_bytes()
    try:
        return spec.loader.get_data(origin)  # type: ignore[union-attr, no-any-return]
    except (AttributeError, ImportError, OSError):
        raise _unknown(spec.name) from None


def _unknown(name: str) -> CtmarError:
    return CtmarError(
        f"cases are kept by the code that makes them: module {name} must be a file, got none"
        " (data.cache=null keeps none)"
    )


def _digest(spec: ModuleSpec, content: bytes) -> str:
    """The digest of a module's file; of both states where it was changed after this process loaded it."""
    now = hashlib.sha256(content).hexdigest()[:16]
    if spec.name not in sys.modules:
        return now
    _, first = _AT_FIRST.setdefault(id(spec), (spec, now))
    return now if now == first else f"{now} loaded as {first}"


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Every module that a source imports, at its top or inside a function, and those that hold it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # of another Python, never imported by this one
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                yield from _parents(f"{base}.{alias.name}")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module of ``from … import``, spelled out."""
    module = node.module or ""
    if not node.level:
        return module
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, module]).rstrip(".")
