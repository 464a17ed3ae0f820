"""What earlier versions wrote, as it is written today: ``ctmar convert FILE OUT``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.moved import upgraded
from ctmar.config.moved_targets import renamed
from ctmar.errors import CtmarError
from ctmar.files import whole
from ctmar.learned.earlier import about_of, method_node, state_of
from ctmar.learned.weights import KEY, write

BEFORE = {
    "ctmar.models.completion.UNetCompletion": "ctmar.training.fit.Fit",
    "ctmar.models.cgan.CGANCompletion": "ctmar.training.gan.GAN",
}
"""Classes of a model that a checkpoint of before names, and those of today."""
OPTIMIZER = ("learning_rate", "weight_decay", "betas", "scheduler", "clip", "accumulate")
SHARED = ("channels", "num_res_units", "norm", "downscale")


def run(arguments: argparse.Namespace) -> None:
    """Converts a file and says so."""
    print(convert(arguments.file, arguments.out))


def convert(file: Path, out: Path) -> str:
    """Writes a file of an earlier version as today's.

    Args:
        file: A checkpoint or a file of weights; only read.
        out: The new one; of the same suffix.

    Returns:
        A line that says what was done.

    Raises:
        CtmarError: It is no such file, or of today already.
    """
    if not file.is_file() or file.suffix not in (".ckpt", ".safetensors") or out.suffix != file.suffix:
        raise CtmarError(f"convert needs a .ckpt or .safetensors file and one to write, got {file} and {out}")
    (_weights if file.suffix == ".safetensors" else _checkpoint)(file, out)
    return f"{file} as today's: {out}"


def _weights(file: Path, out: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        about = json.loads((opened.metadata() or {}).get(KEY, "null"))
    if not isinstance(about, dict) or about.get("schema") != 1:
        raise CtmarError(f"convert takes weights of schema 1, {file} holds none")
    write(out, about_of(about), load_file(file))


def _checkpoint(file: Path, out: Path) -> None:
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    if not is_earlier(checkpoint):
        raise CtmarError(f"convert takes checkpoints of an earlier ctmar, {file} is none")
    checkpoint["state_dict"] = state_of(checkpoint["state_dict"])
    checkpoint[CONFIG_KEY] = config_of_today(checkpoint[CONFIG_KEY])
    checkpoint.pop("hyper_parameters", None)
    with whole(out) as aside:
        torch.save(checkpoint, aside)


def is_earlier(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint's model is of an earlier version."""
    model = checkpoint.get(CONFIG_KEY, {}).get("model", {})
    return isinstance(model, dict) and model.get("_target_") in BEFORE


def config_of_today(config: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's config of before with today's keys and classes."""
    out = dict(config)
    out["model"] = model_node(config["model"])
    return upgraded(renamed(out))


def model_node(before: dict[str, Any]) -> dict[str, Any]:
    """The model of a training, from the flat settings of before."""
    scale = before.get("loss_scale", 1.0)
    kind = before.get("loss", "squared")
    weights = {name: before.get(f"{name}_weight", 0.0) for name in ("gradient", "image", "consistency")}
    node = {
        "_target_": BEFORE[before["_target_"]],
        "method": method_node(before),
        "loss": {
            "_target_": f"ctmar.losses.{kind}.{kind.capitalize()}",
            "domain": before.get("loss_domain", "ramp"),
            "scale": scale,
        },
        "terms": {
            name: {"_target_": f"ctmar.losses.{name}.{name.capitalize()}", "weight": weight, "scale": scale}
            for name, weight in weights.items()
        },
        "optimizer": _part("ctmar.training.optimizer.Optimizer", before, OPTIMIZER),
        "augment": _part(
            "ctmar.training.augment.Augment", before, ("mirror", "rotate_views", "seed"), "augment_"
        ),
        "refine": {
            **_part("ctmar.training.refine.Refine", before, ("channels", "weight", "filter"), "refine_"),
            "kind": before.get("refine", "none"),
            "norm": before.get("norm", "batch"),
        },
        "start": before.get("generator_checkpoint"),
        "freeze": before.get("freeze", []),
        "compile": before.get("compile", False),
    }
    if "lambda_l2" in before:
        node["adversary"] = _adversary(before)
    return node


def _adversary(before: dict[str, Any]) -> dict[str, Any]:
    discriminator: dict[str, Any] = {"_partial_": True, "num_layers": before.get("discriminator_layers", 2)}
    if before.get("discriminator") == "encoder":
        discriminator["_target_"] = "ctmar.networks.discriminator.EncoderDiscriminator"
        discriminator |= {key: before[key] for key in SHARED if key in before}
    else:
        discriminator["_target_"] = "ctmar.networks.discriminator.ConditionalPatchDiscriminator"
        own = {key: f"discriminator_{key}" for key in ("channels", "norm")}
        discriminator |= {key: before[name] for key, name in own.items() if name in before}
    named = {
        "lambda_l2": "lambda_l2",
        "loss": "adversarial",
        "warmup_epochs": "discriminator_warmup_epochs",
        "learning_rate": "discriminator_learning_rate",
        "feature_weight": "feature_weight",
    }
    settings = {key: before[name] for key, name in named.items() if name in before}
    return {"_target_": "ctmar.training.gan.Adversary", "discriminator": discriminator, **settings}


def _part(target: str, before: dict[str, Any], names: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """A node of the settings that are there."""
    return {"_target_": target} | {n: before[f"{prefix}{n}"] for n in names if f"{prefix}{n}" in before}
