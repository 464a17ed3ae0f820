"""Linear maps: the ray transform and its exact adjoint, filters, FBP."""

from ctmar.operators.choice import BACKENDS
from ctmar.operators.ray_transform import RayTransform

__all__ = ["BACKENDS", "RayTransform"]
