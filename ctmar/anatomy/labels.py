"""Label conventions: which number stands for which vertebra or tissue.

The project speaks TotalSegmentator v2 (``map_to_binary.py``, class map ``total``); VerSe label maps
(Sekuboyina et al. 2021, "VerSe: a vertebrae labelling and segmentation benchmark") are translated.
"""

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

CERVICAL = tuple(f"C{i}" for i in range(1, 8))
THORACIC = tuple(f"T{i}" for i in range(1, 13))
LUMBAR = tuple(f"L{i}" for i in range(1, 6))
LEVELS = (*CERVICAL, *THORACIC, *LUMBAR, "S1")
"""Levels from the head down."""

LEVEL_TO_ID = {level: 50 - i for i, level in enumerate(LEVELS)}
"""TotalSegmentator v2 id of each level: C1 50 … L5 27, S1 26."""
ID_TO_LEVEL = {number: level for level, number in LEVEL_TO_ID.items()}

SPLEEN, KIDNEY_RIGHT, KIDNEY_LEFT, GALLBLADDER, LIVER, STOMACH = 1, 2, 3, 4, 5, 6
LUNGS = (10, 11, 12, 13, 14)
LUNG_UPPER_LEFT, LUNG_LOWER_LEFT, LUNG_UPPER_RIGHT, LUNG_MIDDLE_RIGHT, LUNG_LOWER_RIGHT = LUNGS
SMALL_BOWEL, COLON = 18, 20
SACRUM = 25
VERTEBRAE = tuple(range(26, 51))
HEART, AORTA, INFERIOR_VENA_CAVA = 51, 52, 63
FEMUR_LEFT, FEMUR_RIGHT, HIP_LEFT, HIP_RIGHT = 75, 76, 77, 78
CORD = 79
"""The spinal cord; the canal is the cavity around it inside the vertebral ring."""
AUTOCHTHON_LEFT, AUTOCHTHON_RIGHT, ILIOPSOAS_LEFT, ILIOPSOAS_RIGHT = 86, 87, 88, 89
RIBS_LEFT, RIBS_RIGHT = tuple(range(92, 104)), tuple(range(104, 116))
RIBS = RIBS_LEFT + RIBS_RIGHT
STERNUM, COSTAL_CARTILAGES = 116, 117

TISSUES: dict[str, tuple[int, ...]] = {
    "spine": (SACRUM, *VERTEBRAE),
    "bone": (SACRUM, *VERTEBRAE, *range(69, 79), 91, *RIBS, STERNUM),
    "muscle": tuple(range(80, 90)),
    "lung": LUNGS,
    "cord": (CORD,),
    "vessel": (HEART, AORTA, *range(53, 69)),
    "organ": (SPLEEN, KIDNEY_RIGHT, KIDNEY_LEFT, LIVER),
}
"""Tissue groups for metrics. Bone: spine, arms, shoulder, hips, skull, ribs, sternum (v2 ids)."""

VERSE_TO_ID: dict[int, int] = {
    **{i: LEVEL_TO_ID[level] for i, level in enumerate((*CERVICAL, *THORACIC, *LUMBAR), start=1)},
    25: 0,
    26: SACRUM,
    27: SACRUM,
    28: 0,
}
"""VerSe to TotalSegmentator. VerSe's 26 is the whole sacrum and no S1, 27 the coccyx (its publishers'
readme, osf.io/4skx2/wiki; neither is drawn in its volumes); for an L6 (25) or a T13
(28) the other has no id, and to call them L5 or T12 would fuse two vertebrae: they become 0."""

WANTED = (
    "whole vertebrae: TotalSegmentator v2 has L5 27 to C1 50, VerSe C1 1 to L5 24, plain:L5 numbers in turn"
)
"""What label maps of single vertebrae hold, for whoever has one of regions or parts."""

NAMES: dict[str, int] = {
    **{f"vertebrae_{level}": number for level, number in LEVEL_TO_ID.items()},
    **{"sacrum": SACRUM, "spleen": SPLEEN, "kidney_right": KIDNEY_RIGHT, "kidney_left": KIDNEY_LEFT},
    **{"gallbladder": GALLBLADDER, "liver": LIVER, "stomach": STOMACH, "heart": HEART, "aorta": AORTA},
    **{"lung_upper_lobe_left": LUNG_UPPER_LEFT, "lung_lower_lobe_left": LUNG_LOWER_LEFT},
    **{"lung_upper_lobe_right": LUNG_UPPER_RIGHT, "lung_middle_lobe_right": LUNG_MIDDLE_RIGHT},
    **{"lung_lower_lobe_right": LUNG_LOWER_RIGHT, "small_bowel": SMALL_BOWEL, "colon": COLON},
    **{"inferior_vena_cava": INFERIOR_VENA_CAVA, "spinal_cord": CORD, "sternum": STERNUM},
    **{"femur_left": FEMUR_LEFT, "femur_right": FEMUR_RIGHT, "hip_left": HIP_LEFT, "hip_right": HIP_RIGHT},
    **{"autochthon_left": AUTOCHTHON_LEFT, "autochthon_right": AUTOCHTHON_RIGHT},
    **{"iliopsoas_left": ILIOPSOAS_LEFT, "iliopsoas_right": ILIOPSOAS_RIGHT},
    **{f"rib_left_{n}": number for n, number in enumerate(RIBS_LEFT, start=1)},
    **{f"rib_right_{n}": number for n, number in enumerate(RIBS_RIGHT, start=1)},
    "costal_cartilages": COSTAL_CARTILAGES,
}
"""Structures by the names of TotalSegmentator's files, those that the project makes use of."""

