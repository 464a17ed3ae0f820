"""Bodies: CT volumes from files, label conventions, and the procedural spine."""

from ctmar.anatomy.body import Anatomy, AnatomySource
from ctmar.anatomy.masks import body_mask
from ctmar.anatomy.mixture import Mixture
from ctmar.anatomy.procedural import build_body, build_spine, pedicle_truth
from ctmar.anatomy.sources import CTFiles, ProceduralSpine
from ctmar.anatomy.volume import read_anatomy

__all__ = [
    "Anatomy",
    "AnatomySource",
    "CTFiles",
    "Mixture",
    "ProceduralSpine",
    "body_mask",
    "build_body",
    "build_spine",
    "pedicle_truth",
    "read_anatomy",
]
