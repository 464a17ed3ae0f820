"""Bodies: CT volumes from files, label conventions, and the landmarks found in labels."""

from ctmar.anatomy.body import Anatomy, AnatomySource
from ctmar.anatomy.masks import body_mask
from ctmar.anatomy.mixture import Mixture
from ctmar.anatomy.sources import CTFiles
from ctmar.anatomy.volume import read_anatomy

__all__ = [
    "Anatomy",
    "AnatomySource",
    "CTFiles",
    "Mixture",
    "body_mask",
    "read_anatomy",
]
