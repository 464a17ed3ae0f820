"""``ctmar correct`` where the truth is known and on real CT: ``python scripts/measure_clinical.py PART``.

``simulated`` scans bodies in fan beams on pixels half as wide, reconstructs them, and corrects the images
alone; ``series`` puts a construct into a real DICOM series the same way and writes it to ``FOLDER``;
``stent`` corrects the stent graft. Real CT is looked for in ``CTMAR_DATA``.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctmar.anatomy import read_anatomy
from ctmar.anatomy.landmarks import find_canal, find_pedicles
from ctmar.clinical import METHODS, BrightVoxels, correct
from ctmar.clinical.dicom_files import find_files
from ctmar.clinical.dicom_scan import DicomScan
from ctmar.clinical.job import Wish, correct_file
from ctmar.clinical.methods import MU_WATER, Classical, Method
from ctmar.clinical.virtual import trace_of, virtual_ray
from ctmar.completion import linear_interpolation, nmar
from ctmar.data.segmentation import with_segmented_metal
from ctmar.geometry import ImageGrid
from ctmar.implants import build, plan_construct
from ctmar.metrics import near_metal_mask
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition
from ctmar.runs.build import build_simulator, make
from ctmar.runs.cli import composed
from ctmar.runs.correct import method_from_checkpoint, pretrained, shipped
from ctmar.scenes import Scene
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU, mu_to_hu

SETS = (("thorax", "realistic", 6), ("procedural", "realistic", 4), ("thorax", "random", 4))


def config(*overrides: str) -> Any:
    """The training configuration with these overrides."""
    return composed("train", [*overrides, "paths.output_dir=."])


def simulated(
    methods: list[str | Method], clipped: bool = False, counts: tuple[int, ...] = (6, 4, 4)
) -> None:
    """Near-metal RMSE over the uncorrected image's, from images and from raw data with the same metal."""
    rows: dict[str, list[float]] = {"uncorrected": []}
    for (anatomy, data, _), count in zip(SETS, counts, strict=True):
        cfg = config(
            f"anatomy={anatomy}",
            f"data={data}",
            "geometry=large",
            "geometry/acquisition=clinical",
            "scanner=clinical",
        )
        simulator = build_simulator(cfg, 1)
        for index in range(count):
            for name, value in one_case(simulator, index, methods, clipped).items():
                rows.setdefault(name, []).append(value)
            print(
                f"{anatomy:10s} {data:9s} {index}  "
                + "  ".join(f"{name} {values[-1]:.0f}" for name, values in rows.items()),
                flush=True,
            )
    before = np.array(rows["uncorrected"])
    print(f"{'method':14s} {'mean':>6s} {'median':>6s} {'ratio of means':>14s} {'mean ratio':>10s}")
    for name, values in rows.items():
        after = np.array(values)
        print(
            f"{name:14s} {after.mean():6.1f} {np.median(after):6.1f} {after.mean() / before.mean():14.3f}"
            f" {(after / before).mean():10.3f}"
        )


def one_case(
    simulator: Any, index: int, methods: list[str | Method], clipped: bool = False
) -> dict[str, float]:
    """RMSE near metal by method; the images cut off at 12 bits where asked for."""
    sample, ray = simulator.case("test", index), simulator.ray
    mu_water, spacing = float(sample.mu_water), ray.grid.spacing_mm
    near = near_metal_mask(sample.body_mask, sample.metal_mask, spacing)[0].numpy()
    reference = sample.reference_hu[0].numpy()

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image - reference)[near] ** 2)))

    stored = mu_to_hu(ray.fbp(sample.measured), mu_water)[0].numpy().round()
    if clipped:
        stored = stored.clip(STORED_MIN_HU, STORED_MAX_HU)
    out = {"uncorrected": error(stored)}
    for method in methods:
        name = method if isinstance(method, str) else method.name
        out[name] = error(correct(stored[None], (spacing, spacing, 1.0), method=method)[0])
    from ctmar.clinical import find_metal

    bright = BrightVoxels()
    bright.add(stored)
    mask = torch.from_numpy(find_metal(stored, spacing**2, bright.rule()))[None]
    scan = Acquisition(
        sample.measured, sample.clean, sample.measured, sample.metal_trace, sample.metal_path_mm
    )
    trace = with_segmented_metal(scan, mask, ray, 0.1).metal_trace
    li = linear_interpolation(sample.measured, trace)
    for name, y in (("raw li", li), ("raw nmar", nmar(sample.measured, trace, mask, ray, mu_water, li))):
        image = mu_to_hu(ray.fbp(y), mu_water)[0].numpy()
        out[name] = error(np.where(mask[0].numpy(), stored, image))
    return out


def series(folder: Path) -> None:
    """Writes the real series with T12 instrumented, scanned in fan beams; and corrects it."""
    import pydicom

    data = Path(os.environ.get("CTMAR_DATA") or "../shared/data") / "dicom_series"
    scan = DicomScan(find_files(data / "ct"))
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


def stent(methods: list[str | Method]) -> None:
    """Streaks before and after, and the change by distance from metal, of the stent graft."""
    source = Path(os.environ.get("CTMAR_DATA") or "../shared/data") / "stent_graft" / "ct.nii.gz"
    for method in methods:
        with tempfile.TemporaryDirectory() as folder:
            record = correct_file(
                source,
                Path(folder) / "out.nii.gz",
                lambda clipped, m=method: as_method(m),
                Wish(),
                lambda line: None,
            )
        print(
            record["method"],
            record["ring_streaks_hu"],
            record["rms_change_hu"],
            f"{record['seconds']} s",
            flush=True,
        )


def as_method(method: str | Method) -> Method:
    """A method by name."""
    return Classical(method) if isinstance(method, str) else method


def off_trace(
    stored: np.ndarray, corrected: np.ndarray, metal: np.ndarray, spacing_mm: float
) -> tuple[float, float]:
    """RMS of the reprojected change on the trace and off it, as line integrals."""
    ray = virtual_ray(stored.shape, spacing_mm)
    trace = trace_of(ray.forward(torch.from_numpy(metal).float()))
    seen: Tensor = ray.forward(torch.from_numpy((corrected - stored).astype(np.float32)) * (MU_WATER / 1000))
    on, off = (float(seen[mask].square().mean().sqrt()) for mask in (trace, ~trace))
    return on, off


def main() -> None:
    """Runs the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("simulated", "series", "stent"))
    parser.add_argument("folder", nargs="?", type=Path, help="where series goes")
    parser.add_argument("--methods", default=",".join(METHODS), help="by name, with commas; pretrained too")
    parser.add_argument("--clipped", action="store_true", help="simulated: cut images off at 3071 HU")
    parser.add_argument("--checkpoint", type=Path, help="a network beside them")
    arguments = parser.parse_args()
    named = [name for name in arguments.methods.split(",") if name]
    weights = shipped(arguments.clipped)
    methods: list[str | Method] = [pretrained(weights) if name == "pretrained" else name for name in named]
    if arguments.checkpoint is not None:
        methods.append(method_from_checkpoint(arguments.checkpoint))
    if arguments.part == "series":
        if arguments.folder is None:
            parser.error("series needs a folder")
        series(arguments.folder)
    elif arguments.part == "simulated":
        simulated(methods, arguments.clipped)
    else:
        stent(methods)


if __name__ == "__main__":
    main()
