"""The figures of the AAPM-style score beside those of the challenge's own scorer, on the same images.

``scripts/validation/compare_aapm_scorer.py AAPM_datachallenge/scoring``: your copy of the scorer (BSD-3,
repository ``xcist/example``), whose ``utils.py`` is run as it is: take it from where you trust. It needs
scikit-learn and scikit-image. Nothing of it is part of ctmar, nothing is fetched, none of its pickles is
read: images and masks are simulated here, 512 × 512 as the scorer has them.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.case import Case
from ctmar.data import Simulator
from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import evaluate_case
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR, Method, Uncorrected
from ctmar.metrics.aapm import AAPM_METRICS
from ctmar.metrics.masks import near_metal_mask
from ctmar.metrics.suite import SOFT_HU
from ctmar.metrics.texture import bone_edges
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Noise, Scanner, Tube
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.report.result_pages import shown
from ctmar.report.table import aligned
from ctmar.scenes import RandomGenerator, RealisticGenerator

FUNCTIONS = (
    "metric_ssim",
    "metric_sobel",
    "metric_metalgeometry",
    "metric_bone_geometry",
    "metric_protonrange",
    "metric_streak",
)
METAL_ABOVE_BONE_HU = 250
"""How much brighter than all bone metal is; as the scorer's main program calls its function."""
METHODS: dict[str, Method] = {"uncorrected": Uncorrected(), "li": LI(), "nmar": NMAR()}

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pair = tuple[float, float]


def load_scorer(folder: Path) -> ModuleType:
    """The scorer's functions, from the user's own copy.

    Raises:
        CtmarError: No ``utils.py``, one that needs what is not installed, or one without its functions.
    """
    file = folder / "utils.py" if folder.is_dir() else folder
    if not file.is_file():
        raise CtmarError(f"the scorer must be a folder with the challenge's utils.py, got {str(folder)!r}")
    spec = importlib.util.spec_from_file_location("aapm_scorer", file)
    if spec is None or spec.loader is None:
        raise CtmarError(f"the scorer must be a Python file, got {str(file)!r}")
    scorer = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(scorer)
    except ImportError as error:
        raise CtmarError(f"the scorer must find what it imports: {error}") from None
    missing = [name for name in FUNCTIONS if not hasattr(scorer, name)]
    if missing:
        raise CtmarError(f"the scorer must have {', '.join(FUNCTIONS)}, got no {', '.join(missing)}")
    return scorer


def official(scorer: Any, image: Image, clean: Image, case: Case) -> dict[str, float]:
    """What the scorer says of an image, each as an error, 0 for the truth, by ctmar's names.

    Regions that the challenge drew by hand are put where ctmar measures; all else as its main program does.

    Args:
        scorer: From :func:`load_scorer`.
        image: HU, metal shown, ``(row, column)``.
        clean: The acquisition without metal, with its noise.
        case: The centre slice.
    """
    truth, scan = case.truth, case.scan
    reference = truth.reference_hu[0, 0].numpy().astype(np.float64)
    body, metal = truth.body_mask[0, 0].numpy(), scan.metal_mask[0, 0].numpy()
    spacing = scan.ray.grid.spacing_mm
    near = near_metal_mask(truth.body_mask[0], scan.metal_mask[0], spacing)
    soft = near[0].numpy() & (reference > SOFT_HU[0]) & (reference < SOFT_HU[1])
    edges = bone_edges(truth.reference_hu[0], near)[0].numpy()
    wide = ndimage.binary_dilation(metal, iterations=2)
    outside, around = body & ~metal, near[0].numpy() | wide
    _, ssim = scorer.metric_ssim(reference, image, body & ~wide, wide)
    # Random metal may lie far from bone.
    sobel = scorer.metric_sobel(clean, image, edges, edges)[2] if edges.any() else np.nan
    volume, dice, _ = scorer.metric_metalgeometry(
        image, metal, around, spacing, reference[around].max(), METAL_ABOVE_BONE_HU
    )
    bone_volume, bone_dice, _ = scorer.metric_bone_geometry(reference, image, outside, 0.0, spacing)
    *_, range_mm, _ = scorer.metric_protonrange(0, reference, image, around, outside, spacing)
    noise, noise_clean = (float(np.std(x[soft])) if soft.any() else np.nan for x in (image, clean))
    found = {
        "rmse_hu_aapm": np.sqrt(np.mean((image - reference)[body & ~wide] ** 2)),
        "noise_error_hu": abs(noise - noise_clean),
        "sharpness_error": abs(sobel - 1),
        "streak_hu": scorer.metric_streak(image, reference, outside & ~wide),
        "dssim_aapm": 1 - ssim,
        "bone_error": (bone_volume + 1 - bone_dice) / 2,
        "metal_error": (volume + 1 - dice) / 2,
        "rmse_wepl_mm": range_mm,
    }
    return {name: float(value) for name, value in found.items()}


