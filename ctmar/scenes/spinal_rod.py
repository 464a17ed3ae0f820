"""A spinal rod with a low-contrast lesion beside it, there or not: the scene of a detection study."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.errors import CtmarError
from ctmar.implants.construct import Change
from ctmar.implants.shapes import Cylinder, Part, positive
from ctmar.scenes.sampling import not_negative, parameters
from ctmar.scenes.scene import Pose, Scene, volume_center_mm

FAR_MM = 1000.0
"""Rod and lesion run through the slice from this far below to this far above it."""


@dataclass(frozen=True)
class SpinalRod:
    """A straight rod along the spine and a cylinder of another CT number beside it.

    A study's observer looks at one place. So the lesion's centre may be kept at one point of the scanner,
    while the rod and the body lie differently from case to case: what streaks do there is not known before.

    Attributes:
        contrast_hu: The lesion's CT number less that of the tissue in its place; 0 for no lesion.
        lesion_radius_mm: Its radius.
        distance_mm: From its axis to the rod's.
        max_bearing_deg: It lies on the rod's right, up to this much to the front or the back of it.
        max_rotation_deg: Largest turn of the patient in the scanner.
        lesion_at_mm: Where its axis lies in the scanner, (x, y) from the axis of rotation, x to the image's
            right, y down; empty leaves the patient in the middle.
        rod_at_mm: The rod's axis from the volume's centre, (x, y): to the patient's left, to the back.
        rod_radius_mm: Its radius.
        material: What it is of: a name that the scanner knows.

    Raises:
        CtmarError: A value is out of its range, or rod and lesion meet.
    """

    contrast_hu: float = 0.0
    lesion_radius_mm: float = 4.0
    distance_mm: float = 12.0
    max_bearing_deg: float = 30.0
    max_rotation_deg: float = 5.0
    lesion_at_mm: Sequence[float] = ()
    rod_at_mm: Sequence[float] = (-18.0, 76.0)
    rod_radius_mm: float = 2.75
    material: str = "Ti-6Al-4V"
    materials: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("lesion_radius_mm", "distance_mm", "rod_radius_mm"):
            positive(name, getattr(self, name))
        for name in ("max_bearing_deg", "max_rotation_deg"):
            not_negative(name, getattr(self, name))
        if not math.isfinite(self.contrast_hu):
            raise CtmarError(f"contrast_hu must be finite, got {self.contrast_hu!r}")
        if len(self.rod_at_mm) != 2 or len(self.lesion_at_mm) not in (0, 2):
            raise CtmarError(
                "rod_at_mm must be (x, y) and lesion_at_mm (x, y) or empty,"
                f" got {self.rod_at_mm!r} and {self.lesion_at_mm!r}"
            )
        apart = self.rod_radius_mm + self.lesion_radius_mm
        if self.distance_mm <= apart:
            raise CtmarError(
                f"distance_mm must keep rod and lesion apart: above {apart:g}, got {self.distance_mm}"
            )
        object.__setattr__(self, "materials", (self.material,))

    def usual_mm(self) -> tuple[float, float]:
        """The lesion's axis in the scanner (x, y) where neither patient nor bearing is turned."""
        return self.rod_at_mm[0] - self.distance_mm, self.rod_at_mm[1]

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene in the middle one of ``slices``; how the patient lies does not depend on the contrast.

        Raises:
            CtmarError: The lesion does not lie in the volume.
        """
        center = slices[len(slices) // 2]
        turn, bearing = rng.uniform(-1, 1, 2) * (self.max_rotation_deg, math.radians(self.max_bearing_deg))
        rod = np.asarray(self.rod_at_mm, dtype=float)
        lesion = rod + self.distance_mm * np.array([-math.cos(bearing), math.sin(bearing)])
        pose = Pose(float(turn))
        if len(self.lesion_at_mm):
            x, y = np.asarray(self.lesion_at_mm) - pose.rotation @ lesion
            pose = Pose(float(turn), (float(x), float(y)))
        middle = volume_center_mm(anatomy)
        changes = self._lesion(anatomy, center, middle + lesion) if self.contrast_hu else ()
        told: dict[str, Any] = {"material": self.material, "contrast_hu": float(self.contrast_hu)}
        told |= {"rod_mm": rod.tolist(), "lesion_mm": lesion.tolist()}
        return Scene(
            anatomy,
            (Part("spinal rod", self.material, _along_z(middle + rod, self.rod_radius_mm)),),
            center,
            pose,
            parameters("spinal_rod", center, pose, told),
            changes,
        )

    def _lesion(self, anatomy: Anatomy, center: int, at: np.ndarray) -> tuple[Change, ...]:
        column, row = np.round(at / anatomy.spacing_mm[:2]).astype(int)
        rows, columns = anatomy.hu.shape[1:]
        if not (0 <= row < rows and 0 <= column < columns):
            raise CtmarError(f"the lesion must lie in {anatomy.name}, got {at.tolist()} mm of its frame")
        tissue_hu = float(anatomy.hu[center, row, column])
        return (Change("lesion", tissue_hu + self.contrast_hu, _along_z(at, self.lesion_radius_mm)),)


def _along_z(at: np.ndarray, radius_mm: float) -> Cylinder:
    x, y = float(at[0]), float(at[1])
    return Cylinder((x, y, -FAR_MM), (x, y, FAR_MM), radius_mm)
