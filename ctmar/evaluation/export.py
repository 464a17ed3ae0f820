"""What another method may see of a case, as files."""

from pathlib import Path

import numpy as np

from ctmar.case import Scan
from ctmar.files import file_stem


def export_scan(scan: Scan, filter: str, folder: Path) -> Path:
    """Writes what another method may see of a case's centre slice, and the name that its image must have.

    ``CASE.npz`` holds ``uncorrected_hu`` and ``metal_mask`` (row, column), ``measured``,
    ``metal_trace`` and ``metal_path_mm`` (angle, detector), ``theta_rad``, ``bins_mm``, ``spacing_mm``
    and ``mu_water`` (1/mm). No truth is among them.
    """
    center, beam = scan.center(), scan.ray.beam
    bins = (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    path = folder / f"{file_stem(scan.case_id[0])}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        uncorrected_hu=center.image_hu(center.measured, filter)[0, 0].numpy(),
        metal_mask=center.metal_mask[0, 0].numpy(),
        measured=center.measured[0, 0].numpy(),
        metal_trace=center.metal_trace[0, 0].numpy(),
        metal_path_mm=center.metal_path_mm[0, 0].numpy(),
        theta_rad=beam.theta,
        bins_mm=bins,
        spacing_mm=scan.ray.grid.spacing_mm,
        mu_water=float(scan.mu_water[0]),
    )
    return path
