"""What a label map shows of a patient: canal, vertebrae, pedicles, bodies and discs, ways into the pelvis."""

from ctmar.anatomy.landmarks.anchors import Anchor, find_anchors
from ctmar.anatomy.landmarks.canal import Canal, find_canal
from ctmar.anatomy.landmarks.pedicles import Pedicle, find_pedicles
from ctmar.anatomy.landmarks.vertebrae import Vertebra, find_vertebrae
from ctmar.anatomy.landmarks.vertebral_bodies import Place, discs, vertebral_body

__all__ = [
    "Anchor",
    "Canal",
    "Pedicle",
    "Place",
    "Vertebra",
    "discs",
    "find_anchors",
    "find_canal",
    "find_pedicles",
    "find_vertebrae",
    "vertebral_body",
]
