"""XCIST's own example beside this project's image of it: ``scripts/validation/compare_xcist.py FOLDER``.

``FOLDER`` holds ``out.prep`` (line integrals of 1000 views × 900 cells) and ``out_512x512x1.raw`` (XCIST's
image in HU), as its first example leaves them. The sinogram is reconstructed by ``geometry=aapm``, by the
fan's own FBP and by rebinning to parallel beams.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctmar.config.build import make
from ctmar.config.composing import composed
from ctmar.data.fingerprint import input_digest
from ctmar.errors import CtmarError
from ctmar.operators import RayTransform
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.pairs.published.aapm import AAPM_WATER, read_raw
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.report.result_pages import markdown
from ctmar.units import mu_to_hu

SINOGRAM, IMAGE = "out.prep", "out_512x512x1.raw"
RAYS = (1000, 900)
"""Views and cells of the example, which its sinogram's name does not tell."""


def compare(folder: Path) -> Table:
    """Correlation and RMS difference to XCIST's image, by ``geometry=aapm`` and by what it is not.

    Raises:
        CtmarError: A file that is not there or not of the example's size.
    """
    measured = torch.from_numpy(read_raw(folder / SINOGRAM, RAYS))
    wanted = torch.from_numpy(read_raw(folder / IMAGE))
    given = composed("train", ["geometry=aapm", "paths.output_dir=."]).geometry
    grid, fan, beam = make(given.grid), make(given.acquisition), make(given.beam)
    centred = replace(fan, det_offset_mm=0.0)  # the example has no offset, the challenge has
    images = {
        "geometry=aapm, no offset": RayTransform(grid, centred).fbp(measured),
        "the same, rebinned to parallel beams": RayTransform(grid, beam).fbp(
            rebin_fan_to_parallel(measured, centred, beam)
        ),
        "with the challenge's offset": RayTransform(grid, fan).fbp(measured),
        "bins the other way": RayTransform(grid, replace(centred, mirrored=False)).fbp(measured),
    }
    rows: list[list[Cell]] = [
        [name, *_beside(mu_to_hu(mu, AAPM_WATER), wanted)] for name, mu in images.items()
    ]
    return Table(
        "XCIST's sinogram, this project's image",
        ["reconstructed by", "correlation", "RMS difference, HU"],
        rows,
        ["", ".4f", ".0f"],
        "To XCIST's own image. The last two rows are geometries that the example was not made by.",
    )


def _beside(image: Tensor, wanted: Tensor) -> tuple[float, float]:
    together = np.corrcoef(image.numpy().ravel(), wanted.numpy().ravel())[0, 1]
    return float(together), float((image - wanted).square().mean().sqrt())


def main() -> int:
    """Prints the table; 2 where a file is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with out.prep and out_512x512x1.raw")
    parser.add_argument("--json", type=Path, metavar="F", help="write the table to F, for ctmar results add")
    given = parser.parse_args()
    try:
        table = compare(given.folder)
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(table))
    if given.json is not None:
        made = made_now(command_line(), "XCIST's first example, one slice", input_digest(given.folder) or "")
        write_measured(given.json, "xcist", "XCIST's own example", made, [table], "512 × 512 pixels, float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
