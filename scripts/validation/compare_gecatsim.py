"""The scanner beside another simulator, gecatsim (XCIST), of the same phantoms: a table, and as JSON.

``scripts/validation/compare_gecatsim.py --json table.json`` where gecatsim (BSD-3, PyPI) is installed beside
ctmar; it is no part of ctmar, and nothing of it is copied. ``--record scans.npz`` keeps its sinograms,
``--recorded scans.npz`` reads them where it is not. Both scan ``scanner=clinical`` in its fan: cylinders of
water, with inserts, with a steel rod; both sinograms are corrected and reconstructed by the same code.

Two beams: ``shared`` is ctmar's own in both, so that all that differs is how it is computed; in ``own``
gecatsim has its tube, its 3 mm of aluminium and its detector (3 mm of Lumex behind 1 mm of graphite).
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import xraydb
from numpy.typing import NDArray

from ctmar.config.build import make
from ctmar.config.composing import composed
from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators import RayTransform
from ctmar.physics import Scanner, Water
from ctmar.physics.materials import MATERIALS, attenuation, named
from ctmar.physics.rays import Rays
from ctmar.physics.spectra import Spectrum
from ctmar.units import mu_to_hu

Array = NDArray[np.float64]
Scans = dict[str, Array]
"""``BEAM/SCAN`` with ``-ln(I / I0)``, ``(view, bin)``; ``own/spectrum`` with energies and detected photons;
``attenuation`` in 1/mm, ``(material, energy)`` of :data:`TABLED` at :data:`ENERGIES_KEV`."""
BEAMS = ("shared", "own")
GRID = ImageGrid((512, 512), 0.7)
WATER_MM = 150.0
INSERTS = {"PEEK": (90.0, 0.0), "muscle": (0.0, 90.0), "adipose": (-90.0, 0.0), "bone": (0.0, -90.0)}
"""Cylinders of this radius, their axes (x, y) in mm, y up."""
INSERT_MM = 14.0
ROD = ("316L", (60.0, 40.0), 5.0)
CHORDS_MM = (100.0, 200.0, 290.0)
WIDE_STEEL_MM = 9.5
WITHOUT = (
    "scanner.scatter.to_primary=0",
    "scanner.noise.current_modulation=0",
    "scanner.optics.slice_profile=null",
    "scanner.optics.detector_blur_mm=0",
)
"""Effects of ``scanner=clinical`` without a counterpart in gecatsim, or with one that is made otherwise."""
TABLED, ENERGIES_KEV = ("water", "bone", "316L"), (50.0, 70.0, 100.0)
SEED = 1
GAIN = 17.0
"""gecatsim's electrons a keV."""


@dataclass(frozen=True)
class Cylinder:
    """A cylinder across the slice; mm, y up."""

    material: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Setup:
    """What both scan with."""

    scanner: Scanner
    fan: FanBeam
    rays: Rays
    photons: float
    electronic: float
    focal_spot_mm: float
    bowtie: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure of both; ``error`` is its statistical standard error in ``theirs``."""

    beam: str
    name: str
    unit: str
    ours: float
    theirs: float
    error: float = 0.0


SCANS: dict[str, list[Cylinder]] = {
    "water": [Cylinder("water", 0, 0, WATER_MM)],
    "inserts": [
        Cylinder("water", 0, 0, WATER_MM),
        *(Cylinder(name, x, y, INSERT_MM) for name, (x, y) in INSERTS.items()),
    ],
    "rod": [Cylinder("water", 0, 0, WATER_MM), Cylinder(ROD[0], *ROD[1], ROD[2])],
}
NAMES = (*SCANS, "noisy water")


@lru_cache(maxsize=8)
def setup(views: int | None = None, noisy: bool = False, oversampling: int | None = None) -> Setup:
    """``scanner=clinical`` in ``geometry/acquisition=clinical``, the view order that of gecatsim's files."""
    quiet = () if noisy else ("scanner.noise.photons_per_ray=null",)
    given = ["scanner=clinical", "geometry/acquisition=clinical", *WITHOUT, *quiet]
    finer = () if oversampling is None else (f"scanner.optics.oversampling={oversampling}",)
    cfg = composed("train", [*given, *finer, "scanner.water.precorrection=false"])
    full = composed("train", given[:2])
    fan = make(cfg.geometry.acquisition)
    views = views or fan.num_angles
    fan = replace(fan, num_angles=views, angles=None, start_rad=math.pi, mirrored=True)
    scanner: Scanner = make(cfg.scanner)
    bowtie, noise = full.scanner.tube.bowtie, full.scanner.noise
    return Setup(
        scanner,
        fan,
        scanner.exposure.rays(fan.refine(scanner.oversampling)),
        float(noise.photons_per_ray),
        float(noise.electronic_noise),
        float(full.scanner.optics.focal_spot_mm),
        {"material": str(bowtie.material), "profile_mm": [list(map(float, p)) for p in bowtie.profile_mm]},
    )


