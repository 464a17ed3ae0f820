"""``ctmar correct SINOGRAM.raw OUT.nii.gz --geometry NAME``: raw data in, a corrected image out."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctmar.clinical.raw import RawCorrected, RawGeometry, correct_sinogram
from ctmar.config.build import make, method_named
from ctmar.config.composing import composed, options
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam
from ctmar.methods.base import Method
from ctmar.pairs.published import AAPM_WATER, read_raw
from ctmar.scans.output import check_output, whole
from ctmar.scans.volume import suffix_of, write_volume


def correct_raw(
    arguments: argparse.Namespace, method: Method | None, say: Callable[[str], None]
) -> list[RawCorrected]:
    """Corrects the sinograms of a file, a slice each.

    Args:
        arguments: Of the command.
        method: The checkpoint's; None takes the one that ``arguments`` name, with its settings for raw data.
        say: Told in sentences what was found and done.

    Raises:
        CtmarError: Anything that stands against it; the output is as it was.
    """
    source, output = arguments.input, arguments.output
    if arguments.also:
        raise CtmarError("--also needs a reconstructed scan, got raw data")
    if not source.is_file():
        raise CtmarError(f"the input must be a file of sinograms, got {source}, which is none")
    if suffix_of(output) is None:
        raise CtmarError(f"the output must be a volume file such as image.nii.gz, got {output.name}")
    check_output(output, source, False, arguments.overwrite)
    geometry = geometry_named(arguments.geometry, arguments.mu_water)
    sinograms = read_sinograms(source, geometry.shape)
    method = method or method_named(composed("train"), arguments.method)
    found = [correct_sinogram(one, geometry, method, arguments.threshold) for one in sinograms]
    images = torch.stack([one.image_hu for one in found]).numpy()
    spacing = geometry.grid.spacing_mm
    with whole(output, False) as work:
        write_volume(work / output.name, images, (arguments.slice_mm, spacing, spacing))
    pixels = [int(one.metal_mask.sum()) for one in found]
    say(f"metal in {sum(map(bool, pixels))} of {len(found)} slices, {sum(pixels)} pixels; {method.name}")
    return found


def geometry_named(told: str, mu_water: float = AAPM_WATER) -> RawGeometry:
    """A geometry by its name among the options, the user's too; methods work on bins half as wide as its own.

    Rebinning to bins as wide as a pixel costs sharpness.

    Args:
        told: ``NAME``, or ``NAME,KEY=VALUE,…`` with keys of the geometry.
        mu_water: Attenuation of water in 1/mm.

    Raises:
        CtmarError: There is none of that name, or its scanner moves on a helix.
    """
    if not (math.isfinite(mu_water) and mu_water > 0):
        raise CtmarError(f"--mu-water must be positive, got {mu_water:g}")
    name, *keys = told.split(",")
    if name not in options("geometry"):
        raise CtmarError(f"--geometry must be one of {', '.join(options('geometry'))}, got {name!r}")
    node = composed("train", [f"geometry={name}", *(f"geometry.{key}" for key in keys)]).geometry
    acquisition = make(node.get("acquisition") or None)
    if acquisition is not None and not isinstance(acquisition, FanBeam):
        raise CtmarError(f"--geometry must be of parallel beams or a fan, got a {type(acquisition).__name__}")
    beam = make(node.beam)
    return RawGeometry(make(node.grid), beam.refine(2) if acquisition else beam, acquisition, mu_water)


def read_sinograms(path: Path, shape: tuple[int, int]) -> Tensor:
    """The sinograms of a headerless float32 file or of ``.npy``, ``(slice, view, bin)``.

    A headerless file holds one, unless its name ends in its sizes, ``_900x1000x5.raw``: five of 1000 views.

    Raises:
        CtmarError: A file that does not hold sinograms of ``shape``.
    """
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CtmarError(f"{path} must be an array of numbers as numpy.save writes it: {error}") from None
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise CtmarError(f"{path.name} must hold finite line integrals, got {values.dtype}")
    else:
        values = read_raw(path, shape)
    if values.shape[-2:] != shape or values.ndim not in (2, 3):
        raise CtmarError(f"{path.name} must hold sinograms of {shape} by --geometry, got {values.shape}")
    return torch.from_numpy(np.ascontiguousarray(values, np.float32).reshape(-1, *shape))
