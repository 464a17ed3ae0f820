"""Times every projector that is present: forward, adjoint and FBP, in interleaved rounds.

``python scripts/benchmark_projectors.py --json results.json --table table.md --figure figure.png``;
``--sizes 256 --batches 1,8`` for a part, ``--add`` to put it among the rows that the file holds.
Times are medians over rounds in milliseconds a slice; ``ratio_to_astra`` is the median over rounds of
ASTRA's time divided by the backend's, both of the same round (two Python threads share ASTRA's batch
beyond one slice, since its 2D CPU code has no threads of its own). ``extra_mib`` is what the resident
set grew by at its highest while the operation ran once more, its output included, and ``bound_mib`` three
times input and output and 16 MiB (Linux alone).
"""

import argparse
import ctypes
import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.report.result_pages import markdown

SIZES = {256: (180, 367), 512: (360, 729), 1024: (720, 729)}
"""Image edge, views and bins by key; 1024 stands for 512 pixels with 720 views."""
BATCHES = (1, 3, 8, 64)
OPERATIONS = ("forward", "adjoint", "fbp")
LINE = (
    "{backend:12} {op:8} {image}x{views}x{bins} B={batch:<3} {ms:9.2f} ms a slice"
    "  {ratio_to_astra} x ASTRA  {extra_mib} MiB"
)
SLOW = {"skimage", "torch"}
"""Backends that are timed on the smaller batches alone."""


def geometry(key: int) -> tuple[ImageGrid, ParallelBeam]:
    """The grid and beam of a size."""
    views, bins = SIZES[key]
    edge = min(key, 512)
    spacing = 358.4 / edge
    return ImageGrid((edge, edge), spacing), ParallelBeam(views, bins, spacing)


def job(ray: RayTransform, name: str, operation: str, batch: int) -> Callable[[], object]:
    """What is timed: one operation on a batch."""
    shape = ray.grid.shape if operation == "forward" else ray.beam.shape
    x = torch.randn(batch, *shape)
    apply: Callable[[Tensor], Any] = getattr(ray, operation)
    if name == "astra" and operation == "fbp":
        apply = astra_fbp(ray)
    if name != "astra" or batch == 1:
        return lambda: apply(x)
    halves = x.chunk(2)
    pool = ThreadPoolExecutor(2)
    return lambda: list(pool.map(apply, halves))


def astra_fbp(ray: RayTransform) -> Callable[[Tensor], Any]:
    """ASTRA's own FBP: this project's adapter takes nothing but the rays' maps from ASTRA."""
    import astra

    rows, columns = ray.grid.shape
    step = ray.beam.det_spacing_mm / ray.grid.spacing_mm
    volume = astra.create_vol_geom(rows, columns)
    rays = astra.create_proj_geom("parallel", step, ray.beam.det_count, ray.beam.theta)
    projector = astra.create_projector("linear", rays, volume)

    def fbp(sinograms: Tensor) -> list[Any]:
        images = []
        for sinogram in sinograms:
            data = astra.data2d.create("-sino", rays, sinogram.numpy())
            image = astra.data2d.create("-vol", volume)
            settings = astra.astra_dict("FBP")
            settings |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": image}
            algorithm = astra.algorithm.create(settings)
            astra.algorithm.run(algorithm)
            images.append(astra.data2d.get(image))
            astra.algorithm.delete(algorithm)
            astra.data2d.delete([data, image])
        return images

    return fbp


def memory_mib(run: Callable[[], object]) -> float | None:
    """Growth of the resident set at its highest while ``run`` runs, in MiB; None where it cannot be read."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs left in the heap would hide what this one needs
    reset.write_text("5", encoding="ascii")
    before = _status_mib("VmRSS")
    run()
    return round(_status_mib("VmHWM") - before, 1)


def _status_mib(key: str) -> float:
    """A line of this process's status in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def available(names: list[str], grid: ImageGrid, beam: ParallelBeam) -> dict[str, RayTransform]:
    """The ray transforms that work here; the others are named with their reason."""
    found = {}
    for name in names:
        try:
            ray = RayTransform(grid, beam, name)
            ray.forward(torch.zeros(1, *grid.shape))
            found[name] = ray
        except CtmarError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
    return found


def compare(rays: dict[str, RayTransform], operation: str, batch: int, rounds: int) -> list[dict[str, Any]]:
    """One row a backend, timed in turns so that a slow minute hits all of them."""
    jobs = {
        name: job(ray, name, operation, batch) for name, ray in rays.items() if batch <= 3 or name not in SLOW
    }
    for run in jobs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, run in jobs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1000 / batch)
    rows = []
    for name, taken in times.items():
        beam, grid = rays[name].beam, rays[name].grid
        astra = times.get("astra")
        ratio = statistics.median(a / b for a, b in zip(astra, taken, strict=True)) if astra else None
        through = 4 * batch * (math.prod(grid.shape) + math.prod(beam.shape)) / 2**20
        rows.append(
            {
                "backend": name,
                "op": operation,
                "image": grid.shape[0],
                "views": beam.num_angles,
                "bins": beam.det_count,
                "batch": batch,
                "threads": torch.get_num_threads(),
                "device": "cpu",
                "ms": round(statistics.median(taken), 3),
                "ms_min": round(min(taken), 3),
                "ms_max": round(max(taken), 3),
                "ratio_to_astra": None if ratio is None else round(ratio, 2),
                "extra_mib": memory_mib(jobs[name]),
                "bound_mib": round(3 * through + 16, 1),
            }
        )
    return rows


def first_call_ms(grid: ImageGrid, beam: ParallelBeam) -> float:
    """Time of the native backend's first forward in this process, compilation or its cache included."""
    start = time.perf_counter()
    RayTransform(grid, beam, "native").forward(torch.zeros(1, *grid.shape))
    return (time.perf_counter() - start) * 1000