def ours(views: int | None = None, oversampling: int | None = None) -> Scans:
    """The sinograms by name, ctmar's."""
    found = {}
    for name in NAMES:
        noisy = name.startswith("noisy")
        own = setup(views, noisy, oversampling)
        factor = own.scanner.oversampling
        fine = RayTransform(GRID.refine(factor), own.fan.refine(factor))
        water, *others = SCANS[name.removeprefix("noisy ")]
        hu = 1000.0 * _share(water, fine.grid) - 1000.0
        parts = {one.material: _share(one, fine.grid)[None] for one in others}
        scan = own.scanner.acquire(hu[None], parts, fine, [np.random.SeedSequence(SEED)])
        found[name] = scan.measured[0].double().numpy()
    return found


def _share(disk: Cylinder, grid: ImageGrid) -> NDArray[np.float32]:
    rows, columns = ((np.arange(n) - (n - 1) / 2) * grid.spacing_mm for n in grid.shape)
    distance = np.hypot(columns[None, :] - disk.x, -rows[:, None] - disk.y)
    return np.clip(0.5 - (distance - disk.radius) / grid.spacing_mm, 0.0, 1.0).astype(np.float32)


def require_gecatsim() -> Any:
    """The package, from the user's environment.

    Raises:
        CtmarError: It is not installed.
    """
    try:
        import gecatsim
    except ImportError as error:
        raise CtmarError(
            "gecatsim must be installed (pip install gecatsim) or its scans given (--recorded FILE),"
            f" got neither: {error}"
        ) from None
    return gecatsim


def theirs(views: int | None = None) -> Scans:
    """The sinograms by beam and name, gecatsim's.

    Raises:
        CtmarError: It is not installed.
    """
    tool, own = require_gecatsim(), setup(views)
    found: Scans = {}
    with tempfile.TemporaryDirectory(prefix="gecatsim-") as folder:
        for beam in BEAMS:
            for name in NAMES:
                print(f"gecatsim: {beam} {name}", file=sys.stderr, flush=True)
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    scan, spectrum = _their_scan(tool, own, beam, name, Path(folder))
                found[f"{beam}/{name}"] = scan
            if beam == "own":
                found["own/spectrum"] = spectrum
        from gecatsim.pyfiles.GetMu import GetMu

        files = [str(_material_file(name, Path(folder))) for name in TABLED]
        energies = np.array(ENERGIES_KEV, np.float32)
        found["attenuation"] = np.stack([np.asarray(GetMu(file, energies), float) for file in files]) / 10
    return found


def _their_scan(tool: Any, own: Setup, beam: str, name: str, folder: Path) -> tuple[Array, Array]:
    """One sinogram, and energies and photons that the detector sees through air, no bow-tie."""
    np.random.seed(SEED)
    ct, noisy = tool.CatSim(), name.startswith("noisy")
    _set_geometry(ct, own)
    _set_phantom(ct, SCANS[name.removeprefix("noisy ")], folder)
    ct.resultsName = str(folder / "scan")
    ct.physics.enableQuantumNoise = ct.physics.enableElectronicNoise = int(noisy)
    _set_beam(ct, own, beam, folder)
    # A first air scan without the bow-tie tells how many photons a bin detects: then as many as ours.
    ct.protocol.bowtie = ""
    cfg = ct.air_scan()
    middle = cfg.det.totalNumCells // 2
    photons = cfg.detFlux[middle] * cfg.sim.Wvec[middle]
    energies = np.asarray(cfg.sim.Evec, float)
    ct.protocol.spectrumScaling = own.photons / float(photons.sum())
    ct.scanner.eNoise = own.electronic * GAIN * float(energies @ photons / photons.sum())
    ct.protocol.bowtie = str(_bowtie_file(own, folder))
    for node in ("spec", "src", "det", "sim"):  # what the first scan left there would be kept
        setattr(ct.cfg, node, tool.pyfiles.CommonTools.CFG())
    ct.air_scan()
    ct.phantom_scan()
    air, scan = (np.fromfile(f"{ct.resultsName}.{kind}", np.float32) for kind in ("air", "scan"))
    bins = own.fan.det_count
    signal = scan.reshape(-1, bins).astype(float) / air.reshape(1, bins)
    floor = 1.0 / own.photons
    return -np.log(np.maximum(signal, floor)), np.stack([energies, photons])


