"""What a hospital has of a case: stored images, the metal found in them, their projections.

Mask, trace and line integrals are those that the correction's own path gives for the same images.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ctmar.stored.found
from ctmar.case import Case, Scan
from ctmar.data.scanning import Scanning
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR
from ctmar.operators import RayTransform
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Scanner, Tube
from ctmar.scenes.generators import RealisticGenerator
from ctmar.stored import BrightVoxels, MetalRule, StoredScan, find_metal, stored_scan
from ctmar.stored.metal import GROWN_SHARE
from ctmar.stored.virtual import TRACE_EPSILON_MM
from ctmar.units import hu_to_mu, mu_to_hu
from tests.data.sources import with_source

SPINE = ProceduralSpine({"train": 2, "val": 1, "test": 1}, ("L1", "L2", "L3"), (2.0, 2.0, 3.0))
SMALL = {"grid": ImageGrid((64, 64), 5.6), "beam": ParallelBeam(48, 93, 5.6)}
GRID, BEAM = ImageGrid((128, 128), 2.8), ParallelBeam(180, 185, 2.8)
RAY = RayTransform(GRID, BEAM)
SCANNER = Scanner(Tube(filtration_mm={"Cu": 0.2}))
FILLS = {"li": LI(), "nmar": NMAR()}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Cases are made on one thread; what they are held against has to be too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def simulator(**changes: object) -> Simulator:
    settings: dict = {"scanner": Scanner(), "fills": FILLS} | SMALL | changes
    return Simulator(SPINE, RealisticGenerator(), **with_source(settings))


def stored_images(sinogram: Tensor, made: Simulator) -> Tensor:
    """The images of a single case as a scanner stores them, ``(slice, row, column)``."""
    image = mu_to_hu(made.ray.fbp(sinogram[0]), made.scanner.mu_water).round()
    return image if made.source.extended_scale else image.clamp(-1024, 3071)


def by_the_correction(images: Tensor, made: Simulator, high_hu: float | None = None) -> StoredScan:
    """What the correction makes of stored images."""
    voxels = BrightVoxels()
    for image in images.numpy():
        voxels.add(image)
    rule = voxels.rule() if high_hu is None else MetalRule(high_hu, GROWN_SHARE * high_hu)
    area_mm2 = made.ray.grid.spacing_mm**2
    bright = np.stack([find_metal(image, area_mm2, rule) for image in images.numpy()])
    clipped = voxels.clipped(rule)
    return stored_scan(images, torch.from_numpy(bright), made.ray, made.scanner.mu_water, clipped=clipped)


def disk(x: float, y: float, radius: float) -> np.ndarray:
    c = (np.arange(256) - 127.5) * 1.4
    distance = np.hypot(c[None, :] - x, -c[:, None] - y)
    return np.clip(0.5 - (distance - radius) / 1.4, 0, 1).astype(np.float32)


def of_disks(**changes: object) -> Simulator:
    settings: dict = {"slices": 1, "metal": "threshold", "metal_threshold_hu": 2500.0} | changes
    return Simulator(SPINE, RealisticGenerator(), SCANNER, GRID, BEAM, **with_source(settings))


@pytest.fixture(scope="module")
def disks() -> tuple[Scan, Tensor]:
    """Water with a large piece of steel and a wire that a threshold misses; the target."""
    metal = disk(20, 10, 6) + disk(-60, -20, 0.5)
    fine = RayTransform(GRID.refine(2), BEAM.refine(2))
    hu = 1000 * disk(0, 0, 130) - 1000
    made = SCANNER.acquire(hu[None], {"316L": metal[None]}, fine, [np.random.SeedSequence(0)])
    scan = Scan(
        measured=made.measured[None],
        metal_trace=made.metal_trace[None],
        metal_mask=torch.zeros(1, 1, 128, 128, dtype=torch.bool),
        metal_path_mm=made.metal_path_mm[None],
        mu_water=torch.tensor([SCANNER.mu_water]),
        ray=RAY,
    )
    return scan, made.clean[None]


def seen_images(made: Simulator, disks: tuple[Scan, Tensor], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The images that the simulator hands to the correction's path."""
    handed = []

    def watched(images: Tensor, *args: object, **options: object) -> StoredScan:
        handed.append(images)
        return stored_scan(images, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ctmar.stored.found, "stored_scan", watched)
    made._as_found(*disks, made.scanner, "ram-lak", bool(made.source.extended_scale))
    (images,) = handed
    return images


def test_the_stored_image_holds_whole_numbers_of_twelve_bits(disks, monkeypatch) -> None:
    stored = seen_images(of_disks(), disks, monkeypatch)
    assert stored.shape == (1, 128, 128)
    assert torch.equal(stored, stored.round())
    assert stored.min() >= -1024 and stored.max() == 3071


