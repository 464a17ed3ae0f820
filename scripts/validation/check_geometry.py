"""Measures how fans and helices become parallel beams: errors, slice widths, what a quarter bin gains.

``rows()`` gives what the table holds; the command prints it and fails where a bound is missed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.geometry import FanBeam, HelicalFan, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.operators.helical import INTERPOLATIONS, covering_helix, rebin_helical_to_parallel
from ctmar.operators.rebinning import positions_mm, rebin_fan_to_parallel
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured

Floats = NDArray[np.float64]
Projected = Callable[[Floats, Floats, Floats | float], Floats]
"""Exact line integrals on rays (θ, s) at z."""

CLINICAL = FanBeam(984, 888, 1.0239, 541.0, 408.075, "arc", 1.25 * 1.0239)
FANS = {
    "arc": replace(CLINICAL, det_offset_mm=0.0),
    "arc, 1 1/4 bins off": CLINICAL,
    "flat": FanBeam(984, 970, 1.0239, 541.0, 408.075, "flat"),
    "flat, half a bin off": FanBeam(984, 970, 1.0239, 541.0, 408.075, "flat", 0.512),
}
BLOBS = (
    (0.0, 0.0, 70.0, 4.0),
    (90.0, 40.0, 22.0, 1.0),
    (-60.0, -95.0, 18.0, -0.8),
    (120.0, -60.0, 15.0, 0.6),
)
DISKS = ((10.0, 0.0, 150.0, 0.020), (80.0, 50.0, 20.0, 0.012), (-70.0, -60.0, 30.0, -0.006))
WATER = 0.020
"""1/mm; HU of the disks are relative to it."""


class Row(NamedTuple):
    """A line of the table; it holds where ``low <= value <= high``."""

    name: str
    value: float
    unit: str
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the value lies within its bounds."""
        return self.low <= self.value <= self.high


def smooth(theta: Floats, s: Floats, z: Floats | float = 0.0) -> Floats:
    """Gaussians up to 160 mm off the axis; x, y, width in mm and the height of their line integrals."""
    parts = (
        a * np.exp(-((s - x * np.cos(theta) - y * np.sin(theta)) ** 2) / 2 / w**2) for x, y, w, a in BLOBS
    )
    return sum(parts, np.zeros(1)) + 0.0 * z


def changing(theta: Floats, s: Floats, z: Floats | float = 0.0) -> Floats:
    """The same with one more that comes and goes over 20 mm of z."""
    across = s - 40 * np.cos(theta) - 70 * np.sin(theta)
    return smooth(theta, s) + np.sin(2 * np.pi * np.asarray(z) / 20) * np.exp(-(across**2) / 2 / 16**2)


def disks(theta: Floats, s: Floats, z: Floats | float = 0.0) -> Floats:
    """A body of 300 mm and two disks in it, all off the axis."""
    chords = (
        2 * mu * np.sqrt(np.clip(r**2 - (s - x * np.cos(theta) - y * np.sin(theta)) ** 2, 0, None))
        for x, y, r, mu in DISKS
    )
    return sum(chords, np.zeros(1)) + 0.0 * z


def on_fan(fan: FanBeam | HelicalFan, of: Projected, aperture: int = 1) -> Tensor:
    """What a fan or a helix measures: means over ``aperture`` rays a bin."""
    fine = fan.refine(aperture)
    one, z = (fine, 0.0) if isinstance(fine, FanBeam) else (fine.fan, fine.z_mm[:, None])
    theta = fine.theta[:, None] - one.gamma
    s = np.broadcast_to(one.src_radius_mm * np.sin(one.gamma), theta.shape)
    return torch.from_numpy(of(theta, s, z)).unflatten(-1, (-1, aperture)).mean(-1)


def on_parallel(beam: ParallelBeam, of: Projected, z: float = 0.0) -> Tensor:
    """What parallel beams would measure."""
    return torch.from_numpy(of(beam.theta[:, None], positions_mm(beam), z))


def _share(got: Tensor, truth: Tensor) -> float:
    """Root mean square error in % of the maximum."""
    return float((got - truth).square().mean().sqrt() / truth.max() * 100)


def _coarser(fan: FanBeam, factor: int) -> FanBeam:
    spacing, offset = fan.det_spacing_mm * factor, fan.det_offset_mm * factor
    views, bins = fan.num_angles // factor, fan.det_count // factor
    return FanBeam(views, bins, spacing, fan.src_radius_mm, fan.det_radius_mm, fan.detector, offset)


