"""Times every projector that is present: forward, adjoint and FBP, in interleaved rounds.

``python scripts/benchmark_projectors.py --json results.json``; ``--sizes 256 --batches 1,8``.
Times are medians over rounds in milliseconds a slice; ``ratio_to_astra`` is the median over rounds of
ASTRA's time divided by the backend's, both of the same round (two Python threads share ASTRA's batch
beyond one slice, since its 2D CPU code has no threads of its own).
"""

import argparse
import json
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
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform

SIZES = {256: (180, 367), 512: (360, 729), 1024: (720, 729)}
"""Image edge, views and bins by key; 1024 stands for 512 pixels with 720 views."""
BATCHES = (1, 3, 8, 64)
OPERATIONS = ("forward", "adjoint", "fbp")
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
            }
        )
    return rows


def first_call_ms(grid: ImageGrid, beam: ParallelBeam) -> float:
    """Time of the native backend's first forward in this process, compilation or its cache included."""
    start = time.perf_counter()
    RayTransform(grid, beam, "native").forward(torch.zeros(1, *grid.shape))
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="from 256, 512 and 1024")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default="native,torch,astra,skimage")
    options = parser.parse_args()
    sizes = [int(key) for key in options.sizes.split(",")]
    batches = [int(batch) for batch in options.batches.split(",")]
    print(f"first call {first_call_ms(*geometry(256)):.0f} ms", file=sys.stderr)
    rows = []
    for key in sizes:
        rays = available(options.backends.split(","), *geometry(key))
        for operation in OPERATIONS:
            for batch in batches:
                rows += compare(rays, operation, batch, options.rounds)
                for row in rows[-len(rays) :]:
                    print("{backend:12} {op:8} {image}x{views}x{bins} B={batch:<3} {ms:9.2f} ms a slice"
                          "  {ratio_to_astra} x ASTRA".format(**row), flush=True)  # fmt: skip
    if options.json:
        partial = options.json.with_suffix(".part")
        partial.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        os.replace(partial, options.json)


if __name__ == "__main__":
    main()
