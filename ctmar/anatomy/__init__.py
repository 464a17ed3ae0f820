"""Bodies: CT volumes from files, label conventions, and the procedural spine."""

from ctmar.anatomy.body import Anatomy, AnatomySource

__all__ = ["Anatomy", "AnatomySource"]
