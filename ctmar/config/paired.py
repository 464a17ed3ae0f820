"""``data`` with a class of its own: what in it is the run's, and what the class is made with."""

import inspect
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ctmar.data.cases import CaseSource, require_source
from ctmar.data.setup import CaseSetup
from ctmar.data.source import SOURCES
from ctmar.errors import CtmarError

OF_THE_RUN = (
    *("source", "extended_scale", "fills", "seed"),
    *("num_cases", "batch_size", "num_workers", "in_memory", "cache"),
)
"""Of ``data`` with a class: what is the run's; the rest are the class's own arguments."""


def is_paired(cfg: DictConfig) -> bool:
    """Whether the cases come from a class that ``data`` names, rather than from the simulator."""
    return "_target_" in cfg.data


def own_node(cfg: DictConfig) -> DictConfig:
    """The class with its arguments."""
    node = OmegaConf.create({k: cfg.data[k] for k in cfg.data if k not in OF_THE_RUN}, parent=cfg)
    node._set_key("data")
    return node


def own_source(make: Callable[..., Any], node: DictConfig, setup: CaseSetup) -> CaseSource:
    """The source of cases that a class makes.

    Args:
        make: Makes the object of a node.
        node: Of the class, see :func:`own_node`.
        setup: The run's.

    Raises:
        CtmarError: The class does not take its keys and ``setup``, or gives no cases.
    """
    # A dataclass among Hydra's arguments would become a config.
    maker = make(node, _partial_=True)
    try:
        inspect.signature(maker.func).bind(*maker.args, setup=setup, **maker.keywords)
    except (TypeError, ValueError) as error:
        raise CtmarError(f"{node._target_} must take setup and the keys of data: {error}") from None
    return require_source(maker(setup=setup), str(node._target_))


def require_simulated(cfg: DictConfig) -> None:
    """Raises a CtmarError where there is nothing to simulate."""
    if is_paired(cfg):
        raise CtmarError(
            f"there is nothing to simulate with data._target_={cfg.data._target_}, whose cases are there"
            " already: ctmar train and ctmar evaluate read them"
        )


def require_kind(cfg: DictConfig) -> None:
    """Raises a CtmarError where ``data.source`` says no kind of cases."""
    if cfg.data.source not in SOURCES:
        raise CtmarError(f"data.source must be one of {', '.join(SOURCES)}, got {cfg.data.source!r}")
