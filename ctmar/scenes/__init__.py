"""Scenes: a body, metal in it, and how the patient lies."""

from ctmar.scenes.coverage import require_cover
from ctmar.scenes.generators import MixedGenerator, RandomGenerator, RealisticGenerator, SceneGenerator
from ctmar.scenes.scene import Pose, Scene, SceneSlices

__all__ = [
    "MixedGenerator",
    "Pose",
    "RandomGenerator",
    "RealisticGenerator",
    "Scene",
    "SceneGenerator",
    "SceneSlices",
    "require_cover",
]
