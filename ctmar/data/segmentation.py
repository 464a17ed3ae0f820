"""What a correction can know of the metal and of the scan without the scanner's raw data."""

import torch
from torch import Tensor

from ctmar.operators import RayTransform
from ctmar.physics.detector import dilated
from ctmar.physics.scanner import Acquisition
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU, hu_to_mu, mu_to_hu


def stored_image(
    sinogram: Tensor, ray: RayTransform, mu_water: float, filter: str, extended_scale: bool = False
) -> Tensor:
    """The reconstruction as a scanner stores it: whole HU, clipped to the 12 bits of [-1024, 3071] or not."""
    image = mu_to_hu(ray.fbp(sinogram, filter), mu_water).round()
    return image if extended_scale else image.clamp(STORED_MIN_HU, STORED_MAX_HU)


def with_segmented_metal(
    scan: Acquisition, metal_mask: Tensor, ray: RayTransform, trace_epsilon_mm: float
) -> Acquisition:
    """The same scan with the trace of a segmented mask in place of the metal's true one.

    Rays through metal that the mask misses count as untouched, in the target as well.
    """
    path = ray.forward(metal_mask.float())
    trace = dilated(path > trace_epsilon_mm)
    return scan._replace(
        clean=torch.where(trace, scan.clean, scan.measured),
        metal_trace=trace,
        metal_path_mm=torch.where(trace, path, 0.0),
    )


def reprojected(
    scan: Acquisition, stored_hu: Tensor, stored_clean_hu: Tensor, ray: RayTransform, mu_water: float
) -> Acquisition:
    """The same scan as its stored images show it: both sinograms are projections of those.

    Args:
        scan: The scan with the trace that is to be completed.
        stored_hu: The uncorrected image as stored.
        stored_clean_hu: The image as it would be stored without metal.
        ray: Ray transform of the images.
        mu_water: Attenuation of water in 1/mm.
    """
    measured, clean = (ray.forward(hu_to_mu(image, mu_water)) for image in (stored_hu, stored_clean_hu))
    return scan._replace(measured=measured, clean=torch.where(scan.metal_trace, clean, measured))
