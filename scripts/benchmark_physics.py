"""Holds the scanner to closed forms, laws and an independent simulation; a missed bound is a non-zero exit.

``python scripts/benchmark_physics.py --json results.json``; ``--only noise,speed`` for some of the groups. A
row without bounds is a figure for the record.
"""

import argparse
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from numpy.typing import NDArray
from validation.independent_physics import WATER, Disk, chord, direct_sum, independent_image, mu, photons_120

from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Noise, Optics, Scanner, Scatter, Tube, Water
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.units import mu_to_hu

GRID, BEAM = ImageGrid((512, 512), 0.7), ParallelBeam(720, 729, 0.7)
STANDARD = Tube(filtration_mm={"Cu": 0.2})
QUIET: dict[str, Any] = {"tube": STANDARD, "noise": Noise(None)}
SINGLE = Optics(oversampling=1)


@dataclass(frozen=True)
class Row:
    """One figure and what it must lie between."""

    group: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the figure is finite and within its bounds."""
        above = self.low is None or self.value >= self.low
        return bool(math.isfinite(self.value) and above and (self.high is None or self.value <= self.high))


def share(disk: Disk, grid: ImageGrid) -> NDArray[np.float32]:
    """Share of each pixel that a disk takes up, as scenes have it."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in grid.shape)
    x, y, radius = disk
    distance = np.hypot(columns[None, :] * grid.spacing_mm - x, -rows[:, None] * grid.spacing_mm - y)
    return np.clip(0.5 - (distance - radius) / grid.spacing_mm, 0.0, 1.0).astype(np.float32)


def acquire(
    scanner: Scanner,
    hu: NDArray[np.float32],
    metal: dict[str, NDArray[np.float32]] | None = None,
    grid: ImageGrid = GRID,
    beam: ParallelBeam = BEAM,
    seed: int = 0,
) -> Acquisition:
    """One slice on the scanner's finer grid."""
    fine = RayTransform(grid.refine(scanner.oversampling), beam.refine(scanner.oversampling))
    alloys = {name: fraction[None] for name, fraction in (metal or {}).items()}
    return scanner.acquire(hu[None], alloys, fine, [np.random.SeedSequence(seed)])


def image(sinogram: torch.Tensor, scanner: Scanner) -> torch.Tensor:
    """HU of a sinogram of the standard geometry."""
    return mu_to_hu(RayTransform(GRID, BEAM).fbp(sinogram), scanner.mu_water)[0]


def within(disk: Disk, hu: torch.Tensor, inner: float = 0.0) -> float:
    """Mean over a disk's pixels, or a ring's."""
    x, y, radius = disk
    hollow = share((x, y, inner), GRID) == 0 if inner else True
    return float(hu[torch.from_numpy((share((x, y, radius), GRID) == 1) & hollow)].mean())


def line_integrals() -> Iterator[Row]:
    """Monoenergetic and noise-free: disks and ellipses in closed form."""
    scanner = Scanner(Tube(kvp=None), noise=Noise(None))
    fine = GRID.refine(2)
    s = (np.arange(BEAM.det_count) - (BEAM.det_count - 1) / 2) * BEAM.det_spacing_mm
    for name, disk in (("centred disk", WATER), ("disk off centre", (60.0, -40.0, 70.0))):
        p = acquire(scanner, 1000 * share(disk, fine) - 1000).ideal[0].double().numpy()
        truth = chord(disk, BEAM.theta, s) * mu("water", [70.0])[0]
        inner = truth > 0.6 * truth.max()
        yield Row("lines", name, float(np.abs(p / np.where(inner, truth, 1) - 1)[inner].max()), high=1e-3)
    a, b = 140.0, 90.0
    rows, columns = ((np.arange(n) - (n - 1) / 2) * fine.spacing_mm / 4 for n in (4096, 4096))
    inside = (columns[None, :] / a) ** 2 + (rows[:, None] / b) ** 2 < 1
    filled = inside.reshape(1024, 4, 1024, 4).mean((1, 3)).astype(np.float32)
    p = acquire(scanner, 1000 * filled - 1000).ideal[0].double().numpy()
    reach2 = (a * np.cos(BEAM.theta)) ** 2 + (b * np.sin(BEAM.theta)) ** 2
    truth = 2 * a * b * np.sqrt(np.maximum(reach2[:, None] - s**2, 0)) / reach2[:, None]
    truth *= mu("water", [70.0])[0]
    inner = truth > 0.6 * truth.max(1, keepdims=True)
    yield Row("lines", "ellipse", float(np.abs(p / np.where(inner, truth, 1) - 1)[inner].max()), high=1e-3)


