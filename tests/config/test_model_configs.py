"""The configs of models and their parts name every argument of their constructors, with the same defaults."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from omegaconf import OmegaConf

from ctmar.config.build import method_named
from ctmar.config.composing import composed
from ctmar.config.parts import named
from ctmar.stored.methods import STORED
from ctmar.training.gan import GAN
from ctmar.training.optimizer import Optimizer

CONFIGS = Path(__file__).parents[2] / "configs"
MODELS = sorted(file.stem for file in (CONFIGS / "model").glob("*.yaml"))
# Groups whose options have the part's own keys at their top; that of a fitted model needs `model` beside it.
PARTS = [
    (group, file.stem)
    for group in ("network", "discriminator", "loss", "term", "input")
    for file in sorted((CONFIGS / group).glob("*.yaml"))
]
# What a run chooses differently from a bare constructor.
DIFFERENT = {
    ("ctmar.training.augment.Augment", "mirror"),
    ("ctmar.training.augment.Augment", "rotate_views"),
    ("ctmar.inputs.hardening.Hardening", "weighted"),
}
# What a constructor is called with later.
CALLED_WITH = {"in_channels", "out_channels", "hole_channel", "condition_channels", "candidate_channels"}
# What a config need not say: a network's activation, what a training adds, what tells two channels apart.
UNSAID = {"activation", "refinement", "weighted"}


def config(group: str, name: str) -> dict[str, Any]:
    """A composed node, its references to other groups as they stand."""
    node: Any = OmegaConf.to_container(named(group, name), resolve=False)
    return node


def described(node: Any) -> Iterator[dict[str, Any]]:
    """Every node that names a class, in whatever it lies."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from described(value)


def check(node: dict[str, Any]) -> None:
    """One node: its keys are its constructor's arguments, and its plain values their defaults."""
    target, made = node["_target_"], resolve_name(node["_target_"])
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    parameters = inspect.signature(made).parameters.values()
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters), target
    expected = {p.name: p.default for p in parameters if p.name not in CALLED_WITH}
    assert expected.keys() - UNSAID <= given.keys() <= expected.keys(), target
    for key, value in given.items():
        default = expected[key]
        referred = isinstance(value, str) and value.startswith("${")
        part = isinstance(value, dict) or default is inspect.Parameter.empty
        if not (referred or part or (target, key) in DIFFERENT):
            assert value == (list(default) if isinstance(default, tuple) else default), (target, key)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("cgan", "physics_stored")])
def test_keys_are_the_constructors_arguments_with_their_defaults(name: str) -> None:
    nodes = list(described(config("model", name)))
    assert nodes
    for node in nodes:
        check(node)


def test_physics_for_stored_images_is_that_of_the_correction() -> None:
    assert method_named(composed("train"), "physics_stored") == STORED["physics"]


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_so_they_are_in_the_parts(group: str, name: str) -> None:
    # A channel may be the fill of a method, whose config is another's to check.
    node = next(described(config(group, name)))
    if name in ("gated", "partial"):
        assert node["kind"] == name
    assert ("weighted" in node) == (name == "hardening_weighted")
    check(node)


def test_cgan_takes_everything_else_from_the_unet() -> None:
    unet, cgan = config("model", "unet"), config("model", "cgan")
    check(cgan)
    for node in described(cgan["adversary"]):
        check(node)
    assert cgan["_target_"] == "ctmar.training.gan.GAN"
    del cgan["adversary"], cgan["_target_"], unet["_target_"]
    betas = cgan["optimizer"].pop("betas")
    assert betas != unet["optimizer"].pop("betas")
    assert cgan == unet
    default = inspect.signature(GAN).parameters["optimizer"].default
    assert default == Optimizer(betas=tuple(betas))
