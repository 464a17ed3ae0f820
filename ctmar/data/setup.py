"""What a run asks of its cases, wherever these come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods.base import Method
from ctmar.operators import RayTransform

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CaseSetup:
    """What a run asks of its cases: a source of one's own gets it as the argument ``setup``.

    Attributes:
        ray: Ray transform of every case: pixels and parallel rays of the run's ``geometry``.
        mu_water: Attenuation of water in 1/mm, by the run's ``scanner``.
        kvp: Tube voltage in kV, by the same; None for a beam of one energy.
        slices: Slices of a case: 3 adjacent ones, or 1.
        fills: Methods whose completions are to travel with each scan, by name.
        filter: FBP filter of references that have to be reconstructed.
        seed: Of whatever is drawn by chance.

    Raises:
        CtmarError: ``slices`` is another number, or the detector does not cover the image.
    """

    ray: RayTransform[ParallelBeam]
    mu_water: float
    kvp: float | None = None
    slices: int = 1
    fills: Mapping[str, Method] = field(default_factory=dict)
    filter: str = "ram-lak"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.slices not in (1, 3):
            raise CtmarError(f"slices must be 1 or 3, got {self.slices!r}")
        require_covers(self.ray.beam, self.ray.grid)


def require_covers(beam: ParallelBeam, grid: ImageGrid) -> None:
    """Raises a CtmarError where the rays miss a part of the image."""
    if not beam.covers(grid):
        needed = int(np.ceil(np.hypot(*grid.size_mm) / beam.det_spacing_mm))
        raise CtmarError(
            f"the detector must cover the image: det_count of at least {needed} bins of"
            f" {beam.det_spacing_mm:g} mm, got {beam.det_count}"
        )
