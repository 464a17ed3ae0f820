"""What a training step costs beside its bare network: ``scripts/benchmarks/measure_step.py [--profile]``.

Simulated cases of the geometry ``medium`` as one batch, the U-Net of ``experiment=unet_pretrain``. In turns,
so that what else the machine does falls on both: the whole step (augmentation, inputs, network, loss,
backward, clipping, optimiser) and the network's forward, backward and optimiser on the inputs of that step.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ctmar.case import Case, collate
from ctmar.config.build import make
from ctmar.config.composing import composed
from ctmar.data.simulate import Simulator
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR
from ctmar.methods.base import filled
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Noise, Scanner, Tube
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.scenes import RandomGenerator
from ctmar.training.fit import Fit

LEVELS = ("L1", "L2", "L3")


def batch(cases: int) -> Case:
    """A batch of cases with random metal, 256², 360 views."""
    spine = ProceduralSpine({"train": 1}, LEVELS, (2.0, 2.0, 3.0))
    grid, beam = ImageGrid((256, 256), 1.4), ParallelBeam(360, 367, 1.4)
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(electronic_noise=5.0))
    fills = {"li": LI(), "nmar": NMAR()}
    made = Simulator(spine, RandomGenerator(), scanner, grid, beam, slices=1, fills=fills)
    return collate([made.case("train", index) for index in range(cases)])


def timed(precision: str, case: Case, rounds: int) -> tuple[list[float], list[float], Callable[[], None]]:
    """Seconds of CPU of the whole step and of the bare network, one of each a round; and the whole step."""
    torch.manual_seed(0)
    model: Fit = make(composed("train", ["experiment=unet_pretrain"]).model)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    model.train()
    method = model.method
    optimizer = model.steps.of(method.generator.parameters(), 1e-4)
    half = lambda: torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()  # noqa: E731

    def whole() -> None:
        with half():
            loss: Any = model.training_step(case, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.generator.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    seen = model.training_case(case, 0).scan
    inputs = method.inputs_of(seen, filled(seen, method.fill))[..., method.window_of(seen)].contiguous()

    def bare() -> None:
        with half():
            loss = method.generator(inputs).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    times: tuple[list[float], list[float]] = ([], [])
    for step in range(rounds + 2):
        for job, kept in zip((whole, bare), times, strict=True):
            start = time.process_time()
            job()
            if step >= 2:
                kept.append(time.process_time() - start)
    return *times, whole


def main() -> int:
    """Prints milliseconds of CPU of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=4, help="cases of the batch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--precision", nargs="+", choices=("bf16", "float32"), default=["bf16"])
    parser.add_argument("--profile", action="store_true", help="print where the whole step's time goes")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    if min(given.cases, given.rounds) < 1:
        parser.error("cases and rounds must be 1 or more")
    torch.set_num_threads(1)
    rows: list[list[Cell]] = []
    case = batch(given.cases)
    for precision in given.precision:
        whole, bare, step = timed(precision, case, given.rounds)
        ratios = sorted(a / b for a, b in zip(whole, bare, strict=True))
        print(
            f"{precision}, {given.cases} cases, ms of CPU on one thread: step {1e3 * median(whole):.0f},"
            f" bare network {1e3 * median(bare):.0f}, ratio {median(ratios):.3f}"
            f" ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
        spread = (median(ratios), ratios[0], ratios[-1])
        rows.append([precision, 1e3 * median(whole), 1e3 * median(bare), spread])
    if given.json is not None:
        columns = ["precision", "step, ms", "bare network, ms", "ratio, × (smallest to largest)"]
        write_measured(
            given.json,
            "step",
            "Time of a training step",
            made_now(command_line(), f"one batch of {given.cases} cases with random metal"),
            [Table("CPU of one thread", columns, rows, ["", ".0f", ".0f", ".2f"])],
            "256 × 256 pixels, 360 views; medians of interleaved rounds",
        )
    if given.profile:
        with torch.profiler.profile() as profile:
            step()
        print(
            profile.key_averages().table(
                sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