def place(row: dict[str, Any]) -> tuple:
    """What a row measured, and its place in the table."""
    return (row["image"], row["views"], row["batch"], OPERATIONS.index(row["op"]), row["backend"])


def table(rows: list[dict[str, Any]]) -> Table:
    """Milliseconds a slice, the ratio to ASTRA and memory, a line a size, batch and backend."""
    lines: list[list[str]] = []
    cases: dict[tuple, dict[str, dict[str, Any]]] = {}
    for row in sorted(rows, key=place):
        case = (row["image"], row["views"], row["bins"], row["batch"], row["backend"])
        cases.setdefault(case, {})[row["op"]] = row
    for (image, views, bins, batch, backend), found in cases.items():
        cells = [_cell(found.get(operation)) for operation in OPERATIONS]
        extra = [f"{r['extra_mib']:.0f} ({r['bound_mib']:.0f})" for r in found.values() if r["extra_mib"]]
        most = max(extra, key=lambda text: float(text.split()[0]), default="")
        lines.append([f"{image}² × {views} × {bins}", f"{batch}", backend, *cells, most])
    columns = ["image × views × bins", "batch", "backend", "forward, ms", "adjoint, ms", "FBP, ms"]
    return Table(
        "Milliseconds a slice",
        [*columns, "memory, MiB (held to)"],
        lines,
        about="In brackets ASTRA's time in the same round over the backend's. ASTRA's 2D code has no"
        " threads: beyond one slice two Python threads share its batch. Memory is the growth of the resident"
        " set at its highest, against three times input and output and 16 MiB.",
    )


def spreads(rows: list[dict[str, Any]]) -> Table:
    """Every row's median with the least and the most of its rounds."""
    columns = ["image × views × bins", "batch", "backend", "map", "median (least to most), ms"]
    found = [
        [f"{row['image']}² × {row['views']} × {row['bins']}", f"{row['batch']}", row["backend"], row["op"]]
        + [[row["ms"], row["ms_min"], row["ms_max"]]]
        for row in rows
    ]
    return Table("Spread over the rounds", columns, found, ["", "", "", "", ".2f"])


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """What ``ctmar results add`` takes: the table, and every row with its spread."""
    write_measured(
        path,
        "projector-speed",
        "Speed of the projectors",
        made_now(command_line(), "random images"),
        [table(rows), spreads(rows)],
        "float32, medians of interleaved rounds, milliseconds a slice",
        rows=rows,
    )


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    ratio = row["ratio_to_astra"]
    return f"{row['ms']:.1f}" + ("" if ratio is None or row["backend"] == "astra" else f" ({ratio:.1f}×)")


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds a slice over the batch on logarithmic axes: a panel a size and operation."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({(row["image"], row["views"], row["bins"]) for row in rows})
    shape = (len(sizes), len(OPERATIONS))
    page, axes = plt.subplots(*shape, figsize=(11, 3 * len(sizes)), squeeze=False, sharex=True)
    colors = {name: f"C{n}" for n, name in enumerate(sorted({row["backend"] for row in rows}))}
    for line, size in zip(axes, sizes, strict=True):
        for panel, operation in zip(line, OPERATIONS, strict=True):
            here = [r for r in rows if (r["image"], r["views"], r["bins"], r["op"]) == (*size, operation)]
            for name, color in colors.items():
                own = sorted((r for r in here if r["backend"] == name), key=place)
                batch, ms = [r["batch"] for r in own], [r["ms"] for r in own]
                spread = [[r["ms"] - r["ms_min"] for r in own], [r["ms_max"] - r["ms"] for r in own]]
                panel.errorbar(batch, ms, spread, marker="o", capsize=3, color=color, label=name)
            panel.set(xscale="log", yscale="log", title=f"{operation}: {size[0]}² × {size[1]} × {size[2]}")
            panel.grid(alpha=0.3, which="both")
        line[0].set_ylabel("ms a slice")
    for panel in axes[-1]:
        panel.set_xlabel("slices in a batch")
    axes[0, 0].legend()
    page.tight_layout()
    page.savefig(path, dpi=90)


def main() -> None:
    """Times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--json", type=Path, metavar="F", help="write table and rows to F, for ctmar results add"
    )
    parser.add_argument("--add", action="store_true", help="keep the file's other rows")
    parser.add_argument("--table", type=Path, help="where a Markdown table goes")
    parser.add_argument("--figure", type=Path, help="where a picture goes")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="from 256, 512 and 1024")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--operations", default=",".join(OPERATIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default="native,torch,astra,skimage")
    options = parser.parse_args()
    if options.add and not options.json:
        parser.error("--add needs --json, the file whose rows are kept")
    sizes = [int(key) for key in options.sizes.split(",") if key]
    batches = [int(batch) for batch in options.batches.split(",")]
    print(f"first call {first_call_ms(*geometry(256)):.0f} ms", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    if options.add and options.json.exists():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    for key in sizes:
        rays = available(options.backends.split(","), *geometry(key))
        for operation in options.operations.split(","):
            for batch in batches:
                new = compare(rays, operation, batch, options.rounds)
                measured = {place(row) for row in new}
                rows = [row for row in rows if place(row) not in measured] + new
                for row in new:
                    print(LINE.format(**row), flush=True)
                if options.json:  # at once: the next batch may take minutes
                    write(options.json, sorted(rows, key=place))
    if options.table:
        write_text(options.table, markdown(table(rows)) + "\n")
    if options.figure:
        figure(rows, options.figure)


if __name__ == "__main__":
    main()
