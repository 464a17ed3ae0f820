"""Metal: hardware as signed distances, planned along the pedicles found in a label map, or random."""

from ctmar.implants.canal import Canal, find_canal
from ctmar.implants.pedicles import Pedicle, find_pedicles
from ctmar.implants.planner import Plan, build, sample_construct
from ctmar.implants.random_metal import RandomPlan, build_random_metal, sample_random_metal
from ctmar.implants.shapes import Part, Shape
from ctmar.physics.materials import METALS

__all__ = [
    "METALS",
    "Canal",
    "Part",
    "Pedicle",
    "Plan",
    "RandomPlan",
    "Shape",
    "build",
    "build_random_metal",
    "find_canal",
    "find_pedicles",
    "sample_construct",
    "sample_random_metal",
]
