"""Keys that have moved: what older command lines and configs call them, and what they are called today.

A key that moves gets a line in :data:`MOVED`, and a node that comes with it one in :data:`ADDED`.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ctmar.errors import CtmarError

MOVED: dict[str, str] = {
    "scanner.kvp": "scanner.tube.kvp",
    "scanner.filtration_mm": "scanner.tube.filtration_mm",
    "scanner.energies_kev": "scanner.tube.energies_kev",
    "scanner.bowtie": "scanner.tube.bowtie",
    "scanner.detector": "scanner.tube.detector",
    "scanner.oversampling": "scanner.optics.oversampling",
    "scanner.focal_spot_mm": "scanner.optics.focal_spot_mm",
    "scanner.detector_blur_mm": "scanner.optics.detector_blur_mm",
    "scanner.slice_profile": "scanner.optics.slice_profile",
    "scanner.photons_per_ray": "scanner.noise.photons_per_ray",
    "scanner.electronic_noise": "scanner.noise.electronic_noise",
    "scanner.min_counts": "scanner.noise.min_counts",
    "scanner.saturation": "scanner.noise.saturation",
    "scanner.current_modulation": "scanner.noise.current_modulation",
    "scanner.scatter_to_primary": "scanner.scatter.to_primary",
    "scanner.scatter_fwhm_mm": "scanner.scatter.fwhm_mm",
    "scanner.scatter_correction": "scanner.scatter.correction",
    "scanner.water_precorrection": "scanner.water.precorrection",
    "scanner.water_degree": "scanner.water.degree",
    "scanner.water_largest_mm": "scanner.water.largest_mm",
    "scanner.water_straight": "scanner.water.straight",
    "scanner.trace_epsilon_mm": "scanner.trace.epsilon_mm",
    "scanner.trace_dilation": "scanner.trace.dilation",
    "scanner.measures_metal": "scanner.trace.measures_metal",
    "scanner.metal_replaces_tissue": "scanner.faults.metal_replaces_tissue",
    "scanner.scatter_photons": "scanner.faults.scatter_photons",
    "scanner.shrink": "scanner.faults.shrink",
    "model.slices": "model.method.slices",
    "model.sinogram_scale": "model.method.sinogram_scale",
    "model.path_scale_mm": "model.method.path_scale_mm",
    "model.residual_scale": "model.method.residual_scale",
    "model.wrap_views": "model.method.wrap_views",
    "model.margin_bins": "model.method.margin_bins",
    "model.channels": "model.method.network.channels",
    "model.num_res_units": "model.method.network.num_res_units",
    "model.norm": "model.method.network.norm",
    "model.downscale": "model.method.network.downscale",
    "model.generator_checkpoint": "model.start",
    "model.learning_rate": "model.optimizer.learning_rate",
    "model.weight_decay": "model.optimizer.weight_decay",
    "model.betas": "model.optimizer.betas",
    "model.scheduler": "model.optimizer.scheduler",
    "model.clip": "model.optimizer.clip",
    "model.accumulate": "model.optimizer.accumulate",
    "model.loss_scale": "model.loss.scale",
    "model.loss_domain": "model.loss.domain",
    "model.gradient_weight": "model.terms.gradient.weight",
    "model.image_weight": "model.terms.image.weight",
    "model.consistency_weight": "model.terms.consistency.weight",
    "model.refine": "model.refine.kind",
    "model.refine_channels": "model.refine.channels",
    "model.refine_weight": "model.refine.weight",
    "model.refine_filter": "model.refine.filter",
    "model.augment_mirror": "model.augment.mirror",
    "model.augment_rotate_views": "model.augment.rotate_views",
    "model.augment_seed": "model.augment.seed",
    "model.lambda_l2": "model.adversary.lambda_l2",
    "model.adversarial": "model.adversary.loss",
    "model.discriminator_warmup_epochs": "model.adversary.warmup_epochs",
    "model.discriminator_learning_rate": "model.adversary.learning_rate",
    "model.feature_weight": "model.adversary.feature_weight",
    "model.discriminator_channels": "model.adversary.discriminator.channels",
    "model.discriminator_layers": "model.adversary.discriminator.num_layers",
    "model.discriminator_norm": "model.adversary.discriminator.norm",
}
"""Old key to today's, both from the config's root. Values move unchanged."""

ADDED: dict[str, Any] = {
    "scanner.tube._target_": "ctmar.physics.Tube",
    "scanner.optics._target_": "ctmar.physics.Optics",
    "scanner.noise._target_": "ctmar.physics.Noise",
    "scanner.scatter._target_": "ctmar.physics.Scatter",
    "scanner.water._target_": "ctmar.physics.Water",
    "scanner.trace._target_": "ctmar.physics.Trace",
    "scanner.faults._target_": "ctmar.physics.Faults",
    "scanner.before_log": [],
    "scanner.after_log": [],
}
"""What a group's config has besides since its keys moved."""

