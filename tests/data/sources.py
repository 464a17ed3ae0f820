"""Simulators' settings, written flat."""

from ctmar.data.source import Source

OF_SOURCE = {"kind": "source", "metal": "metal", "metal_threshold_hu": "metal_threshold_hu"}
OF_SOURCE |= {"extended_scale": "extended_scale"}


def with_source(settings: dict) -> dict:
    """A simulator's settings with those of its source as a Source."""
    told = {field: settings.pop(name) for field, name in OF_SOURCE.items() if name in settings}
    return settings | {"source": Source(**told)}