def _set_geometry(ct: Any, own: Setup) -> None:
    fan, scanner, protocol, physics = own.fan, ct.scanner, ct.protocol, ct.physics
    scanner.sid, scanner.sdd = fan.src_radius_mm, fan.sdd_mm
    scanner.detectorColCount, scanner.detectorColSize = fan.det_count, fan.det_spacing_mm
    scanner.detectorColOffset = -fan.det_offset_mm / fan.det_spacing_mm
    scanner.detectorRowCount = scanner.detectorRowsPerMod = 1
    scanner.detectorColFillFraction = scanner.detectorRowFillFraction = 1.0
    scanner.detectionGain, scanner.focalspotShape = GAIN, "Uniform"
    scanner.focalspotWidth = own.focal_spot_mm / (1 - fan.src_radius_mm / fan.sdd_mm)
    scanner.focalspotLength = 0.01
    protocol.viewsPerRotation = protocol.viewCount = fan.num_angles
    protocol.stopViewId, protocol.rotationTime, protocol.mA = fan.num_angles - 1, float(fan.num_angles), 1.0
    physics.colSampleCount, physics.srcXSampleCount = 4, 4
    physics.rowSampleCount = physics.srcYSampleCount = physics.viewSampleCount = 1
    ct.phantom.projectorNumThreads = 1


def _set_beam(ct: Any, own: Setup, beam: str, folder: Path) -> None:
    if beam == "own":
        ct.protocol.spectrumFilename = "tungsten_tar10.0_120_filt.dat"
        ct.protocol.flatFilter = ["Al", 3.0, "Cu", 0.2]
        ct.physics.energyCount = 120
        return
    spectrum = own.scanner.spectrum
    photons = spectrum.weights / spectrum.energies_kev
    lines = [f"{e:.6f},{p:.9e}" for e, p in zip(spectrum.energies_kev, photons / photons.sum(), strict=True)]
    file = folder / "spectrum.dat"
    file.write_text("\n".join([str(len(lines)), *lines, "7.0", ""]), encoding="utf-8")
    ct.protocol.spectrumFilename, ct.protocol.flatFilter = str(file), []
    ct.protocol.spectrumUnit_mm = 1
    ct.physics.energyCount = len(lines)
    ct.scanner.detectorPrefilter, ct.scanner.detectorDepth = [], 1.0e5  # every photon is detected


def _bowtie_file(own: Setup, folder: Path) -> Path:
    """The bow-tie by fan angle, aluminium in cm."""
    file, gamma = folder / "bowtie.txt", np.linspace(-0.6, 0.6, 2401)
    points = np.asarray(own.bowtie["profile_mm"])
    thick = np.interp(np.abs(own.fan.src_radius_mm * np.sin(gamma)), points[:, 0], points[:, 1]) / 10
    np.savetxt(file, np.stack([gamma, thick, *3 * [np.zeros_like(gamma)]], 1), fmt="%.6f")
    return file


def _set_phantom(ct: Any, cylinders: list[Cylinder], folder: Path) -> None:
    """An analytic phantom; its materials are ctmar's compositions."""
    names = list(dict.fromkeys(one.material for one in cylinders))
    lines = ["materialList = {" + " ".join(f"'{_material_file(name, folder)}'" for name in names) + "};"]
    for n, one in enumerate(cylinders, 1):
        lines += [
            "",
            f"object.center({n},:) = [{one.x} {one.y} 0.0];",
            f"object.half_axes({n},:) = [{one.radius} {one.radius} 100.0];",
            f"object.euler_angs({n},:) = [0.0 0.0 0.0];",
            f"object.density({n}) = 1.0;",
            f"object.type({n}) = 2;",
            f"object.material({n}) = {names.index(one.material) + 1};",
            f"object.axial_lims({n},:) = [0 0];",
            f"object.shape({n}) = 0;",
            f"object.clip{{{n}}} = [];",
        ]
    file = folder / "phantom.ppm"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    ct.phantom.callback, ct.phantom.projectorCallback = "Phantom_Analytic", "C_Projector_Analytic"
    ct.phantom.filename = str(file)


def _material_file(name: str, folder: Path) -> Path:
    """A material's composition and density, as gecatsim reads them."""
    made, file = named(name, MATERIALS), folder / f"mat_{name}"
    shares = [f"{xraydb.atomic_number(symbol)} {share:.8f}" for symbol, share in made.mass_fractions]
    file.write_text("\n".join([str(len(shares)), f"{made.density_g_cm3:.6f}", *shares, ""]), encoding="utf-8")
    return file