def polychromatic() -> Iterator[Row]:
    """Columns of water, bone and metal, seen from above: the direct sum over energies."""
    scanner = Scanner(STANDARD, SINGLE, noise=Noise(None), water=Water(False))
    grid, beam = ImageGrid((400, 8), 1.0), ParallelBeam(1, 8, 1.0, angles=(0.0,))
    hu = np.full(grid.shape, -1000.0, np.float32)
    water, bone, metal = (
        [0, 50, 300, 200, 200, 380, 250, 10],
        [0, 0, 0, 60, 0, 20, 40, 0],
        [0, 0, 0, 0, 20, 0, 5, 40],
    )
    bone_hu = (mu("bone", [70.0])[0] / mu("water", [70.0])[0] - 1) * 1000
    filled = np.zeros(grid.shape, np.float32)
    for n in range(8):
        hu[: water[n], n] = 0.0
        hu[water[n] : water[n] + bone[n], n] = bone_hu
        filled[400 - metal[n] :, n] = 1.0
    hu[filled == 1] = 40.0  # replaced, so it must not count
    removed = np.array([max(water[n] + bone[n] + metal[n] - 400, 0) for n in range(8)])
    lengths = {"water": water - removed, "bone": np.array(bone), "Ti-6Al-4V": np.array(metal)}
    expected = -np.log(direct_sum({name: np.asarray(x, dtype=float) for name, x in lengths.items()}))
    got = acquire(scanner, hu, {"Ti-6Al-4V": filled}, grid, beam).measured[0, 0].double().numpy()
    yield Row("polychromatic", "largest error of eight rays", float(np.abs(got - expected).max()), high=1e-3)
    yield Row("polychromatic", "their largest line integral", float(expected.max()))


def water_disk() -> Iterator[Row]:
    """300 mm of water after precorrection, and the same behind a bow-tie."""
    profile = [[0, 0.5], [50, 1.5], [100, 5], [150, 11], [200, 18], [250, 24]]
    bowtie = {"material": "Al", "profile_mm": profile}
    for name, more in (("", {}), ("bow-tie: ", {"bowtie": bowtie}), ("counting: ", {"detector": "counting"})):
        scanner = Scanner(replace(STANDARD, **more), noise=Noise(None))
        hu = image(acquire(scanner, 1000 * share(WATER, GRID.refine(2)) - 1000).ideal, scanner)
        middle, edge = within((0, 0, 30), hu), within((0, 0, 140), hu, 110)
        yield Row("water", f"{name}cupping, edge - middle", edge - middle, -1, 1, "HU")
        yield Row("water", f"{name}mean over 140 mm", within((0, 0, 140), hu), -1, 1, "HU")


def inserts() -> Iterator[Row]:
    """Disks in the water disk: near water against their HU, others against the independent simulation."""
    scanner, fine = Scanner(**QUIET), GRID.refine(2)
    places = [(75 * math.cos(n * math.pi / 3), 75 * math.sin(n * math.pi / 3), 12.5) for n in range(6)]
    values = (-145.0, -100.0, -50.0, 50.0, 100.0, 145.0)
    hu = 1000 * share(WATER, fine) - 1000
    for place, value in zip(places, values, strict=True):
        hu += np.float32(value) * share(place, fine)
    seen = image(acquire(scanner, hu).ideal, scanner)
    for (x, y, _), value in zip(places, values, strict=True):
        yield Row(
            "inserts", f"insert of {value:+.0f} HU, error", within((x, y, 9), seen) - value, -5, 5, "HU"
        )
    for name in ("adipose", "muscle", "bone", "Ti-6Al-4V"):
        yield from one_insert(scanner, name)


