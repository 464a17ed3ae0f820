"""Linear maps: the ray transform and its exact adjoint, filters, FBP; and what holds a projector to them."""

from ctmar.operators.adapters.base import Adapter
from ctmar.operators.choice import BACKENDS, Backend, Beam
from ctmar.operators.contract import BackendFigures, check_backend
from ctmar.operators.ray_transform import RayTransform

__all__ = ["BACKENDS", "Adapter", "Backend", "BackendFigures", "Beam", "RayTransform", "check_backend"]
