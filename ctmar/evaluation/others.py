"""Methods from elsewhere: a function of the user's own, and a folder of another method's images."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.evaluation.cases import Method
from ctmar.operators import RayTransform
from ctmar.report.canvas import file_stem
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu


class ImageFolder:
    """Images of a method that ran elsewhere: ``CASE.npy``, HU, ``(row, column)``, one a case.

    They are scored as they are; where metal is shown in them it is not scored, and what became of the
    measured rays cannot be told from an image.

    Args:
        folder: Where the images lie; names as ``export=…`` writes them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CtmarError(f"images must be a folder of CASE.npy files, got {str(folder)!r}")

    def image_hu(self, sample: MARSample) -> Tensor:
        """The case's image, ``(1, 1, row, column)``."""
        path = self.folder / f"{file_stem(sample.case_id[0])}.npy"
        try:
            image = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise CtmarError(f"images must hold {path.name} for every case, {self.folder} does not") from None
        except (ValueError, EOFError, OSError) as error:
            raise CtmarError(f"{path} must be an array of numbers as numpy.save writes it: {error}") from None
        expected = tuple(sample.reference_hu.shape[-2:])
        if image.shape != expected or not np.issubdtype(image.dtype, np.number):
            raise CtmarError(f"{path} must be HU of shape {expected}, got {image.dtype} {image.shape}")
        return torch.from_numpy(image.astype(np.float32))[None, None]


def find_function(dotted: str, ray: RayTransform) -> Method:
    """The function at ``package.module.name`` as a method.

    Args:
        dotted: A function ``f(sample)`` or ``f(sample, ray)`` that returns the completed sinogram.
        ray: Given to a function that takes two arguments.

    Raises:
        CtmarError: Where there is no such function.
    """
    module, _, name = dotted.rpartition(".")
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise CtmarError(f"methods must name functions as module.function, got {dotted!r}: {error}") from None
    if not callable(function):
        raise CtmarError(f"methods must name functions as module.function, got {dotted!r}, which is none")
    if len(inspect.signature(function).parameters) == 1:
        return function
    return lambda sample: function(sample, ray)


def export_case(sample: MARSample, ray: RayTransform, filter: str, folder: Path) -> Path:
    """Writes what another method may see of a case's centre slice, and the name that its image must have.

    ``CASE.npz`` holds ``uncorrected_hu`` and ``metal_mask`` (row, column), ``measured``,
    ``metal_trace`` and ``metal_path_mm`` (angle, detector), ``theta_rad``, ``bins_mm``, ``spacing_mm``
    and ``mu_water`` (1/mm). No truth is among them.
    """
    center = sample.center()
    beam = ray.beam
    bins = (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    mu_water = float(sample.mu_water[0])
    path = folder / f"{file_stem(sample.case_id[0])}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        uncorrected_hu=mu_to_hu(ray.fbp(center.measured, filter=filter), mu_water)[0, 0].numpy(),
        metal_mask=center.metal_mask[0, 0].numpy(),
        measured=center.measured[0, 0].numpy(),
        metal_trace=center.metal_trace[0, 0].numpy(),
        metal_path_mm=center.metal_path_mm[0, 0].numpy(),
        theta_rad=beam.theta,
        bins_mm=bins,
        spacing_mm=ray.grid.spacing_mm,
        mu_water=mu_water,
    )
    return path
