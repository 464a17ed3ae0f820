"""Metal: hardware as signed distances, planned along the pedicles found in a label map, or random."""

from ctmar.implants.construct import build
from ctmar.implants.plan import Device, Plan
from ctmar.implants.planner import plan_construct, sample_construct
from ctmar.implants.random_metal import RandomPlan, build_random_metal, sample_random_metal
from ctmar.implants.shapes import Part, Shape
from ctmar.physics.materials import METALS

__all__ = [
    "METALS",
    "Device",
    "Part",
    "Plan",
    "RandomPlan",
    "Shape",
    "build",
    "build_random_metal",
    "plan_construct",
    "sample_construct",
    "sample_random_metal",
]