def write_scans(file: Path, scans: Scans) -> None:
    """Keeps the sinograms of :func:`theirs`."""
    kept: dict[str, Any] = {name: scan.astype(np.float32) for name, scan in scans.items()}
    with file.open("wb") as out:
        np.savez_compressed(out, **kept)


def read_scans(file: Path) -> Scans:
    """The sinograms as :func:`write_scans` kept them.

    Raises:
        CtmarError: The file is none, or lacks one.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: np.asarray(archive[name], float) for name in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise CtmarError(f"--recorded must be a file that --record wrote, got {file}: {error}") from None
    check_scans(found, f"{file} must hold")
    return found


def check_scans(scans: Scans, what: str) -> None:
    """Refuses scans that are not those of :func:`theirs`.

    Raises:
        CtmarError: One is missing, or of another shape, or not finite.
    """
    names = [f"{beam}/{name}" for beam in BEAMS for name in NAMES]
    more = {"own/spectrum": None, "attenuation": (len(TABLED), len(ENERGIES_KEV))}
    missing = [name for name in (*names, *more) if name not in scans]
    if missing:
        raise CtmarError(f"{what} {', '.join([*names, *more])}, got no {missing[0]}")
    for name, wanted in more.items():
        if not np.isfinite(scans[name]).all() or (
            scans[name].shape != wanted if wanted else len(scans[name]) != 2
        ):
            raise CtmarError(
                f"{what} finite {name}, {wanted or 'energies and photons'}, got {scans[name].shape}"
            )
    shape = scans[names[0]].shape
    bins = setup().fan.det_count
    for name in names:
        scan = scans[name]
        if scan.shape != shape or scan.ndim != 2 or shape[1] != bins or not np.isfinite(scan).all():
            raise CtmarError(f"{what} finite sinograms (views, {bins}) of one shape, got {name} {scan.shape}")


def compared(scans: Scans, oversampling: int | None = None) -> list[Row]:
    """The figures of both.

    Args:
        scans: gecatsim's.
        oversampling: ctmar's pixels and sub-rays a pixel and a bin; None for the preset's.
    """
    views = scans["shared/water"].shape[0]
    own, mine = setup(views), ours(views, oversampling)
    rows = [
        Row(
            "tables",
            f"attenuation, {name}, {energy:g} keV",
            "1/mm",
            float(attenuation(name, [energy])[0]),
            float(mu),
        )
        for name, known in zip(TABLED, scans["attenuation"], strict=True)
        for energy, mu in zip(ENERGIES_KEV, known, strict=True)
    ]
    for beam in BEAMS:
        rays = own.rays if beam == "shared" else _rays_of(own, scans["own/spectrum"])
        other = {name: scans[f"{beam}/{name}"] for name in NAMES}
        told, found = _figures(own, own.rays, mine), _figures(own, rays, other)
        for (name, unit), (value, error) in found.items():
            rows.append(Row(beam, name, unit, told[name, unit][0], value, error))
    return rows


def _rays_of(own: Setup, spectrum: Array) -> Rays:
    """The bins under gecatsim's own beam, for its water precorrection."""
    energies, photons = spectrum
    weights = energies * photons
    beam = Spectrum(energies, weights / weights.sum(), photons / photons.sum())
    points = np.asarray(own.bowtie["profile_mm"])
    thick = np.interp(np.abs(own.rays.positions_mm), points[:, 0], points[:, 1])
    prefilter = np.exp(-thick[:, None] * attenuation(own.bowtie["material"], energies))
    return Rays(own.rays.positions_mm, own.rays.air, beam, own.rays.reference_kev, prefilter)


