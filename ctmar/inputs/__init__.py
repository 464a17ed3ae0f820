"""Channels that a network sees: a file and a YAML (``configs/input``) each."""

from ctmar.inputs.base import Channel, Units, stack_inputs

__all__ = ["Channel", "Units", "stack_inputs"]
