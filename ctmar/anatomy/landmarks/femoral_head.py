"""Femoral heads from the labels of femur and hip bone: where a hip is replaced."""

import numpy as np
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.vectors import FloatArray

HEAD_RADIUS_MM, CONTACT_MM = (17.0, 32.0), 6.0
"""Of a femoral head; how near its cap lies to the hip bone."""


def femoral_head(anatomy: Anatomy, femur: int, hip_bone: int) -> FloatArray | None:
    """Centre (3,) in mm of a femoral head: of the ball through the femur's surface that faces the socket.

    None where the labels do not hold both bones, or no ball of a head's size fits.
    """
    (box, *_) = ndimage.find_objects(anatomy.labels == femur, 1) or (None,)
    if box is None or not (anatomy.labels == hip_bone).any():
        return None
    crop = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in box)
    ball, socket = anatomy.labels[crop] == femur, anatomy.labels[crop] == hip_bone
    spacing = anatomy.spacing_mm
    surface = ball & ~ndimage.binary_erosion(ball)
    away = ndimage.distance_transform_edt(~socket, sampling=spacing[::-1]) if socket.any() else None
    if away is None:
        return None
    corner = np.array([crop[axis].start for axis in (2, 1, 0)])
    points = (np.argwhere(surface & (away <= CONTACT_MM))[:, ::-1] + corner) * np.asarray(spacing)
    if len(points) < 20:
        return None
    # |p|² = 2 p·c + (r² − |c|²): linear in the centre and one number more.
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solved = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    center = solved[:3]
    radius = float(np.sqrt(max(solved[3] + center @ center, 0.0)))
    return center if HEAD_RADIUS_MM[0] <= radius <= HEAD_RADIUS_MM[1] else None
