"""Metal that patients bring along: clips, markers, stent grafts, leads, hips, where the labels put them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import AORTA, FEMUR_LEFT, FEMUR_RIGHT, HEART, HIP_LEFT, HIP_RIGHT, TISSUES
from ctmar.anatomy.landmarks.femoral_head import femoral_head
from ctmar.implants.elsewhere import clip, gold_marker, hip, lead, stent
from ctmar.implants.plan import Device
from ctmar.vectors import FloatArray

LEAST_MM3 = 5_000.0
"""Less of a label is a fragment of the organ."""
AORTA_MM2, STENT_MM = (120.0, 1500.0), 50.0
"""Sections that are the aorta's and no branch's or arch's; the shortest run that gets a stent graft."""


def sample_incidental(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """One kind of metal beside the spine, among those that the labels have a place for; else nothing.

    The same numbers are drawn whatever the labels hold of other kinds.
    """
    order = rng.permutation(list(INCIDENTAL))
    for name in order:
        devices = INCIDENTAL[str(name)](anatomy, rng)
        if devices:
            return devices
    return ()


def _clips(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """A row of clips at the edge of an organ, as after its resection."""
    points = _edge(anatomy, TISSUES["organ"])
    if not len(points):
        return ()
    start = points[int(rng.integers(len(points)))]
    near = points[np.linalg.norm(points - start, axis=1) < 20.0]
    count = int(rng.integers(2, 7))
    places = near[rng.integers(len(near), size=count)]
    return tuple(clip(place, rng.normal(size=3), float(rng.uniform(6.0, 10.0))) for place in places)


def _markers(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """Three gold markers within an organ."""
    points = _voxels(anatomy, TISSUES["organ"])
    if not len(points):
        return ()
    start = points[int(rng.integers(len(points)))]
    near = points[np.linalg.norm(points - start, axis=1) < 15.0]
    return tuple(gold_marker(place, rng.normal(size=3)) for place in near[rng.integers(len(near), size=3)])


def _stent(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """A stent graft along a stretch of the aorta, as wide as it."""
    line = _aorta(anatomy)
    if len(line) < 4 or line[-1, 2] - line[0, 2] < STENT_MM:
        return ()
    length = float(rng.uniform(STENT_MM, min(120.0, line[-1, 2] - line[0, 2])))
    first = float(rng.uniform(line[0, 2], line[-1, 2] - length))
    z = np.linspace(first, first + length, 8)
    path = np.stack([np.interp(z, line[:, 2], line[:, k]) for k in (0, 1, 2)], axis=-1)
    diameter = float(np.median(line[:, 3]))
    return stent(path, min(max(diameter, 14.0), 36.0))


def _lead(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """A pacemaker's lead from above through the right of the heart to its apex."""
    points = _voxels(anatomy, (HEART,))
    if not len(points):
        return ()
    low, high = np.percentile(points, 10, axis=0), np.percentile(points, 90, axis=0)
    shares = np.array([[0.2, 0.7, 1.2], [0.2, 0.65, 0.8], [0.3, 0.55, 0.3], [0.75, 0.25, 0.1]])
    path = low + (shares + rng.normal(0.0, 0.04, shares.shape)) * (high - low)
    t = np.linspace(0, 3, 16)
    smooth = np.stack([np.interp(t, range(4), path[:, k]) for k in range(3)], axis=-1)
    return (lead(smooth, float(rng.uniform(1.5, 2.5))),)


def _hip(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Device, ...]:
    """A total hip about the centre of a femoral head."""
    sides = [("left", FEMUR_LEFT, HIP_LEFT), ("right", FEMUR_RIGHT, HIP_RIGHT)]
    for index in rng.permutation(2):
        side, femur, bone = sides[int(index)]
        center = femoral_head(anatomy, femur, bone)
        if center is not None:
            return hip(center, side, float(rng.choice([28.0, 32.0, 36.0])))
    return ()


INCIDENTAL: dict[str, Callable[[Anatomy, np.random.Generator], tuple[Device, ...]]] = {
    "clips": _clips,
    "gold markers": _markers,
    "stent": _stent,
    "lead": _lead,
    "hip": _hip,
}
"""What can be there, and how it is placed. No anatomy here has teeth, so fillings are a plan's alone."""


def _voxels(anatomy: Anatomy, labels: tuple[int, ...]) -> FloatArray:
    """Voxels (n, 3) in mm of the labels; none where there is too little of them."""
    found = np.argwhere(np.isin(anatomy.labels, labels))[:, ::-1] * np.asarray(anatomy.spacing_mm)
    return found if len(found) * np.prod(anatomy.spacing_mm) >= LEAST_MM3 else found[:0]


def _edge(anatomy: Anatomy, labels: tuple[int, ...]) -> FloatArray:
    """The same on the surface alone."""
    mask = np.isin(anatomy.labels, labels)
    if mask.sum() * np.prod(anatomy.spacing_mm) < LEAST_MM3:
        return np.zeros((0, 3))
    shell: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return np.argwhere(shell)[:, ::-1] * np.asarray(anatomy.spacing_mm)


def _aorta(anatomy: Anatomy) -> FloatArray:
    """The aorta's longest run of round sections from below: (x, y, z, diameter) in mm, a row a slice."""
    rows: list[list[float]] = []
    best: list[list[float]] = []
    for k, section in enumerate(anatomy.labels == AORTA):
        parts, count = ndimage.label(section)
        area = float(section.sum()) * anatomy.spacing_mm[0] * anatomy.spacing_mm[1]
        if count == 1 and AORTA_MM2[0] <= area <= AORTA_MM2[1]:
            y, x = np.argwhere(section).mean(axis=0)
            place = np.array([x, y, k]) * np.asarray(anatomy.spacing_mm)
            rows.append([*map(float, place), 2 * np.sqrt(area / np.pi)])
        else:
            rows = []
        best = rows if len(rows) > len(best) else best
    return np.asarray(best, dtype=float).reshape(-1, 4)