def fan_rows() -> Iterator[Row]:
    """Fan to parallel, RMSE of a smooth phantom; at an eighth, a quarter of the sampling, and at full."""
    for name, fan in FANS.items():
        errors = []
        for factor in (8, 4, 1):
            part = _coarser(fan, factor)
            beam = part.parallel(360)
            errors.append(
                _share(rebin_fan_to_parallel(on_fan(part, smooth), part, beam), on_parallel(beam, smooth))
            )
            yield Row(f"fan to parallel, {name}, {part.num_angles} views", errors[-1], "% of max", 0, 1)
        yield Row(
            f"fan to parallel, {name}, twice as fine errs times", errors[1] / errors[0], "ratio", 0, 0.5
        )
        yield Row(f"fan to parallel, {name}, both projected from pixels", _projected(fan), "% of max", 0, 1)
    short = replace(FANS["arc"], num_angles=660, angles=tuple(np.arange(660) * 2 * np.pi / 984))
    beam = short.parallel(360)
    got = rebin_fan_to_parallel(on_fan(short, smooth), short, beam)
    yield Row("fan to parallel, arc, 241° of views", _share(got, on_parallel(beam, smooth)), "% of max", 0, 1)


def _projected(fan: FanBeam) -> float:
    """RMSE in % of the maximum of an image's rebinned fan projections to its parallel ones."""
    grid, beam = ImageGrid((512, 512), 0.7), ParallelBeam(180, 729, 0.7)
    x = (torch.arange(512, dtype=torch.float32) - 255.5) * 0.7
    image = sum(
        (a * torch.exp(-((x - cx) ** 2 + (-x[:, None] - cy) ** 2) / 2 / w**2) for cx, cy, w, a in BLOBS),
        torch.zeros(()),
    )
    seen = RayTransform(grid, fan).forward(image)
    return _share(rebin_fan_to_parallel(seen, fan, beam), RayTransform(grid, beam).forward(image))


def helical_rows() -> Iterator[Row]:
    """Helix to one z, RMSE of a phantom that changes in z, falling with the feed."""
    fan = _coarser(FANS["arc"], 2)
    beam, z = fan.parallel(360), 3.0
    truth = on_parallel(beam, changing, z)
    for method in INTERPOLATIONS:
        errors = []
        for feed in (5.0, 2.5):
            helix = covering_helix(fan, feed, feed, (z, z), beam, method)
            got = rebin_helical_to_parallel(on_fan(helix, changing), helix, beam, z, method)
            errors.append(_share(got, truth))
            yield Row(f"helix to parallel, {method}, feed {feed:g} mm", errors[-1], "% of max", 0, 1)
        yield Row(
            f"helix to parallel, {method}, half the feed errs times", errors[1] / errors[0], "ratio", 0, 0.5
        )
    for method, width in (("360LI", 1.27), ("180LI", 1.00)):
        yield Row(
            f"slice width at pitch 1, {method}", slice_width(method), "slices", width - 0.02, width + 0.02
        )


def slice_width(method: str) -> float:
    """Full width at half maximum of the slice sensitivity on the axis at pitch 1, in collimated slices."""
    fan, beam = FanBeam(984, 3, 1.0, 541.0, 408.0, "arc"), ParallelBeam(246, 1, 1.0)
    z = np.arange(-1.5, 1.5, 0.01)
    helix = covering_helix(fan, 1.0, 1.0, (z[0], z[-1]), beam, method)
    thin = torch.as_tensor(np.abs(helix.z_mm) < 0.5, dtype=torch.float64)[:, None].expand(helix.shape)
    profile = [float(rebin_helical_to_parallel(thin, helix, beam, at, method, "linear").mean()) for at in z]
    return float((np.array(profile) > max(profile) / 2).sum() * 0.01)


def image_rows() -> Iterator[Row]:
    """FBP of disks off the axis: HU in the disks' insides, and all pixels' error beside parallel beams'."""
    grid = ImageGrid((512, 512), 0.7)
    truth, inside = _raster(grid)
    beam = ParallelBeam(720, 729, 0.7)
    parallel = _error(RayTransform(grid, beam).fbp(_fine(beam)), truth)
    for name in ("arc", "arc, 1 1/4 bins off", "flat"):
        p = rebin_fan_to_parallel(on_fan(FANS[name], disks, 4).float(), FANS[name], beam)
        image = RayTransform(grid, beam).fbp(p)
        for n, where in enumerate(inside):
            off = float((image - truth)[where].mean()) / WATER * 1000
            yield Row(f"FBP of rebinned {name}, mean error in disk {n}", off, "HU", -1, 1)
        yield Row(
            f"FBP of rebinned {name}, RMSE to parallel beams'",
            _error(image, truth) / parallel,
            "ratio",
            0,
            1.1,
        )


def _fine(beam: ParallelBeam) -> Tensor:
    fine = beam.refine(4)
    return on_parallel(fine, disks).unflatten(-1, (-1, 4)).mean(-1).float()


def _error(image: Tensor, truth: Tensor) -> float:
    return float((image - truth).square().mean().sqrt())