def one_insert(scanner: Scanner, name: str) -> Iterator[Row]:
    """A material by its composition in the independent simulation, and as the scanner holds it."""
    fine, disk = GRID.refine(2), (60.0, 20.0, 4.0 if name == "Ti-6Al-4V" else 12.5)
    truth = independent_image([(disk, name)], BEAM, GRID)
    nominal = (mu(name, [70.0])[0] / mu("water", [70.0])[0] - 1) * 1000
    hu = 1000 * share(WATER, fine) - 1000
    if name == "Ti-6Al-4V":
        seen = image(acquire(scanner, hu, {name: share(disk, fine)}).measured, scanner)
    else:
        seen = image(acquire(scanner, hu + np.float32(nominal) * share(disk, fine)).ideal, scanner)
    inner = (disk[0], disk[1], 0.7 * disk[2])
    shadow = (disk[0] - disk[2] - 12, disk[1], 6.0)
    yield Row("inserts", f"{name}: at 70 keV", nominal, unit="HU")
    yield Row("inserts", f"{name}: independent, 120 kV", within(inner, truth), unit="HU")
    # Fat and muscle are water of another density to the scanner: what that costs is the difference.
    bound = {"bone": 5.0, "Ti-6Al-4V": 0.01 * within(inner, truth)}.get(name)
    difference = within(inner, seen) - within(inner, truth)
    yield Row("inserts", f"{name}: scanner - independent", difference, bound and -bound, bound, "HU")
    difference = within(shadow, seen) - within(shadow, truth)
    yield Row("inserts", f"{name}: the same beside it", difference, -2, 2, "HU")


def noise() -> Iterator[Row]:
    """Poisson's law over three decades, the energy-integration factor, and the image's noise."""
    grid, beam = ImageGrid((8, 8), 1.0), ParallelBeam(720, 1000, 1.0)
    air = np.full(grid.shape, -1000.0, np.float32)
    for photons in (1e2, 1e3, 1e4, 1e5):
        scanner = Scanner(Tube(kvp=None), SINGLE, Noise(photons))
        variance = float(acquire(scanner, air, grid=grid, beam=beam).measured.double().var())
        yield Row("noise", f"variance x N, N = {photons:.0e}", variance * photons, 0.97, 1.03)
    energies, spectrum = photons_120()
    column, rays = np.array([0.0, 300.0]), ParallelBeam(720, 1000, 1.0, angles=(0.0,) * 720)
    factors = direct_sum({"water": column}, 2) / direct_sum({"water": column}) ** 2
    factors *= (spectrum @ energies**2) / (spectrum @ energies) ** 2
    for depth, factor in zip((0, 300), factors, strict=True):
        scanner = Scanner(STANDARD, SINGLE, Noise(1e6), water=Water(False))
        slab = ImageGrid((300, 1002), 1.0)
        hu = np.full(slab.shape, 0.0 if depth else -1000.0, np.float32)
        scan = acquire(scanner, hu, grid=slab, beam=rays)
        variance = float((scan.measured - scan.ideal).double().var())
        yield Row("noise", f"integrating, {depth} mm: variance to law", variance * 1e6 / factor, 0.97, 1.03)
        counted = factor * math.exp(-float(scan.ideal.median()))
        yield Row("noise", f"integrating, {depth} mm: variance in that of 1 / signal", counted)
    disk = 1000 * share(WATER, GRID.refine(2)) - 1000
    spread = []
    for photons in (2.5e5, 1e6, 4e6):
        scanner = Scanner(STANDARD, noise=Noise(photons))
        scan = acquire(scanner, disk)
        error = image(scan.measured - scan.ideal, scanner)
        spread.append(float(error[torch.from_numpy(share((0, 0, 100), GRID) == 1)].std()) / 1000)
        yield Row("noise", f"SD in 200 mm, {photons:.1e} photons", 1000 * spread[-1], unit="HU")
    for n in (0, 1):
        yield Row("noise", "SD ratio, four times the mAs", spread[n] / spread[n + 1], 1.94, 2.06)


