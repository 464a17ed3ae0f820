"""Two scans of a disk with a bone and a metal rod, and beam hardening behind the metal."""

import torch

from ctmar.case import Case, Scan, Truth
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.units import mu_to_hu

GRID, BEAM, MU_WATER = ImageGrid((48, 48), 4.0), ParallelBeam(48, 69, 4.0), 0.02


def disk_case(slices: int = 3) -> Case:
    """Two cases, the second 5 % denser; no fill at hand."""
    ray = RayTransform(GRID, BEAM)
    y, x = torch.meshgrid(*2 * [(torch.arange(48) - 23.5) * 4], indexing="ij")
    body, bone = x**2 + y**2 < 75**2, (x**2 + (y - 25) ** 2) < 20**2
    image = MU_WATER * (body.float() + 0.6 * bone)
    image = image.expand(2, slices, 48, 48).clone()
    image[1] *= 1.05
    metal = ((x - 12) ** 2 + (y - 10) ** 2 < 64).expand(2, slices, 48, 48).clone()
    path = ray.forward(metal.float())
    trace, clean = path > 0.1, ray.forward(image)
    scan = Scan(
        measured=torch.where(trace, clean + 0.2 * path - 0.002 * path**2, clean),
        metal_trace=trace,
        metal_mask=metal,
        metal_path_mm=torch.where(trace, path, 0.0),
        mu_water=torch.full((2,), MU_WATER),
        ray=ray,
        case_id=("test-0", "test-1"),
    )
    truth = Truth(
        clean=clean,
        reference_hu=mu_to_hu(ray.fbp(clean), MU_WATER),
        body_mask=body.expand(2, slices, 48, 48),
        tissue_labels=torch.zeros(2, slices, 48, 48, dtype=torch.uint8),
        parameters=({}, {}),
    )
    return Case(scan, truth)