def _raster(grid: ImageGrid) -> tuple[Tensor, list[Tensor]]:
    """The disks on 8 × 8 points a pixel, and where each has its own value 5 mm from any edge."""
    fine = grid.refine(8)
    x = torch.from_numpy((np.arange(fine.shape[1]) - (fine.shape[1] - 1) / 2) * fine.spacing_mm).float()
    distance = [torch.hypot(x - cx, -x[:, None] - cy) - r for cx, cy, r, _ in DISKS]
    image = sum((mu * (d < 0) for d, (*_, mu) in zip(distance, DISKS, strict=True)), torch.zeros(()))
    truth = torch.nn.functional.avg_pool2d(image[None], 8)[0]
    coarse = [torch.nn.functional.avg_pool2d(d[None], 8)[0] for d in distance]
    insides = [d < -5 for d in coarse]
    insides[0] = insides[0] & (coarse[1] > 5) & (coarse[2] > 5)
    return truth, insides


def gabor(frequency: float) -> Projected:
    """A wave of a frequency in 1/mm in a Gaussian window of 4 mm, 22 mm off the axis; exact projections."""

    def project(theta: Floats, s: Floats, z: Floats | float = 0.0) -> Floats:
        along, w = s - 20 * np.cos(theta) - 10 * np.sin(theta), 4.0
        turn = theta - 0.4
        wave = np.cos(2 * np.pi * frequency * np.cos(turn) * along) * np.exp(
            -2 * (np.pi * frequency * w * np.sin(turn)) ** 2
        )
        return np.sqrt(2 * np.pi) * w * np.exp(-(along**2) / 2 / w**2) * wave

    return project


def quarter(frequency: float, offset_bins: float, halves: bool) -> tuple[float, float]:
    """How much of a wave is left in the image, and what else is there; both in % of the wave.

    Args:
        frequency: In 1/mm.
        offset_bins: The detector's offset.
        halves: Whether the fan is rebinned to bins half as wide as its own.
    """
    fan = FanBeam(984, 200, 1.0239, 541.0, 408.075, "arc", offset_bins * 1.0239)
    beam = fan.parallel(1440, fan.iso_spacing_mm / (2 if halves else 1))
    grid = ImageGrid((320, 320), 0.2)
    image = RayTransform(grid, beam).fbp(rebin_fan_to_parallel(on_fan(fan, gabor(frequency), 8), fan, beam))
    at = (torch.arange(320, dtype=torch.float64) - 159.5) * 0.2
    x, y = at[None, :] - 20, -at[:, None] - 10
    wave = torch.cos(2 * np.pi * frequency * (x * np.cos(0.4) + y * np.sin(0.4))) * torch.exp(
        -(x**2 + y**2) / 32
    )
    left = float((image * wave).sum() / wave.square().sum())
    rest = float((image - left * wave).square().sum().sqrt() / wave.square().sum().sqrt())
    return left * 100, rest * 100


def quarter_rows() -> Iterator[Row]:
    """A wave of 1.2 lp/mm on bins 0.58 mm apart on the axis, which alone carry 0.86 lp/mm."""
    cases = {
        "no offset, own bins": (0.0, False, 0, 100),
        "no offset, half bins": (0.0, True, 0, 100),
        "1/4 bin off, own bins": (0.25, False, 0, 100),
        "1/4 bin off, half bins": (0.25, True, 20, 100),
        "1 1/4 bins off, half bins": (1.25, True, 20, 100),
    }
    for name, (offset, halves, low, high) in cases.items():
        left, rest = quarter(1.2, offset, halves)
        yield Row(f"1.2 lp/mm, {name}: wave left", left, "%", low, high)
        yield Row(f"1.2 lp/mm, {name}: false patterns", rest, "%", 0, 8 if low else 100)


def rows() -> Iterator[Row]:
    """All lines of the table."""
    for part in (fan_rows, helical_rows, image_rows, quarter_rows):
        yield from part()


def write(path: Path, rows: Sequence[Row]) -> None:
    """What ``ctmar results add`` takes."""
    shown = [
        [row.name, row.value, row.unit, f"{row.low:g} to {row.high:g}", "yes" if row.holds else "MISSED"]
        for row in rows
    ]
    write_measured(
        path,
        "geometry",
        "Fans and helices as parallel beams",
        made_now(command_line(), "smooth phantoms, disks and waves in closed form"),
        [Table("All rows", ["what", "measured", "unit", "bounds", "held"], shown, ["", ".3g", "", "", ""])],
        "rebinned sinograms and their images against exact ones",
    )


def main() -> int:
    """Prints the table; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    missed, found = 0, []
    for row in rows():
        found.append(row)
        missed += not row.holds
        bound = f"{row.low:g} … {row.high:g}"
        print(
            f"{row.name:62s} {row.value:10.3g} {row.unit:9s} {bound:16s} {'' if row.holds else 'MISSED'}",
            flush=True,
        )
    if given.json is not None:
        write(given.json, found)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