def starvation() -> Iterator[Row]:
    """45 mm of titanium end-on, at doses from one photon to 10¹²."""
    transmitted = math.exp(-45.0 * mu("Ti-6Al-4V", [70.0])[0])
    yield Row("starvation", "45 mm Ti-6Al-4V at 70 keV lets through", transmitted, 2.5e-5, 3.5e-5)
    grid, beam = ImageGrid((128, 128), 2.8), ParallelBeam(180, 185, 2.8)
    hu = 1000 * share(WATER, grid.refine(2)) - 1000
    screw = {"Ti-6Al-4V": (share((20, 0, 22.5), grid.refine(2)))}
    mono = Scanner(Tube(kvp=None), noise=Noise(None))
    through = acquire(mono, hu, screw, grid, beam)
    extra = (through.measured - through.ideal).max() + 45 * mono.mu_water
    yield Row("starvation", "the scanner's own", float(torch.exp(-extra)), 2.5e-5, 3.5e-5)
    wrong = 0
    for photons in (1.0, 1e2, 1e4, 1e6, 1e9, 1e12):
        scan = acquire(Scanner(STANDARD, noise=Noise(photons, electronic_noise=5.0)), hu, screw, grid, beam)
        wrong += sum(int((~field.isfinite()).sum()) for field in scan)
    yield Row("starvation", "values not finite over six doses", wrong, high=0)


def scatter() -> Iterator[Row]:
    """The scatter-to-primary ratio behind 300 mm of water, and what is left of it after correction."""
    disk = 1000 * share(WATER, GRID.refine(2)) - 1000
    plain = Scanner(**QUIET, water=Water(False))
    primary = torch.exp(-acquire(plain, disk).ideal[0])
    for ratio in (0.05, 0.2):
        scanner = Scanner(**QUIET, water=Water(False), scatter=Scatter(ratio))
        total = torch.exp(-acquire(scanner, disk).ideal[0])
        got = float((total / primary - 1)[:, 364].mean())
        yield Row("scatter", f"ratio of {ratio}, in it", got / ratio, 0.99, 1.01)
    for corrected in (0.0, 0.85, 1.0):
        scanner = Scanner(**QUIET, scatter=Scatter(0.1, correction=corrected))
        hu = image(acquire(scanner, disk).ideal, scanner)
        low, high = (-1, 1) if corrected == 1.0 else (None, None)
        middle = within((0, 0, 30), hu)
        yield Row("scatter", f"middle of water, {corrected:.0%} corrected", middle, low, high, "HU")


def presets() -> Iterator[Row]:
    """What metal leaves off its trace, and how much dearer the published shrinkage makes a case."""
    largest = {}
    for name in ("standard", "clinical", "syndeeplesion"):
        try:
            simulator = preset(name, "abdomen", "medium")
            scene = simulator.scene("test", 0)
        except CtmarError as error:
            print(f"presets: left out: {error}", file=sys.stderr)
            return
        quiet = preset(name, "abdomen", "medium", "scanner.noise.photons_per_ray=null",
                       "scanner.faults.scatter_photons=0", "scanner.noise.saturation=null")  # fmt: skip
        scan, _, _ = quiet.scan(scene, [np.random.SeedSequence(0)] * 3)
        off = (scan.measured - scan.ideal).abs()[~scan.metal_trace]
        yield Row("presets", f"{name}: largest change off the trace", float(off.max()))
        largest[name] = float(scan.ideal.max())
        yield Row("presets", f"{name}: largest metal-free line integral", largest[name])
    ratio = largest["standard"] / largest["syndeeplesion"]
    yield Row("presets", "abdomen, standard to syndeeplesion", ratio, 2.5, 2.7)


