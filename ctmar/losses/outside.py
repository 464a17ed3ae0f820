"""The error of the image where it is looked at: outside of the metal."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.losses.errors import fbp_of_bins, rooted, trace_error

METAL = 0.5
"""Share of a pixel from which on it is metal."""
FLOOR = 1e-2
"""Error below which the root goes over into the square (:func:`~ctmar.losses.errors.rooted`), 100 HU."""


@dataclass(frozen=True)
class Outside:
    """The root mean square of the FBP of the error near metal, but not in it, in units of 100 HU.

    What stood where metal stands now is part of ``clean``, cannot be known, and is never shown: most of the
    trace's error behind screws in bone is that, and an error within the metal is none elsewhere. All pixels
    outside of the metal count; their number is taken to be that of those near it. The mean over cases.

    Metal is where the FBP of the path lies above :data:`METAL`: that turns with a case.

    Attributes:
        near_mm: How far near goes.
    """

    near_mm: float = 20.0

    def __post_init__(self) -> None:
        if not self.near_mm > 0:
            raise CtmarError(f"near_mm must be positive, got {self.near_mm!r}")

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        scan, ray = case.scan, case.scan.ray
        error = trace_error(completed, case.truth.clean, scan.metal_trace)
        image = 10 * fbp_of_bins(ray, error) / scan.mu_water[:, None, None, None]
        with torch.no_grad():
            metal = fbp_of_bins(ray, scan.metal_path_mm) >= METAL
            reach = max(1, round(self.near_mm / ray.grid.spacing_mm))
            near = F.max_pool2d(metal.float(), 2 * reach + 1, stride=1, padding=reach) - metal.float()
            pixels = near.flatten(1).sum(1).clamp(min=1)
        return rooted(torch.where(metal, 0.0, image).square().flatten(1).sum(1) / pixels, FLOOR)
