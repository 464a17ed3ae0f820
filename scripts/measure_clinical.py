"""``ctmar correct`` where the truth is known and on real CT: ``python scripts/measure_clinical.py PART``.

``simulated`` scans bodies in fan beams on pixels half as wide, reconstructs them, and corrects the images
alone; ``--json`` writes its table as rows. ``series`` puts a construct into a real DICOM series the same way
and writes it to ``FOLDER``; ``stent`` corrects the stent graft. Real CT is looked for in ``CTMAR_DATA``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ctmar.anatomy import read_anatomy
from ctmar.anatomy.landmarks import find_canal, find_pedicles
from ctmar.case import Case, Scan
from ctmar.clinical import STORED, BrightVoxels, find_metal
from ctmar.clinical.job import MakeMethod, Request, correct_file
from ctmar.config.build import build_simulator, make
from ctmar.config.composing import composed
from ctmar.data.fingerprint import fingerprint, input_digest
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants import build, plan_construct
from ctmar.jobs.arguments import METHODS
from ctmar.jobs.correct import NETWORKS, method_from_checkpoint, network_method
from ctmar.methods import LI, NMAR
from ctmar.metrics import bootstrap_mean, near_metal_mask, tissue_masks
from ctmar.metrics.reading import dice, lucent_rims
from ctmar.metrics.statistics import paired_share
from ctmar.operators import RayTransform
from ctmar.physics.detector import dilated
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.report.result_pages import markdown
from ctmar.scans.dicom.files import find_files, named
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scenes import Scene
from ctmar.stored import MU_WATER
from ctmar.stored.slices import corrected_slices
from ctmar.stored.virtual import trace_of, virtual_ray
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU, mu_to_hu


class Kind(NamedTuple):
    """Scans of a kind, the first so many of a split."""

    anatomy: str
    data: str
    scans: int
    more: tuple[str, ...] = ()
    """Overrides beside those that all have."""


USUAL = ("geometry=large", "geometry/acquisition=clinical", "scanner=clinical")
SETS = (Kind("thorax", "realistic", 6), Kind("procedural", "realistic", 4), Kind("thorax", "random", 4))
OTHERS = (
    Kind("procedural", "surgery", 5),
    Kind("thorax", "surgery", 5),
    Kind("abdomen", "realistic", 4),
    Kind("abdomen", "random", 2, ("scanner.noise.photons_per_ray=2.0e5",)),
    Kind("thorax", "realistic", 3, ("projector.filter=hann", "data.seed=1")),
    Kind("procedural", "realistic", 3, ("scanner.tube.kvp=80", "data.seed=1")),
    Kind("thorax", "random", 2, ("scanner.tube.kvp=140", "data.seed=1")),
    Kind("procedural", "realistic", 2, ("geometry=medium", "data.seed=2")),
)
"""Beside the fourteen: operations, a body that nothing was trained on, another dose, kernel and tube voltage,
and pixels of 1.4 mm."""
SIZES = {14: SETS, 40: SETS + OTHERS}
DEFAULT = "default"
"""What ``ctmar correct`` takes where no method is named."""
BESIDE = "mbhc"
"""What others are held against, scan by scan."""
WORSE = 1.05
"""A scan whose error is this many times the uncorrected image's has become worse."""
RAW_TRACE_MM = 0.1
"""Path through the mask from which on a ray of raw data belongs to its trace."""
RAW = "raw "
"""How rows of raw data begin."""
Rows = Mapping[str, Sequence[float]]


def config(*overrides: str) -> Any:
    """The training configuration with these overrides."""
    return composed("train", [*overrides, "paths.output_dir=."])


class Reading(NamedTuple):
    """What a reader sees of one corrected scan; see :mod:`ctmar.metrics.reading`."""

    dice: float
    pieces: int
    lucent: int
    canal_bias: float


