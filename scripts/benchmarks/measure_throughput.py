"""Rate and memory of the simulator: ``scripts/benchmarks/measure_throughput.py [--memory] [--cases N]``.

Realistic 3-slice cases at 256², 360 views, standard scanner, on procedural bodies that are built before the
clock starts. ``--memory`` simulates in one process at a tiny geometry and prints the slope of its memory.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ctmar.data.simulate import Simulator
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Noise, Scanner, Tube
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.scenes import RealisticGenerator

BODIES, TIMED_BODIES = 20, 8
LEVELS = ("L1", "L2", "L3")


def simulator(small: bool = False) -> Simulator:
    """The simulator that is measured; coarse bodies and few views where only memory counts."""
    spine = ProceduralSpine({"train": BODIES}, LEVELS, (2.0, 2.0, 3.0) if small else (1.0, 1.0, 2.0))
    grid = ImageGrid((64, 64), 5.6) if small else ImageGrid((256, 256), 1.4)
    beam = ParallelBeam(48, 93, 5.6) if small else ParallelBeam(360, 367, 1.4)
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(electronic_noise=5.0))
    fills = {"li": LI(), "nmar": NMAR()}
    return Simulator(spine, RealisticGenerator(), scanner, grid, beam, fills=fills)


_made: list[Simulator] = []


def _start(indices: list[int]) -> None:
    """One simulator a process, its bodies and pedicles found."""
    torch.set_num_threads(1)
    _made.append(simulator())
    for index in indices:
        _made[0].scene("train", index)
    _made[0].case("train", indices[0])


def _case(index: int) -> int:
    _made[0].case("train", index)
    return index


def _index(share: list[int], n: int) -> int:
    """The n-th case of a process: its bodies in turn."""
    return share[n % len(share)] + BODIES * (n // len(share))


def rate(cases: int, processes: int) -> float:
    """Cases a second over processes; each keeps to its own share of the bodies, so that all is amortised."""
    context = get_context("spawn")
    shares = [[i for i in range(TIMED_BODIES) if i % processes == p] for p in range(processes)]
    pools = [
        ProcessPoolExecutor(1, context, initializer=_start, initargs=(share,)) for share in shares if share
    ]
    try:
        for pool, share in zip(pools, shares, strict=True):
            pool.submit(_case, share[0]).result()
        start = time.perf_counter()
        jobs = []
        for n in range(cases):
            share = shares[n % processes]
            jobs.append(pools[n % processes].submit(_case, _index(share, n // processes)))
        for job in jobs:
            job.result()
        return cases / (time.perf_counter() - start)
    finally:
        for pool in pools:
            pool.shutdown()


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(cases: int) -> tuple[float, float]:
    """Slope in KB a case after the first fifth, by least squares, and the memory at the end in MB."""
    made, used = simulator(small=True), []
    for index in range(cases):
        made.case("train", index)
        used.append(resident_mb())
    late = np.arange(cases // 5, cases)
    return float(np.polyfit(late, np.asarray(used)[late], 1)[0] * 1000), used[-1]


def main() -> int:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    if min(given.cases, given.processes) < 1:
        parser.error("cases and processes must be 1 or more")
    if given.memory:
        slope, end = memory(given.cases)
        print(
            f"{given.cases} cases from {BODIES} bodies: slope {slope:+.2f} KB a case, {end:.0f} MB at the end"
        )
        rows: list[list[str | float]] = [["slope, KB a case", slope], ["resident at the end, MB", end]]
    else:
        rows = [["cases a second", rate(given.cases, given.processes)], ["processes", given.processes]]
        print(f"{rows[0][1]:.2f} cases a second in {given.processes} processes")
    if given.json is not None:
        write_measured(
            given.json,
            "simulator-memory" if given.memory else "simulator-rate",
            "Memory of the simulator" if given.memory else "Rate of the simulator",
            made_now(
                command_line(), f"{given.cases} realistic cases of 3 slices, {BODIES} procedural bodies"
            ),
            [Table("Figures", ["what", "measured"], rows, ["", ".3g"])],
            "scanner=standard, LI and NMAR; "
            + ("64 × 64 pixels, 48 views" if given.memory else "256 × 256 pixels, 360 views"),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