CONVENTIONS = ("auto", "totalsegmentator", "verse", "plain:LEVEL")
PLAIN = "plain:"


def detect(labels: NDArray[np.integer]) -> str:
    """Convention of a label map: ``totalsegmentator`` or ``verse``, from the ids that occur.

    VerSe has no id above 28 and marks one unbroken run of vertebrae. Ids 25–28 alone are the sacrum,
    S1, L5 and L4 of TotalSegmentator.

    Raises:
        CtmarError: The ids fit neither, so the convention has to be named.
    """
    ids = {int(i) for i in np.unique(labels)} - {0}
    if not ids or max(ids) > max(VERSE_TO_ID) or min(ids) >= SACRUM:
        return "totalsegmentator"
    if _is_a_run(sorted(i for i in ids if i <= 24)):
        return "verse"
    raise CtmarError(
        f"labels must tell their convention, got ids {sorted(ids)}: say totalsegmentator or verse ({WANTED})"
    )


def _is_a_run(ids: list[int]) -> bool:
    """Whether VerSe ids follow one another; 19 (T12) may be absent, as in spines of eleven ribs."""
    return all(low + 1 == high or (low, high) == (18, 20) for low, high in zip(ids, ids[1:], strict=False))


def to_totalsegmentator(labels: NDArray[np.integer], convention: str = "auto") -> NDArray[np.uint8]:
    """Label map in TotalSegmentator v2 ids, uint8, of the same shape.

    Args:
        labels: Ids from 0 to 255.
        convention: ``totalsegmentator``, ``verse``, or ``auto`` to detect which of them; ``plain:L5`` where
            vertebrae are numbered one after the other, from either end, and the lowest is L5.

    Raises:
        CtmarError: Unknown convention, ids beyond 0–255 or beyond VerSe's own.
    """
    if convention.startswith(PLAIN):
        return _from_plain(labels, convention.removeprefix(PLAIN))
    if convention not in CONVENTIONS[:-1]:
        raise CtmarError(f"convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise CtmarError(
            f"labels must lie in 0 to 255, got {labels.min()} to {labels.max()}: wanted are {WANTED}"
        )
    found = detect(labels) if convention == "auto" else convention
    if found == "totalsegmentator":
        return labels.astype(np.uint8)
    if labels.size and labels.max() > max(VERSE_TO_ID):
        raise CtmarError(f"VerSe labels must be at most {max(VERSE_TO_ID)}, got {labels.max()}")
    table = np.zeros(256, np.uint8)
    table[list(VERSE_TO_ID)] = list(VERSE_TO_ID.values())
    return table[labels]


def _from_plain(labels: NDArray[np.integer], lowest: str) -> NDArray[np.uint8]:
    """Numbers of vertebrae in turn, on axes ``(z, y, x)`` with z upwards, as levels from ``lowest`` up."""
    if lowest not in LEVELS:
        raise CtmarError(f"plain: must name the lowest level, {LEVELS[0]} to {LEVELS[-1]}, got {lowest!r}")
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    steps = set(np.diff(numbers).tolist())
    if not numbers or len(steps) > 1:
        raise CtmarError(f"plain labels must number vertebrae in equal steps, got {numbers[:12]}")
    heights = [float(np.nonzero(labels == n)[0].mean()) for n in numbers]
    upwards = sorted(numbers, key=lambda n: heights[numbers.index(n)])
    if upwards not in (numbers, numbers[::-1]):
        raise CtmarError(f"plain labels must follow the spine, got {upwards[:12]} from below")
    if len(upwards) > LEVELS.index(lowest) + 1:
        raise CtmarError(f"{len(upwards)} vertebrae must fit above {lowest}, got more than there are")
    table = np.zeros(256, np.uint8)
    for above, number in enumerate(upwards):
        table[number] = LEVEL_TO_ID[LEVELS[LEVELS.index(lowest) - above]]
    return table[labels]