def test_an_extended_scale_keeps_the_metals_own_values(disks, monkeypatch) -> None:
    stored = seen_images(of_disks(), disks, monkeypatch)
    extended = seen_images(of_disks(extended_scale=True), disks, monkeypatch)
    assert torch.equal(extended, extended.round())
    assert extended.max() > 5000
    assert torch.equal(extended.clamp(-1024, 3071), stored)


def test_the_trace_is_that_of_the_mask_and_what_it_misses_is_left(disks) -> None:
    scan, clean = disks
    seen, target = of_disks()._as_found(scan, clean, SCANNER, "ram-lak", False)
    assert 10 < seen.metal_mask.sum() < 30  # 113 mm² on pixels of 7.8 mm²; the wire is not among them
    path = RAY.forward(seen.metal_mask.float())
    covered = path > TRACE_EPSILON_MM
    grown = covered.clone()
    grown[..., 1:] |= covered[..., :-1]
    grown[..., :-1] |= covered[..., 1:]
    assert torch.equal(seen.metal_trace, grown)
    assert torch.equal(seen.measured, scan.measured)
    assert torch.equal(target[~grown], scan.measured[~grown])
    both, missed = grown & scan.metal_trace, scan.metal_trace & ~grown
    assert torch.equal(target[both], clean[both])
    assert missed.any() and torch.equal(target[missed], scan.measured[missed])
    assert torch.equal(seen.metal_path_mm, torch.where(grown, path, 0.0))


def test_reprojection_shows_the_stored_image_again(disks) -> None:
    scan, clean = disks
    made = of_disks(source="image")
    stored, stored_clean = (stored_images(sinogram, made) for sinogram in (scan.measured, clean))
    seen, target = made._as_found(scan, clean, made.scanner, "ram-lak", bool(made.source.extended_scale))
    trace = seen.metal_trace
    whole, metal_free = (
        RAY.forward(hu_to_mu(image, SCANNER.mu_water))[None] for image in (stored, stored_clean)
    )
    assert torch.equal(seen.measured[trace], whole[trace])
    assert torch.equal(target[~trace], seen.measured[~trace])
    assert torch.equal(target[trace], metal_free[trace])
    # Off the trace the metal, 14 pixels at 3071 HU, is taken out before the image is projected.
    bare = by_the_correction(stored, made, 2500.0).bare[None]
    assert torch.equal(seen.measured[~trace], bare[~trace])
    torch.testing.assert_close(seen.measured[~trace], whole[~trace], rtol=0, atol=0.02)


@pytest.mark.parametrize("threshold_hu", [None, 1500.0])
@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("slices", [1, 3])
def test_an_image_case_is_what_the_correction_makes_of_the_stored_images(
    slices: int, extended: bool, threshold_hu: float | None
) -> None:
    options = {"slices": slices, "extended_scale": extended, "metal_threshold_hu": threshold_hu}
    made = simulator(source="image", **options)
    true = simulator(slices=slices).case("train", 0)
    found = by_the_correction(stored_images(true.scan.measured, made), made, threshold_hu).scan
    case = made.case("train", 0)
    assert case.scan.metal_mask.any()
    for name in ("metal_mask", "metal_trace", "metal_path_mm", "measured"):
        assert torch.equal(getattr(case.scan, name), getattr(found, name)), name
    assert torch.equal(case.scan.fills["nmar"], found.fills["nmar"])
    assert torch.equal(case.scan.fills["li"], LI().complete(found).sinogram)
    off = ~case.scan.metal_trace
    assert torch.equal(case.truth.clean[off], case.scan.measured[off])
    assert not (case.truth.body_mask & true.scan.metal_mask).any()
    assert torch.equal(case.truth.reference_hu, true.truth.reference_hu)
    (told,) = case.truth.parameters
    assert (told["source"], told["metal_from"]) == ("image", "threshold")


@pytest.mark.parametrize("extended", [False, True])
def test_a_raw_case_keeps_its_sinogram_where_metal_is_found_in_its_image(extended: bool) -> None:
    options = {"slices": 1, "extended_scale": extended}
    made = simulator(metal="threshold", **options)
    true, raw = simulator(slices=1).case("train", 0), made.case("train", 0)
    image = simulator(source="image", **options).case("train", 0)
    assert torch.equal(raw.scan.measured, true.scan.measured)
    for name in ("metal_mask", "metal_trace", "metal_path_mm"):
        assert torch.equal(getattr(raw.scan, name), getattr(image.scan, name)), name
    trace = raw.scan.metal_trace
    assert torch.equal(raw.truth.clean[~trace], raw.scan.measured[~trace])
    known = trace & true.scan.metal_trace
    assert known.any() and torch.equal(raw.truth.clean[known], true.truth.clean[known])
    # The fills are the raw sinogram's own, not those of the stored image.
    for name, method in FILLS.items():
        assert torch.equal(raw.scan.fills[name], method.complete(replace(raw.scan, fills={})).sinogram)
    (told,) = raw.truth.parameters
    assert (told["source"], told["metal_from"]) == ("raw", "threshold")