def compared(scorer: Any, case: Case) -> dict[str, list[Pair]]:
    """The scorer's figure and ctmar's of every method's image of a case, by metric."""
    result = evaluate_case(METHODS, case)
    center = case.center()
    images = {name: image.numpy().astype(np.float64) for name, image in result.images_hu.items()}
    metal = center.scan.metal_mask[0, 0].numpy()
    pairs: dict[str, list[Pair]] = {metric: [] for metric in AAPM_METRICS}
    for row in result.rows:
        name = row["method"]
        if name in METHODS:
            # As ctmar scores completions: the metal is what the uncorrected image shows of it.
            shown = np.where(metal, images["uncorrected"], images[name])
            theirs = official(scorer, shown, images["clean"], center)
            for metric in AAPM_METRICS:
                pairs[metric].append((theirs[metric], float(row[metric])))
    return pairs


def figures(pairs: dict[str, list[Pair]]) -> Table:
    """A row a metric: means of both, mean and largest difference, and how alike images are ranked."""
    rows: list[list[str | float | None]] = []
    for metric, values in pairs.items():
        a, b = np.array([pair for pair in values if np.isfinite(pair).all()]).reshape(-1, 2).T
        if not len(a):
            rows.append([metric, *[None] * 4, "no image has both", 0])
            continue
        apart = np.abs(a - b)
        means = [float(x) for x in (a.mean(), b.mean(), apart.mean(), apart.max())]
        rows.append([metric, *means, _ranks(a, b), len(a)])
    return Table(
        "Errors by metric",
        ["metric", "scorer", "ctmar", "mean difference", "largest", "rank correlation", "images"],
        rows,
        ["", ".4g", ".4g", ".3g", ".3g", "", ""],
        "Means over the images, each figure as an error, 0 for the truth, in the unit of its name.",
    )


def table(pairs: dict[str, list[Pair]]) -> str:
    """The figures as text."""
    found = figures(pairs)
    cells = [
        [shown(cell, style) for cell, style in zip(row, found.styles, strict=True)] for row in found.rows
    ]
    return "\n".join(aligned([list(found.columns), *cells]))


def _ranks(a: Image, b: Image) -> str:
    """Spearman's correlation; a dash where one says the same of all."""
    first, second = (np.argsort(np.argsort(np.round(x, 9))) for x in (a, b))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return "-"
    return f"{np.corrcoef(first, second)[0, 1]:.3f}"


def simulated(count: int, grid: ImageGrid, beam: ParallelBeam) -> list[Case]:
    """Cases with screws and with random metal in turn; small bodies, the standard tube."""
    spine = ProceduralSpine({"test": max(1, (count + 1) // 2)}, ("L1", "L2", "L3"), (1.5, 1.5, 3.0))
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(photons_per_ray=1e6, electronic_noise=5.0))
    makers: Sequence[Callable[[], Any]] = (RealisticGenerator, RandomGenerator)
    made = [Simulator(spine, maker(), scanner, grid, beam, slices=1) for maker in makers]
    return [made[number % 2].case("test", number // 2) for number in range(count)]


def main() -> int:
    """Prints the table; 2 where something is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scorer", type=Path, help="your copy of AAPM_datachallenge/scoring")
    parser.add_argument("--cases", type=int, default=8, help="simulated cases, three images each")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    try:
        if given.cases < 1:
            raise CtmarError(f"--cases must be 1 or more, got {given.cases}")
        scorer = load_scorer(given.scorer)
        pairs: dict[str, list[Pair]] = {metric: [] for metric in AAPM_METRICS}
        for case in simulated(given.cases, ImageGrid((512, 512), 0.7), ParallelBeam(720, 729, 0.7)):
            for metric, found in compared(scorer, case).items():
                pairs[metric] += found
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(pairs))
    if given.json is not None:
        write_measured(
            given.json,
            "aapm-scorer",
            "The challenge's own scorer beside ctmar's figures",
            made_now(command_line(), f"{given.cases} simulated cases, three images each", fingerprint({})),
            [figures(pairs)],
            "512 × 512 pixels of 0.7 mm, 720 views; uncorrected, LI and NMAR; regions that the challenge drew"
            " by hand are put where ctmar measures",
        )
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
