"""What a checkpoint of somebody else's may do: name classes that scans and networks are made of.

Its weights are read without unpickling; but the config in it says what to build, and built without a look any
function could be called by its name.
"""

import inspect
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

STATIONS = (
    "anatomy",
    "geometry",
    "inputs",
    "learned",
    "losses",
    "methods",
    "networks",
    "phantoms",
    "physics",
    "scenes",
    "training",
)
"""Parts of ctmar whose classes a checkpoint may name: none writes or runs what it is told."""
NEVER_MADE = ("callbacks", "logger", "trainer")
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
VARIABLE = "CTMAR_TRUST"


def config_of(checkpoint: dict[str, Any]) -> DictConfig:
    """The config that a checkpoint carries, every class in it one that may be made from a file.

    Environment variable ``CTMAR_TRUST``: further packages whose classes are accepted, with commas.
    Addresses of archives are left out: what is to be downloaded, the command line says.

    Raises:
        CtmarError: It names another class or a function.
    """
    config = {key: _offline(value) for key, value in upgraded(renamed(checkpoint[CONFIG_KEY])).items()}
    for key, value in config.items():
        for target in () if key in NEVER_MADE else _targets(value):
            _require_ours(target)
    made: DictConfig = OmegaConf.create(config)
    return made


def may_call_back(target: str) -> bool:
    """Whether a resumed run may have a callback of this class from its checkpoint."""
    return target in CALLBACKS or _is_trusted(target)


def _is_trusted(name: str) -> bool:
    return name.partition(".")[0] in filter(None, os.environ.get(VARIABLE, "").split(","))


def _targets(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


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
    # mine.subprocess.run is none of mine.
    if _is_trusted(name) and _is_trusted(_defined_in(name)):
        return
    if name.startswith("ctmar."):
        found = get_object(name)
        # By where it is defined: ctmar.x.os.system is none of ours.
        parts = getattr(found, "__module__", "").split(".")
        ours = len(parts) > 1 and parts[0] == "ctmar" and parts[1] in STATIONS
        if ours and (inspect.isclass(found) or found is pretrained.load):
            return
    raise CtmarError(
        f"a checkpoint may name classes of ctmar's {', '.join(STATIONS)}, got {name!r};"
        f" where you trust whoever made it, {VARIABLE}={name.partition('.')[0]} accepts that package"
    )
