"""The bow-tie: a filter that is thicker away from the middle of the beam, where patients are thin."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError


class Bowtie:
    """Thickness of one material along each ray, by the ray's distance from the axis of rotation.

    The unattenuated beam is measured behind it (the air scan), so that a line integral through air is 0
    in every bin; what stays is a beam that is weaker and harder outside.

    Args:
        material: What it is made of.
        profile_mm: Pairs (distance from the axis, thickness) in mm, distances ascending from 0;
            linear between them, constant beyond the last, the same on both sides.

    Raises:
        CtmarError: If the profile is not such a list.
    """

    def __init__(self, material: str, profile_mm: Sequence[Sequence[float]]) -> None:
        points = np.asarray(profile_mm, dtype=float)
        shaped = points.ndim == 2 and points.shape[1:] == (2,)
        if not (shaped and (np.diff(points[:, 0]) > 0).all() and (points >= 0).all() and points[0, 0] == 0):
            raise CtmarError(
                f"bowtie.profile_mm must hold (distance, thickness) from distance 0 up, got {profile_mm!r}"
            )
        self.material, self._points = material, points

    def thickness_mm(self, positions_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Thickness at each distance from the axis."""
        return np.interp(np.abs(positions_mm), self._points[:, 0], self._points[:, 1])
