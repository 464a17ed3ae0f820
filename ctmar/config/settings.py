"""Settings that no constructor takes, checked before anything is simulated."""

import math
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ctmar.config.typed import check_types, described, fits
from ctmar.data.setup import SPLITS
from ctmar.errors import CtmarError
from ctmar.operators.filters import FILTERS

TYPES: dict[str, Any] = {
    "data.seed": int | None,
    "data.source": str,
    "data.metal": str,
    "data.batch_size": int,
    "train": bool,
    "test": bool,
    "ckpt_path": str | None,
    "optimized_metric": str | None,
    "evaluation.num_panels": int,
    "evaluation.lesions": bool,
    "evaluation.limit": bool,
    "extras.num_threads": int | None,
    "extras.progress_bar": bool,
    "data.metal_threshold_hu": float | None,
    "data.extended_scale": bool | None,
    "data.fills": Sequence[str],
    "data.num_workers": int,
    "data.in_memory": bool,
    "data.cache": str | None,
    "projector.backend": str,
    "projector.filter": str,
}
OF_THE_SIMULATOR = ("data.metal", "data.metal_threshold_hu", "data.extended_scale")
"""Of those: what ``data`` with a class of its own need not have, or has as that class's argument."""
LEAST = {
    "data.seed": 0,
    "data.batch_size": 1,
    "evaluation.num_panels": 0,
    "extras.num_threads": 1,
    "data.num_workers": 0,
}


def check_settings(cfg: DictConfig) -> None:
    """Checks types of all that will be made, types and ranges of what jobs read themselves.

    Raises:
        CtmarError: Names the key, what is required and what came.
    """
    seed = cfg.seed
    if not fits(seed, int) or seed < 0:
        raise CtmarError(f"seed must be a whole number from 0 on, got {seed!r}")
    whole: Any = OmegaConf.to_container(cfg, resolve=True)
    check_types(whole)  # after the seed, which other keys repeat
    simulated = "_target_" not in cfg.data
    for key, hint in TYPES.items():
        if key in OF_THE_SIMULATOR and not simulated:
            continue
        value: Any = OmegaConf.select(cfg, key)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value)
        if not fits(value, hint):
            raise CtmarError(f"{key} must be {described(hint)}, got {value!r}")
        if key in LEAST and value is not None and value < LEAST[key]:
            raise CtmarError(f"{key} must be {LEAST[key]} or more, got {value!r}")
    for key, value in _tags(whole).items():
        if value is not None and not fits(value, Sequence[str]):
            raise CtmarError(f"{key} must be {described(Sequence[str])}, got {value!r}")
    if str(OmegaConf.select(cfg, "paths.outputs")) == "":
        raise CtmarError("paths.outputs must name a folder, got nothing")
    high = cfg.data.metal_threshold_hu if simulated else None
    if high is not None and not math.isfinite(high):
        raise CtmarError(f"data.metal_threshold_hu must be finite, got {cfg.data.metal_threshold_hu}")
    for name, value, allowed in (
        ("projector.filter", cfg.projector.filter, tuple(FILTERS)),
        *(("data.num_cases", split, SPLITS) for split in _names(cfg.data.num_cases)),
    ):
        if value not in allowed:
            raise CtmarError(f"{name} must be among {', '.join(allowed)}, got {value!r}")


def _tags(cfg: dict[str, Any]) -> dict[str, Any]:
    """The run's tags and those of its loggers by their keys."""
    nodes = {f"logger.{name}": node or {} for name, node in (cfg.get("logger") or {}).items()}
    return {"tags": cfg.get("tags")} | {
        f"{key}.tags": node["tags"] for key, node in nodes.items() if "tags" in node
    }


def _names(num_cases: Any) -> list[str]:
    if not isinstance(num_cases, DictConfig):
        raise CtmarError(f"data.num_cases must be {{train: N, val: N, test: N}}, got {num_cases!r}")
    return [str(name) for name in num_cases]
