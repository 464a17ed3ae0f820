"""Metal: hardware as signed distances, planned along the pedicles found in a label map, or random."""

from ctmar.implants.construct import Change, build, changes
from ctmar.implants.fitting import with_meshes
from ctmar.implants.hardware import ScrewShaft, Tulip
from ctmar.implants.mesh import Mesh
from ctmar.implants.plan import Device, Plan, RodPlan, ScrewPlan
from ctmar.implants.planner import plan_construct, sample_construct
from ctmar.implants.random_metal import RandomPlan, build_random_metal, sample_random_metal
from ctmar.implants.shapes import Cylinder, Ellipsoid, Part, Shape, Sphere, Tube, Union
from ctmar.implants.solids import Box, Difference, HalfSpace
from ctmar.physics.materials import METALS

__all__ = [
    "METALS",
    "Box",
    "Change",
    "Cylinder",
    "Device",
    "Difference",
    "Ellipsoid",
    "HalfSpace",
    "Mesh",
    "Part",
    "Plan",
    "RandomPlan",
    "RodPlan",
    "ScrewPlan",
    "ScrewShaft",
    "Shape",
    "Sphere",
    "Tube",
    "Tulip",
    "Union",
    "build",
    "build_random_metal",
    "changes",
    "plan_construct",
    "sample_construct",
    "sample_random_metal",
    "with_meshes",
]
