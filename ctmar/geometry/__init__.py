"""Where pixels and rays are: image grids and beams, in millimetres and radians.

Convention: pixel (row i, column j) lies at ``x = (j - (W-1)/2) * spacing``,
``y = ((H-1)/2 - i) * spacing``: x along columns, y up. A parallel ray (θ, s) is the line
``x cos θ + y sin θ = s``, and bin d lies at ``s = (d - (D-1)/2) * det_spacing_mm + det_offset_mm``.

Fan beams: view β has its source at ``R (sin β, -cos β)`` and its detector axis along ``(cos β, sin β)``
(ASTRA's ``fanflat``). The ray at fan angle γ is the parallel ray ``θ = β - γ``, ``s = R sin γ``.
Helical scans: β goes on through the turns, and z grows by the table's feed with each.
"""

from ctmar.geometry.fan import DETECTORS, FanBeam
from ctmar.geometry.grid import ImageGrid
from ctmar.geometry.helical import HelicalFan
from ctmar.geometry.parallel import ParallelBeam
from ctmar.geometry.scaling import smaller

__all__ = ["DETECTORS", "FanBeam", "HelicalFan", "ImageGrid", "ParallelBeam", "smaller"]