def segmentation() -> Iterator[Row]:
    """Metal found by a threshold of the stored image, against the scene's own."""
    for anatomy in ("procedural", "thorax", "abdomen"):
        try:
            true, found = (
                preset("standard", anatomy, "medium", f"data.metal={metal}", "data.fills=[]")
                .case("test", 0)
                .center()
                for metal in ("scene", "threshold")
            )
        except CtmarError as error:
            print(f"segmentation: left out: {error}", file=sys.stderr)
            continue
        for name, a, b in (
            ("mask", true.scan.metal_mask, found.scan.metal_mask),
            ("trace", true.scan.metal_trace, found.scan.metal_trace),
        ):
            both, dice = float((a & b).sum()), 2 * float((a & b).sum()) / float(a.sum() + b.sum())
            yield Row("segmentation", f"{anatomy}: {name}, Dice", dice, 0.8)
            yield Row("segmentation", f"{anatomy}: {name}, share found", both / float(a.sum()))


def preset(scanner: str, anatomy: str, geometry: str, *more: str) -> Any:
    """The simulator of a configuration."""
    from ctmar.config.build import build_simulator
    from ctmar.config.composing import composed

    choices = [f"scanner={scanner}", f"anatomy={anatomy}", f"geometry={geometry}", "paths.output_dir=unused"]
    return build_simulator(composed("train", [*choices, *more]), 3)


def speed() -> Iterator[Row]:
    """One scene of three slices, 512², 720 views, standard scanner, finer grid included."""
    simulator = preset("standard", "procedural", "large")
    scene = simulator.scene("train", 0)
    seeds = [np.random.SeedSequence(n) for n in range(3)]
    simulator.scan(scene, seeds)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        simulator.scan(scene, seeds)
        taken.append(time.perf_counter() - start)
    yield Row(
        "speed", f"a scene, {torch.get_num_threads()} threads", statistics.median(taken), high=1.5, unit="s"
    )
    start = time.perf_counter()
    simulator.case("train", 0)
    yield Row("speed", "its whole case, fills and reference too", time.perf_counter() - start, unit="s")
    yield Row("speed", "most memory of the process by then", before / 1e6, unit="GB")


GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "lines": line_integrals,
    "polychromatic": polychromatic,
    "water": water_disk,
    "inserts": inserts,
    "noise": noise,
    "starvation": starvation,
    "scatter": scatter,
    "presets": presets,
    "segmentation": segmentation,
    "speed": speed,
}


def write(path: Path, rows: Sequence[Row]) -> None:
    """What ``ctmar results add`` takes: a table a group."""
    groups = {
        group: [row for row in rows if row.group == group] for group in dict.fromkeys(r.group for r in rows)
    }
    tables = [
        Table(
            group,
            ["what", "measured", "unit", "bounds", "held"],
            [
                [
                    row.name,
                    row.value,
                    row.unit,
                    _bounds(row),
                    ("yes" if row.passed else "MISSED") if _bounds(row) else "",
                ]
                for row in own
            ],
            ["", ".4g", "", "", ""],
        )
        for group, own in groups.items()
    ]
    write_measured(
        path,
        "physics",
        "The scanner held to closed forms and an independent simulation",
        made_now(command_line(), "phantoms in closed form; a procedural spine", fingerprint({"physics": 1})),
        tables,
        "512 × 512 pixels of 0.7 mm, 720 views, scanner=standard where nothing else is said",
        rows=[asdict(row) | {"passed": row.passed} for row in rows],
    )


def _bounds(row: Row) -> str:
    if row.low is row.high is None:
        return ""
    return " to ".join("" if end is None else f"{end:g}" for end in (row.low, row.high)).strip()


def main() -> int:
    """Measures, prints and writes; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, " + ",".join(GROUPS))
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in GROUPS]:
        parser.error(f"--only must name some of {', '.join(GROUPS)}, got {unknown[0]!r}")
    rows = []
    # The speed goes first: what the others leave in memory is not its own.
    for group in sorted(chosen, key=lambda name: name != "speed"):
        for row in GROUPS[group]():
            rows.append(row)
            bounds = "" if row.low is row.high is None else f"[{row.low}, {row.high}]"
            verdict = ("ok" if row.passed else "MISSED") if bounds else ""
            print(
                f"{row.group:14}{row.name:48}{row.value:12.5g} {row.unit:3} {bounds:20} {verdict}", flush=True
            )
    if options.json:
        write(options.json, rows)
    return int(not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