def test_a_given_threshold_is_the_one_that_is_used() -> None:
    low, high = (
        simulator(slices=1, metal="threshold", metal_threshold_hu=hu).case("train", 0).scan.metal_mask
        for hu in (1500.0, 2900.0)
    )
    assert (high & ~low).sum() == 0 and low.sum() > high.sum() > 0


def covered_by(case: Case, made: Simulator) -> bool:
    """Whether every ray through the metal that was found belongs to the trace."""
    path = made.ray.forward(case.scan.metal_mask.float())
    return bool(case.scan.metal_trace[path > TRACE_EPSILON_MM].all())


@pytest.mark.parametrize("source", ["raw", "image"])
def test_the_trace_covers_the_metal_that_was_found(source: str) -> None:
    made = simulator(source=source, metal="threshold", extended_scale=True)
    for index in range(3):
        case = made.case("val", index)
        assert covered_by(case, made) and (case.scan.metal_path_mm[~case.scan.metal_trace] == 0).all()


def test_clipping_takes_metal_out_of_its_own_rays_and_an_extended_scale_keeps_it() -> None:
    common = {"slices": 1, "metal_threshold_hu": 1500.0}
    raw = simulator(metal="threshold", **common).case("train", 0).scan
    image = simulator(source="image", **common).case("train", 0).scan
    assert torch.equal(raw.metal_mask, image.metal_mask) and torch.equal(raw.metal_trace, image.metal_trace)
    assert not torch.equal(image.measured, raw.measured)
    core = image.metal_path_mm > 8
    assert image.measured[core].mean() < 0.95 * raw.measured[core].mean()
    # With an extended scale it stays, and what the image projects to is what was measured.
    extended = simulator(source="image", extended_scale=True, **common).case("train", 0).scan
    assert extended.measured[core].mean() == pytest.approx(float(raw.measured[core].mean()), rel=0.02)
    # Either way nearly the same pixels are found to be metal.
    both = (extended.metal_mask & image.metal_mask).sum()
    assert both > 0.6 * max(extended.metal_mask.sum(), image.metal_mask.sum()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("anatomy", ["thorax", "abdomen"])
def test_the_threshold_finds_screws_in_real_ct(
    anatomy: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra import compose, initialize_config_dir

    from ctmar.config.build import build_simulator
    from ctmar.config.composing import config_dir

    monkeypatch.setenv("CTMAR_DATA", str(data_dir))
    cases = {}
    for metal in ("scene", "threshold"):
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            choices = [f"anatomy={anatomy}", "geometry=medium", f"data.metal={metal}", "data.fills=[]"]
            cfg = compose("train", overrides=[*choices, f"paths.output_dir={tmp_path}"])
        cases[metal] = build_simulator(cfg, 1).case("test", 1)
    true, found = (cases[metal].scan.metal_mask for metal in ("scene", "threshold"))
    dice = 2 * (true & found).sum() / (true.sum() + found.sum())
    trace = cases["scene"].scan.metal_trace
    share = (trace & cases["threshold"].scan.metal_trace).sum() / trace.sum()
    assert dice > 0.8
    assert share > 0.88


def test_a_drawn_scale_is_one_or_the_other_case_by_case() -> None:
    drawn, cut, whole = (simulator(source="image", slices=1, extended_scale=e) for e in (None, False, True))
    seen = set()
    for index in range(6):
        extended = drawn._is_extended("train", index)
        wanted = (whole if extended else cut).case("train", index)
        assert torch.equal(drawn.case("train", index).scan.measured, wanted.scan.measured)
        seen.add(extended)
    assert seen == {False, True}


def test_a_scan_stores_images_by_a_filter_of_its_own() -> None:
    def made(own: str | None, **more: object) -> Case:
        scans = {"one": Scanning(Scanner(), filter=own)}
        return simulator(source="image", slices=1, scans=scans, **more).case("train", 0)

    own, run = made("hann"), made(None, filter="hann")
    assert torch.equal(own.scan.measured, run.scan.measured)
    assert torch.equal(own.truth.reference_hu, run.truth.reference_hu)
    assert not torch.equal(own.scan.measured, made(None).scan.measured)
    with pytest.raises(CtmarError, match=r"filter must be null or one of ram-lak, .*, got 'soft'"):
        Scanning(Scanner(), filter="soft")
