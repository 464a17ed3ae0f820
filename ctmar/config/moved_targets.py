"""Where classes that an older config names are now: its ``_target_`` keeps working."""

from typing import Any

TARGETS: dict[str, str] = {
    "ctmar.anatomy.ProceduralSpine": "ctmar.phantoms.source.ProceduralSpine",
    "ctmar.anatomy.sources.ProceduralSpine": "ctmar.phantoms.source.ProceduralSpine",
    "ctmar.physics.own_geometry.HelicalScan": "ctmar.physics.gantries.HelicalScan",
}
"""Old ``_target_`` to new."""


def renamed(config: Any) -> Any:
    """A plain config whose moved ``_target_``s are their new ones; the given one stays as it is."""
    if isinstance(config, dict):
        return {key: _target(value) if key == "_target_" else renamed(value) for key, value in config.items()}
    return [renamed(value) for value in config] if isinstance(config, list) else config


def _target(name: Any) -> Any:
    return TARGETS.get(name, name) if isinstance(name, str) else name