def simulated(
    methods: Mapping[str, MakeMethod], clipped: bool = False, scans: int = 14, split: str = "test"
) -> tuple[dict[str, list[float]], dict[str, list[Reading]]]:
    """Near-metal RMSE of each scan by method, from images and from raw data with the same metal; printed.

    And what a reader sees of the images, by method.
    """
    rows: dict[str, list[float]] = {}
    readings: dict[str, list[Reading]] = {}
    for anatomy, data, count, more in SIZES[scans]:
        cfg = config(f"anatomy={anatomy}", f"data={data}", *USUAL, *more)
        simulator = build_simulator(cfg, 1)
        for index in range(count):
            errors, read = one_case(simulator, index, methods, clipped, split)
            for name, value in errors.items():
                rows.setdefault(name, []).append(value)
            for name, reading in read.items():
                readings.setdefault(name, []).append(reading)
            print(
                f"{anatomy:10s} {data:9s} {index}  "
                + "  ".join(f"{name} {values[-1]:.0f}" for name, values in rows.items()),
                flush=True,
            )
    return rows, readings


def reading_table(readings: Mapping[str, Sequence[Reading]]) -> Table:
    """A row a method: metal put back, pieces of it that look loose, bias in the canal."""
    rows: list[list[Any]] = []
    for name, scans in readings.items():
        dices, biases = (np.array([getattr(one, key) for one in scans]) for key in ("dice", "canal_bias"))
        pieces, lucent = (sum(getattr(one, key) for one in scans) for key in ("pieces", "lucent"))
        biases = biases[np.isfinite(biases)]
        worst = float(biases[np.abs(biases).argmax()]) if len(biases) else None
        shown = [None, None] if np.isnan(dices).all() else [float(np.nanmean(dices)), float(np.nanmin(dices))]
        mean = float(biases.mean()) if len(biases) else None
        rows.append([name, *shown, 100 * lucent / max(pieces, 1), pieces, mean, worst, len(biases)])
    return Table(
        "What a reader fears",
        [
            "method",
            "metal, Dice",
            "least Dice",
            "pieces that look loose, %",
            "pieces",
            "bias in the canal, HU",
            "worst, HU",
            "scans with a canal",
        ],
        rows,
        ["", ".2f", ".2f", ".0f", "", "+.0f", "+.0f", ""],
        "Dice: metal put back beside pixels that metal fills by half. Loose: much too dark in a quarter of"
        " the rim or more, as `ctmar.metrics.reading` says.",
    )


def table(errors: Rows) -> list[dict[str, Any]]:
    """A row a method: mean and median error, what is off the uncorrected mean, how many scans got worse.

    Args:
        errors: Near-metal RMSE in HU of each scan by method, ``uncorrected`` among them.
    """
    before = np.asarray(errors["uncorrected"])
    return [
        {
            "method": name,
            "mean": float(np.mean(after)),
            "median": float(np.median(after)),
            "off_uncorrected": float(1 - np.mean(after) / before.mean()),
            "worse_than_uncorrected": int((np.asarray(after) > WORSE * before).sum()),
        }
        for name, after in errors.items()
    ]


