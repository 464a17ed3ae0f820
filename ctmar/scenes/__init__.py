"""Scenes: a body, metal in it, and how the patient lies."""

from ctmar.scenes.coverage import require_cover
from ctmar.scenes.generators import MixedGenerator, RandomGenerator, RealisticGenerator, SceneGenerator
from ctmar.scenes.sampling import choose_slice, parameters, sample_pose
from ctmar.scenes.scene import Pose, Scene, SceneSlices
from ctmar.scenes.spinal_rod import SpinalRod

__all__ = [
    "MixedGenerator",
    "Pose",
    "RandomGenerator",
    "RealisticGenerator",
    "Scene",
    "SceneGenerator",
    "SceneSlices",
    "SpinalRod",
    "choose_slice",
    "parameters",
    "require_cover",
    "sample_pose",
]