def _figures(own: Setup, rays: Rays, scans: Scans) -> dict[tuple[str, str], tuple[float, float]]:
    """Figures and their standard errors by name and unit."""
    s, theta = rays.positions_mm, _theta(own.fan)
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for chord in CHORDS_MM:
        at = math.sqrt(WATER_MM**2 - (chord / 2) ** 2)
        # Between bins on both sides: no bin lies there.
        value = np.mean(
            [np.interp(side * at, np.sort(s), scans["water"].mean(0)[np.argsort(s)]) for side in (1, -1)]
        )
        found[f"water, {chord:g} mm", "line integral"] = float(value), 0.0
    (_, (x, y), radius), added = ROD, scans["rod"] - scans["water"]
    across = 2 * np.sqrt(np.maximum(radius**2 - (s[None] - x * np.cos(theta) - y * np.sin(theta)) ** 2, 0))
    found[f"steel, {WIDE_STEEL_MM:g} to 10 mm, added", "line integral"] = (
        float(added[across > WIDE_STEEL_MM].mean()),
        0.0,
    )
    noise = scans["noisy water"] - scans["water"]
    for name, bins in (
        ("water, 280 mm and more", np.abs(s) < 53),
        ("air, 160 to 180 mm off", (s > 160) & (s < 180)),
    ):
        part = noise[:, bins]
        found[f"noise SD, {name}", "1e-3"] = (
            1e3 * float(part.std()),
            1e3 * float(part.std()) / math.sqrt(2 * part.size),
        )
    hu = {name: _image(own, rays, scan) for name, scan in scans.items()}
    found["CT number, water", "HU"] = _mean(hu["water"], 0, 0, 40), 0.0
    for name, (x, y) in INSERTS.items():
        found[f"CT number, {name}", "HU"] = _mean(hu["inserts"], x, y, INSERT_MM - 4), 0.0
    rough = (hu["noisy water"] - hu["water"])[_disk(0, 0, 40)]
    found["noise SD, image, middle", "HU"] = (
        float(rough.std()),
        float(rough.std()) / math.sqrt(2 * rough.size / 4),
    )
    streaks = hu["rod"] - hu["water"]
    (_, (x, y), radius) = ROD
    for low, high in ((3.0, 15.0), (15.0, 50.0)):
        ring = _disk(x, y, radius + high) & ~_disk(x, y, radius + low) & _disk(0, 0, WATER_MM - 5)
        found[f"streaks, SD {low:g} to {high:g} mm off", "HU"] = float(streaks[ring].std()), 0.0
        dark = np.percentile(streaks[ring], 5)
        found[f"streaks, 5th percentile {low:g} to {high:g} mm", "HU"] = float(dark), 0.0
    found["CT number, the rod's middle", "HU"] = _mean(hu["rod"], x, y, 2.5), 0.0
    return found


def _theta(fan: FanBeam) -> Array:
    """Direction ``(view, bin)`` of each ray's normal."""
    return np.asarray(fan.theta)[:, None] - fan.gamma[None]


def _image(own: Setup, rays: Rays, scan: Array) -> Array:
    corrected = Water()(torch.from_numpy(scan).float(), rays)
    image = RayTransform(GRID, own.fan).fbp(corrected)
    return mu_to_hu(image, own.scanner.mu_water).double().numpy()


def _disk(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = ((np.arange(n) - (n - 1) / 2) * GRID.spacing_mm for n in GRID.shape)
    return np.hypot(columns[None, :] - x, -rows[:, None] - y) <= radius


def _mean(image: Array, x: float, y: float, radius: float) -> float:
    return float(image[_disk(x, y, radius)].mean())


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as text; ``±`` is the statistical error of gecatsim's figure, where there is one."""
    yield f"{'beam':8}{'figure':38}{'unit':15}{'ctmar':>11}{'gecatsim':>11}{'±':>8}{'difference':>12}{'%':>8}"
    for row in rows:
        apart = row.ours - row.theirs
        error = f"{row.error:8.2g}" if row.error else " " * 8
        # A CT number has no zero that a share could be of.
        share = "" if row.name.startswith("CT number") else f"{100 * apart / row.theirs:+8.2f}"
        figures = f"{row.ours:11.5g}{row.theirs:11.5g}{error}{apart:+12.3g}{share}"
        yield f"{row.beam:8}{row.name:38}{row.unit:15}{figures}"


def main(words: list[str] | None = None) -> int:
    """Prints the table; 2 where something is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, help="of a turn; those of the preset where not given")
    parser.add_argument("--oversampling", type=int, help="ctmar's pixels and sub-rays a pixel and a bin")
    parser.add_argument("--record", type=Path, help="keep gecatsim's sinograms in this file (.npz)")
    parser.add_argument("--recorded", type=Path, help="read them from this file; gecatsim is not run")
    parser.add_argument("--json", type=Path, help="write the table there too")
    given = parser.parse_args(words)
    try:
        if given.views is not None and given.views < 16:
            raise CtmarError(f"--views must be 16 or more, got {given.views}")
        if given.recorded is not None:
            scans, version = read_scans(given.recorded), "recorded"
        else:
            scans, version = theirs(given.views), importlib.metadata.version("gecatsim")
            check_scans(scans, "gecatsim must give")
        if given.record is not None:
            write_scans(given.record, scans)
        rows = compared(scans, given.oversampling)
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in table(rows):
        print(line)
    if given.json is not None:
        told = {"gecatsim": version, "without": list(WITHOUT), "oversampling": given.oversampling}
        told["rows"] = [asdict(row) for row in rows]
        write_text(given.json, json.dumps(told, indent=2, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