def error_tables(errors: Rows, rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Errors from images, and from raw data, with intervals over the scans; and scans that get worse.

    Where MBHC is among the methods, what each takes off its mean as well, scan by scan.
    """
    shown = [
        [row["method"], tuple(bootstrap_mean(errors[row["method"]]))[:3], row["median"]]
        + [100 * row["off_uncorrected"]]
        for row in rows
    ]
    columns, styles = (
        ["method", "near RMSE, HU", "median, HU", "off uncorrected, %"],
        ["", ".0f", ".0f", ".0f"],
    )
    worse = [[row["method"], row["worse_than_uncorrected"]] for row in rows if row["method"] != "uncorrected"]
    raw = [row for row in shown if row[0].startswith(RAW)]
    pairs: list[list[Any]] = [
        [name, tuple(100 * share for share in paired_share(errors[BESIDE], after)[:3])]
        for name, after in errors.items()
        if BESIDE in errors and name != BESIDE and not name.startswith(RAW)
    ]
    beside = Table(f"Against {BESIDE}, paired", ["method", f"off {BESIDE}, %"], pairs, ["", ".0f"])
    return [
        Table(
            f"{len(errors['uncorrected'])} scans", columns, [row for row in shown if row not in raw], styles
        ),
        *([beside] if pairs else []),
        Table(
            "From raw data",
            columns,
            raw,
            styles,
            "Completed in the scan's own data, with the metal found in the image.",
        ),
        Table(
            "Scans that get worse",
            ["method", f"scans over {100 * (WORSE - 1):.0f} % worse than uncorrected"],
            worse,
        ),
    ]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as text."""
    print(f"{'method':16s} {'mean':>6s} {'median':>6s} {'off':>6s} {'worse':>5s}")
    for row in rows:
        print(
            f"{row['method']:16s} {row['mean']:6.1f} {row['median']:6.1f} {row['off_uncorrected']:6.1%}"
            f" {row['worse_than_uncorrected']:5d}"
        )


def write(
    path: Path,
    errors: Rows,
    rows: Sequence[Mapping[str, Any]],
    clipped: bool,
    readings: Mapping[str, Sequence[Reading]],
    scans: int = 14,
    split: str = "test",
) -> None:
    """What ``ctmar results add`` takes: the table with intervals over the scans, and every scan's errors."""
    cut = f", cut off at {STORED_MAX_HU:g} HU" if clipped else ""
    kinds = SIZES[scans]
    which = "" if kinds is SETS else f"-{scans}"
    write_measured(
        path,
        f"clinical{which}-cut-off" if clipped else f"clinical{which}",
        f"From the images of {'' if kinds is SETS else 'forty '}simulated scans alone{cut}",
        made_now(
            command_line(),
            f"{scans} scans of split={split}: "
            + ", ".join(
                " ".join([str(one.scans), one.anatomy, one.data, *(f"({word})" for word in one.more)])
                for one in kinds
            ),
            fingerprint({"sets": kinds, "clipped": clipped, "split": split}),
        ),
        [*error_tables(errors, rows), reading_table(readings)],
        "clinical fan beam, 512 × 512 pixels or as told, scanner=clinical; scanned on pixels half as wide,"
        f" reconstructed, then corrected from the images alone{cut}",
        errors=dict(errors),
        rows=list(rows),
    )


def one_case(
    simulator: Simulator,
    index: int,
    methods: Mapping[str, MakeMethod],
    clipped: bool = False,
    split: str = "test",
) -> tuple[dict[str, float], dict[str, Reading]]:
    """RMSE near metal by method, and what a reader sees; the images cut off at 12 bits where asked for."""
    case = simulator.case(split, index)
    scan, spacing = case.scan, simulator.ray.grid.spacing_mm
    near = near_metal_mask(case.truth.body_mask[0], scan.metal_mask[0], spacing)[0].numpy()
    reference, occupied = case.truth.reference_hu[0, 0].numpy(), mostly_metal(simulator, index, split)

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image - reference)[near] ** 2)))

    stored = scan.image_hu(scan.measured, simulator.filter)[0, 0].numpy().round()
    if clipped:
        stored = stored.clip(STORED_MIN_HU, STORED_MAX_HU)
    out = {"uncorrected": error(stored)}
    readings = {"uncorrected": read(case, stored, None, occupied)}
    bright = BrightVoxels()
    bright.add(stored)
    rule = bright.rule()
    for name, make_method in methods.items():
        method = make_method(bright.clipped(rule))
        corrected = next(corrected_slices(stored[None], (spacing, spacing, 1.0), method))
        out[name] = error(corrected.image_hu)
        readings[name] = read(case, corrected.image_hu, corrected.metal, occupied)
    mask = find_metal(stored, spacing**2, rule)
    raw = with_metal(scan, torch.from_numpy(mask)[None, None])
    for method in (LI(), NMAR()):
        image = raw.image_hu(method.complete(raw).sinogram, simulator.filter)[0, 0].numpy()
        out[f"{RAW}{method.name}"] = error(np.where(mask, stored, image))
    return out, readings


