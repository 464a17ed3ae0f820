"""A training that goes on: the config of the checkpoint's run, with what the command line changes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.asked import changed
from ctmar.config.trust import VARIABLE, config_of, may_call_back

OWN = ("paths", "ckpt_path", "logger")
"""What is the command line's own: where things go, and who is told."""
PLACES = ("dirpath", "filename", "folder", "save_dir", "default_root_dir", "_args_")
"""Of trainer and callbacks: arguments that name files are the command line's own too."""


def resumed(cfg: DictConfig, checkpoint: dict[str, Any], overrides: Sequence[str] = ()) -> DictConfig:
    """The config that a run goes on with; says in one line what differs from the run's.

    Args:
        cfg: The command line's config, composed; its ``ckpt_path`` is the checkpoint.
        checkpoint: What the file holds.
        overrides: The command line's overrides.

    Raises:
        CtmarError: The checkpoint's config names a class that none may name.
    """
    trained = config_of(checkpoint)
    left_out = _carry(trained, cfg)
    out, differs = changed(cfg, trained, overrides, "train", OWN)
    line = f"going on after epoch {int(checkpoint['epoch']) + 1} of {cfg.ckpt_path} with its run's config"
    if differs:
        line += f"; changed: {', '.join(differs)}"
    if left_out:
        line += (
            f"; left out, as a checkpoint may not name their classes: {', '.join(left_out)}"
            f" (named on the command line they stay, as do those of packages in {VARIABLE})"
        )
    say(line)
    return out


def goes_on_in_its_folder(cfg: DictConfig, checkpoint: dict[str, Any]) -> bool:
    """Whether a run's folder is the one that the checkpoint's run wrote to."""
    folder = Path(cfg.paths.output_dir).resolve()
    before = checkpoint[CONFIG_KEY].get("paths", {}).get("output_dir")
    same = before is not None and Path(str(before)).resolve() == folder
    return same or folder in Path(cfg.ckpt_path).resolve().parents


def say(line: str) -> None:
    """A line on stderr; of several processes the first says it."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        print(line, file=sys.stderr, flush=True)


def _carry(trained: DictConfig, cfg: DictConfig) -> list[str]:
    """Leaves of a run's trainer, callbacks and metrics what a checkpoint may decide; names what is left out.

    The trainer's class and whatever names a file are the command line's own; so is the class of a callback or
    a metric, where it is none of those that may be made from a checkpoint.
    """
    trainer, mine = _plain(trained.get("trainer")), _plain(cfg.get("trainer"))
    foreign = [key for key, value in trainer.items() if _targets(value) and key != "_target_"]
    values = {key: value for key, value in trainer.items() if key not in foreign}
    if trainer:
        trained.trainer = _with_places(values, mine) | {"_target_": mine.get("_target_")}
    return (
        [f"trainer.{key}" for key in foreign]
        + _carry_members("callbacks", trained, cfg)
        + _carry_members("metric", trained, cfg)
    )


def _carry_members(group: str, trained: DictConfig, cfg: DictConfig) -> list[str]:
    """Leaves of a group's members those that a checkpoint or the command line may name; names the others."""
    members, own = _plain(trained.get(group)), _plain(cfg.get(group))
    refused = {
        name: [target for target in _targets(node) if target not in _targets(own.get(name))]
        for name, node in members.items()
    }
    refused = {name: [t for t in targets if not may_call_back(t)] for name, targets in refused.items()}
    trained[group] = {
        name: _with_places(node, own.get(name)) for name, node in members.items() if not refused[name]
    }
    return [f"{group}.{name} ({targets[0]})" for name, targets in refused.items() if targets]


def _with_places(node: Any, mine: Any) -> Any:
    """A node whose arguments that name files are those of ``mine``."""
    if not isinstance(node, dict):
        return node
    mine = mine if isinstance(mine, dict) else {}
    kept = {key: _with_places(value, mine.get(key)) for key, value in node.items() if key not in PLACES}
    return kept | {key: value for key, value in mine.items() if key in PLACES}


def _targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    return [target for value in node for target in _targets(value)] if isinstance(node, list) else []


def _plain(node: Any) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else None
    return found if isinstance(found, dict) else {}
