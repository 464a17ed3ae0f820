"""What a checkpoint of somebody else's may do: name classes that scans and networks are made of.

Its weights are read without unpickling; but the config in it says what to build, and built without a look any
function could be called by its name.
"""

import inspect
import json
import os
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.moved import upgraded
from ctmar.config.moved_targets import renamed
from ctmar.errors import CtmarError
from ctmar.learned import pretrained
from ctmar.operators.choice import is_dotted

STATIONS = (
    "anatomy",
    "geometry",
    "inputs",
    "learned",
    "losses",
    "methods",
    "networks",
    "pairs",
    "phantoms",
    "physics",
    "scenes",
    "training",
)
"""Parts of ctmar whose classes a checkpoint may name: none writes or runs what it is told."""
NEVER_MADE = ("callbacks", "logger", "metric", "trainer")
"""Never made as a checkpoint has it; :mod:`ctmar.config.resume` says what a resumed run takes over."""
CALLBACKS = (
    *(f"ctmar.callbacks.{name}" for name in ("ResumableCheckpoint", "EpochLine", "ImagePanels", "EMA")),
    *(
        f"pytorch_lightning.callbacks.{name}"
        for name in (
            "EarlyStopping",
            "GradientAccumulationScheduler",
            "LearningRateMonitor",
            "ModelCheckpoint",
            "StochasticWeightAveraging",
            "Timer",
        )
    ),
)
"""Callbacks that a resumed run may have from its checkpoint: but for files, whose names are not the
checkpoint's, they change nothing but the training."""
PROJECTOR = "backend"
"""The key whose value names a class by its dotted name where it is none of ctmar's projectors."""
VARIABLE = "CTMAR_TRUST"


def config_of(checkpoint: dict[str, Any]) -> DictConfig:
    """The config that a checkpoint carries, every class in it one that may be made from a file.

    Environment variable ``CTMAR_TRUST``: further packages whose classes are accepted, with commas.
    Addresses of archives are left out: what is to be downloaded, the command line says.

    Raises:
        CtmarError: It names another class or a function, or holds what is still to be worked out.
    """
    carried = upgraded(renamed(_plain(checkpoint[CONFIG_KEY])))
    config = {key: _offline(value) for key, value in carried.items()}
    for key, value in config.items():
        for target in () if key in NEVER_MADE else _values(value, "_target_"):
            _require_ours(target)
        for backend in _values(value, PROJECTOR):
            if isinstance(backend, str) and is_dotted(backend):
                _require_trusted(backend)
    made: DictConfig = OmegaConf.create(config)
    return made


def may_call_back(target: str) -> bool:
    """Whether a resumed run may have a callback, or a metric, of this class from its checkpoint."""
    return target in CALLBACKS or _is_trusted(target)


def _is_trusted(name: str) -> bool:
    """Whether it is of a package that the user trusts, and defined in one: mine.os.system is none of mine."""
    return _is_of_trusted(name) and _is_of_trusted(_defined_in(name))


def _is_of_trusted(name: str) -> bool:
    return name.partition(".")[0] in filter(None, os.environ.get(VARIABLE, "").split(","))


def _plain(config: Any) -> dict[str, Any]:
    """The config as it was when it was written: mappings and lists of plain values.

    Interpolations are refused: a run writes none, and one may be worked out into any class.
    """
    try:
        text = json.dumps(config)
    except (TypeError, ValueError):
        text = ""
    if not text.startswith("{") or "${" in text:
        raise CtmarError("a checkpoint's config must hold plain values, all worked out; it does not")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _values(node: Any, key: str) -> Iterator[Any]:
    """Every value under a key, however deep."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from _values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)


def _offline(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: None if key == "url" else _offline(value) for key, value in node.items()}
    return [_offline(value) for value in node] if isinstance(node, list) else node


def _defined_in(name: str) -> str:
    """The package in which what has this name is defined; that of the name where it cannot be found."""
    try:
        return str(getattr(get_object(name), "__module__", "")).partition(".")[0]
    except (ImportError, AttributeError, ValueError):
        return name.partition(".")[0]  # whoever builds it will say so


def _require_ours(target: Any) -> None:
    name = str(target)
    if name.startswith("ctmar."):
        found = get_object(name)
        # By where it is defined: ctmar.x.os.system is none of ours. What begins with _ is made by ours alone.
        parts = getattr(found, "__module__", "").split(".")
        ours = len(parts) > 1 and parts[0] == "ctmar" and parts[1] in STATIONS
        ours = ours and not name.rpartition(".")[2].startswith("_")
        if ours and (inspect.isclass(found) or found is pretrained.load):
            return
    _require_trusted(name)


def _require_trusted(target: Any) -> None:
    name = str(target)
    if _is_trusted(name):
        return
    raise CtmarError(
        f"a checkpoint may name classes of ctmar's {', '.join(STATIONS)}, got {name!r};"
        f" where you trust whoever made it, {VARIABLE}={name.partition('.')[0]} accepts that package"
    )