def read(case: Case, image_hu: np.ndarray, metal: np.ndarray | None, occupied: Tensor) -> Reading:
    """What a reader sees of an image of a case of one slice.

    Args:
        case: The case.
        image_hu: ``(row, column)``.
        metal: What was put back as metal, the same shape; None in an image that is not corrected.
        occupied: The pixels that metal fills by half or more.
    """
    truth, mask, spacing = case.truth, case.scan.metal_mask[0, 0], case.scan.ray.grid.spacing_mm
    reference, body = truth.reference_hu[0, 0], truth.body_mask[0, 0]
    image = torch.from_numpy(np.asarray(image_hu, np.float32))
    canal = tissue_masks(truth.tissue_labels[0, 0], reference, body, mask, spacing)["canal"]
    return Reading(
        float("nan") if metal is None else dice(torch.from_numpy(metal), occupied),
        *lucent_rims(image, reference, body, mask, spacing),
        float((image - reference)[canal].mean()) if canal.any() else float("nan"),
    )


def mostly_metal(simulator: Simulator, index: int, split: str = "test") -> Tensor:
    """Bool ``(row, column)``: pixels of a case that metal fills by half or more, in its own slice."""
    fine = simulator.ray.grid.refine(simulator.scanner_of(index).oversampling)
    cut = simulator.scene(split, index).slices([0], fine)
    whole = torch.from_numpy(sum(cut.metal.values(), np.zeros_like(cut.hu)))
    return avg_pool2d(whole, simulator.scanner_of(index).oversampling)[0] >= 0.5


def with_metal(scan: Scan, mask: Tensor) -> Scan:
    """Raw data with the trace of a mask from its image in place of the metal's own."""
    path = scan.ray.forward(mask[0].float())
    trace = dilated(path > RAW_TRACE_MM)[None]
    path = torch.where(trace, path[None], 0.0)
    return replace(scan, metal_mask=mask, metal_trace=trace, metal_path_mm=path, fills={})


def series(folder: Path) -> None:
    """Writes the real series with T12 instrumented, scanned in fan beams; and corrects it."""
    import pydicom

    data = Path(os.environ.get("CTMAR_DATA") or "../shared/data") / "dicom_series"
    scan = DicomScan(named(find_files(data / "ct"), data))
    anatomy = read_anatomy(data / "ct", data / "labels.nii.gz")
    parts = tuple(build(plan_construct(find_pedicles(anatomy), canal=find_canal(anatomy), alloy="steel")))
    cfg = config("geometry/acquisition=clinical", "scanner=clinical", "scanner.optics.slice_profile=null")
    scanner, fan = make(cfg.scanner), make(cfg.geometry.acquisition)
    grid = ImageGrid(scan.shape, scan.spacing_mm[0])
    lies_on = grid.refine(2)
    fine, ray = RayTransform(lies_on, fan.refine(2)), RayTransform(grid, fan)
    folder.mkdir(parents=True)
    for index, header in enumerate(scan.headers):
        cut = Scene(anatomy, parts, index).slices([0], lies_on)
        dataset = pydicom.dcmread(header.path)
        if any(part.any() for part in cut.metal.values()):
            seen = scanner.acquire(cut.hu, cut.metal, fine, [np.random.SeedSequence(index)]).measured
            hu = mu_to_hu(ray.fbp(seen), scanner.mu_water)[0].numpy()
            values = np.rint(hu - header.intercept).clip(0, 4095).astype("<u2")
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            dataset.PixelData = values.tobytes()
            dataset["PixelData"].is_undefined_length = False
            dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / header.path.name)
        print(index, {name: int((part > 0).sum()) for name, part in cut.metal.items()}, flush=True)


