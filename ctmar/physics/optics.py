"""Settings of what lies between the focal spot and the bins: sub-rays, blur, slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ctmar.errors import CtmarError


@dataclass(frozen=True)
class Optics:
    """How finely the patient is seen, and how blurred.

    Attributes:
        oversampling: Pixels and sub-rays a pixel and bin; sub-rays are averaged as intensities.
        focal_spot_mm: Width of the focal spot's image at the axis of rotation.
        detector_blur_mm: Full width at half maximum of the detector's response there.
        slice_profile: Weights of the slices below, at and above each slice, an odd number; None for the slice
            alone. More than one needs as many more slices on either side.

    Raises:
        CtmarError: If a value is out of its range.
    """

    oversampling: int = 2
    focal_spot_mm: float = 0.0
    detector_blur_mm: float = 0.0
    slice_profile: Sequence[float] | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.oversampling, int) and not isinstance(self.oversampling, bool)
        if not (whole and self.oversampling >= 1):
            raise CtmarError(f"oversampling must be a positive whole number, got {self.oversampling!r}")
        for name, value in (
            ("focal_spot_mm", self.focal_spot_mm),
            ("detector_blur_mm", self.detector_blur_mm),
        ):
            if not value >= 0:
                raise CtmarError(f"{name} must not be negative, got {value!r}")
        weights = self._weights
        if len(weights) % 2 == 0 or min(weights) < 0 or not sum(weights) > 0:
            given = self.slice_profile
            raise CtmarError(f"slice_profile must hold an odd number of weights from 0 up, got {given!r}")

    @cached_property
    def profile(self) -> tuple[float, ...]:
        """The slice profile, of sum 1."""
        return tuple(w / sum(self._weights) for w in self._weights)

    @property
    def _weights(self) -> tuple[float, ...]:
        return tuple(float(w) for w in (self.slice_profile or (1.0,)))