CHOICES: dict[str, str] = {
    "model.network": "network@model.method.network",
    "model.inputs": "input@model.method.inputs",
    "model.fill": "model@model.method.fill",
    "model.loss": "loss@model.loss",
    "model.discriminator": "discriminator@model.adversary.discriminator",
}
"""Old key, whose value was a name, to the group whose options have these names."""

OVERRIDE = re.compile(r"(\+\+|\+|~)?([\w.]+)(.*)", re.DOTALL)


def renamed(overrides: Sequence[str]) -> list[str]:
    """A command line's overrides by today's keys; what is none, and every value, stays as it is."""
    return [_renamed(override) for override in overrides]


def _renamed(override: str) -> str:
    parts = OVERRIDE.fullmatch(override)
    if parts is None:
        return override
    prefix, key, rest = parts.groups(default="")
    return prefix + _todays(key) + rest


def _todays(key: str) -> str:
    """Today's name of a key or of one beneath it."""
    if key in CHOICES:
        return CHOICES[key]
    for old, new in MOVED.items():
        # Where a key has become a node of the same name, what is beneath it is today's already.
        beneath = key.startswith(f"{old}.") and not new.startswith(f"{old}.")
        if key == old or beneath:
            return new + key[len(old) :]
    return key


def require_todays(place: str, node: Mapping[Any, Any]) -> None:
    """Refuses a key of before that a user's own file still has, and names today's.

    Args:
        place: Where the node stands in the config, such as ``scanner``.
        node: Plain types, of a class of ctmar's or without one.
    """
    if not _is_ours(node):
        return
    for name, value in node.items():
        new = MOVED.get(f"{place}.{name}")
        if new is not None and not (isinstance(value, dict) and new.startswith(f"{place}.{name}.")):
            raise CtmarError(f"{place}.{name} is {new} now: a file of your own must set that")


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """A whole config of this or an older version, as plain types, with today's keys.

    A group whose class is not one of ctmar's stays as it is: its keys are its own.

    Args:
        config: Groups by name; not changed.
    """
    out, moved = copy.deepcopy(config), set()
    for old, new in MOVED.items():
        *above, name = old.split(".")
        node, group = _at(out, above), above[0]
        if not _is_ours(out.get(group)) or node is None or name not in node:
            continue
        if isinstance(node[name], dict) and new.startswith(f"{old}."):
            continue  # today's already
        _put(out, new, node.pop(name))
        moved.add(group)
    for key, value in ADDED.items():
        if key.partition(".")[0] in moved:
            _put(out, key, copy.deepcopy(value), replace=False)
    return out


def _is_ours(group: Any) -> bool:
    return isinstance(group, Mapping) and str(group.get("_target_", "ctmar.")).startswith("ctmar.")


def _at(config: dict[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """The mapping at a path, if there is one."""
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None


def _put(config: dict[str, Any], key: str, value: Any, replace: bool = True) -> None:
    """Puts a value at a dotted key; nodes on the way are made."""
    *above, name = key.split(".")
    node = config
    for part in above:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    if replace or name not in node:
        node[name] = value
