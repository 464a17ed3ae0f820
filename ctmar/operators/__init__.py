"""Linear maps: the ray transform and its exact adjoint, filters, FBP."""

from ctmar.operators.ray_transform import BACKENDS, RayTransform

__all__ = ["BACKENDS", "RayTransform"]