def stent(methods: Mapping[str, MakeMethod], path: Path | None = None) -> None:
    """Streaks before and after, and the change by distance from metal, of the stent graft."""
    rows: list[list[Any]] = []
    source = Path(os.environ.get("CTMAR_DATA") or "../shared/data") / "stent_graft" / "ct.nii.gz"
    for name, make_method in methods.items():
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.nii.gz"
            record = correct_file(source, output, make_method, Request(), lambda line: None)
        streaks, changes = record["ring_streaks_hu"], record["rms_change_hu"]
        print(name, streaks, changes, f"{record['seconds']} s", flush=True)
        told = [streaks[key] for key in ("slices", "before", "after", "fewer")]
        rows.append([name, *told, *changes.values()])
    if path is None or not rows:
        return
    columns = ["method", "slices", "streaks before, HU", "streaks after, HU", "slices with fewer"]
    columns += [f"RMS change, {shell.replace('_', ' ')}, HU" for shell in changes]
    write_measured(
        path,
        "clinical-stent",
        "A stent graft: thin wires, little to gain",
        made_now(command_line(), "the CTA of CTMAR_DATA/stent_graft", input_digest(source) or ""),
        [Table("Whole scan", columns, rows, ["", "", ".1f", ".1f", "", *[".1f"] * (len(columns) - 5)])],
        "real CT, no truth: streaks in rings around the metal, and what the correction changed",
    )


def off_trace(
    stored: np.ndarray, corrected: np.ndarray, metal: np.ndarray, spacing_mm: float
) -> tuple[float, float]:
    """RMS of the reprojected change on the trace and off it, as line integrals."""
    ray = virtual_ray(stored.shape, spacing_mm)
    trace = trace_of(ray.forward(torch.from_numpy(metal).float()))
    seen: Tensor = ray.forward(torch.from_numpy((corrected - stored).astype(np.float32)) * (MU_WATER / 1000))
    on, off = (float(seen[mask].square().mean().sqrt()) for mask in (trace, ~trace))
    return on, off


def maker(name: str) -> MakeMethod:
    """What makes a method of ``ctmar correct``, for scans whose values are cut off or are not.

    Raises:
        CtmarError: There is none of that name.
    """
    chosen = METHODS[0] if name == DEFAULT else name
    if chosen in NETWORKS:
        return lambda clipped: network_method(chosen, clipped)
    if chosen not in STORED:
        raise CtmarError(f"--methods must be from {', '.join((DEFAULT, *METHODS))}, got {name!r}")
    return lambda clipped: STORED[chosen]


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("part", choices=("simulated", "series", "stent"))
    found.add_argument("folder", nargs="?", type=Path, help="where series goes")
    known = ", ".join((DEFAULT, *METHODS))
    found.add_argument("--methods", default=",".join(STORED), help=f"with commas, from {known}")
    found.add_argument("--scans", type=int, choices=tuple(SIZES), default=14, help="simulated: how many")
    found.add_argument(
        "--split", choices=("val", "test"), default="test", help="simulated: val to choose by, test to tell"
    )
    found.add_argument("--clipped", action="store_true", help="simulated: cut images off at 3071 HU")
    found.add_argument(
        "--json", type=Path, metavar="F", help="simulated, stent: write the table to F, for ctmar results add"
    )
    found.add_argument("--checkpoint", type=Path, help="a network beside them")
    return found


def main() -> int:
    """Runs the part that is named; the exit status."""
    parsing = parser()
    arguments = parsing.parse_args()
    if arguments.part == "series" and arguments.folder is None:
        parsing.error("series needs a folder")
    if arguments.json is not None and not arguments.json.parent.is_dir():
        parsing.error(f"--json must lie in a folder that exists, got {arguments.json}")
    try:
        methods = {name: maker(name) for name in arguments.methods.split(",") if name}
        if arguments.checkpoint is not None:
            network, _ = method_from_checkpoint(arguments.checkpoint)
            methods[network.name] = lambda clipped: network
        run(arguments, methods)
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace, methods: Mapping[str, MakeMethod]) -> None:
    """Runs the part that is named."""
    if arguments.part == "series":
        series(arguments.folder)
    elif arguments.part == "stent":
        stent(methods, arguments.json)
    else:
        about = arguments.scans, arguments.split
        errors, readings = simulated(methods, arguments.clipped, *about)
        rows = table(errors)
        print_table(rows)
        print(markdown(reading_table(readings)))
        if arguments.json is not None:
            write(arguments.json, errors, rows, arguments.clipped, readings, *about)


if __name__ == "__main__":
    sys.exit(main())
