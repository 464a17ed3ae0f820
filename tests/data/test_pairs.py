"""A user's pairs: what is made of them is what the simulator makes of the same images and sinograms."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ctmar.case import Case, Scan, Truth
from ctmar.config.build import build_source
from ctmar.config.cases import case_settings
from ctmar.data import CaseSetup, CaseSource, Simulator, sinogram_case
from ctmar.data.cases import require_case, require_source
from ctmar.data.dataset import CaseDataset
from ctmar.data.encoding import digest, encode
from ctmar.data.module import MARDataModule
from ctmar.data.source import Source
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.jobs.correct import method_from_checkpoint
from ctmar.jobs.evaluate import run as evaluate_run
from ctmar.jobs.export import run as export_run
from ctmar.jobs.simulate import run as simulate_run
from ctmar.jobs.train import train
from ctmar.methods import LI, NMAR, Uncorrected
from ctmar.operators import RayTransform
from ctmar.pairs import PairedImages, PairedSinograms
from ctmar.pairs.resample import nearest_on_grid, on_grid
from ctmar.pairs.splits import divided
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Scanner
from ctmar.scenes.generators import RealisticGenerator
from ctmar.units import mu_to_hu
from tests.scans.dicom_maker import ct_slice, write
from tests.tiny_runs import Compose

GRID, BEAM = ImageGrid((64, 64), 5.6), ParallelBeam(48, 93, 5.6)
FILLS = {"li": LI(), "nmar": NMAR()}
WIDER = ParallelBeam(48, 95, 5.6)
SPINE = ProceduralSpine({"train": 2, "val": 1, "test": 1}, ("L1", "L2", "L3"), (2.0, 2.0, 3.0))
ALL = {"train": ["*"]}
COUNT = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Cases are made on one thread; what they are held against has to be too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def simulator(kind: str, slices: int = 1) -> Simulator:
    source = Source(kind=kind)
    return Simulator(
        SPINE, RealisticGenerator(), Scanner(), GRID, BEAM, slices=slices, source=source, fills=FILLS
    )


def setup_of(made: Simulator, **changes: Any) -> CaseSetup:
    return replace(CaseSetup(made.ray, made.scanner.mu_water, made.kvp, made.slices, made.fills), **changes)


RAW, IMAGE = simulator("raw"), simulator("image")
SETUP = setup_of(RAW)


def stored(sinogram: torch.Tensor) -> np.ndarray:
    """What a scanner stores, ``(slice, row, column)``."""
    image = mu_to_hu(RAW.ray.fbp(sinogram[0]), RAW.scanner.mu_water)
    return image.round().clamp(-1024, 3071).numpy().astype(np.int16)


def save(folder: Path, name: str, **arrays: np.ndarray) -> None:
    for part, array in arrays.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / part / f"{name}.npy", array)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``artifact`` and ``clean`` of the simulator's own stored images, ``00.npy`` …"""
    folder = tmp_path_factory.mktemp("images")
    for index in range(COUNT):
        case = RAW.case("train", index)
        pair = {"artifact": stored(case.scan.measured)[0], "clean": stored(case.truth.clean)[0]}
        save(folder, f"{index:02d}", **pair)
    return folder


@pytest.fixture
def copied(images: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own, to be spoiled."""
    return Path(shutil.copytree(images, tmp_path / "pairs"))


def pairs(folder: Path, setup: CaseSetup = SETUP, **options: Any) -> PairedImages:
    return PairedImages(
        setup, **({"artifact": folder / "artifact", "clean": folder / "clean", "splits": ALL} | options)
    )


def arrays_of(case: Case) -> dict[str, np.ndarray]:
    """All that can be known of a raw case, by the fields' names."""
    scan, truth = case.scan, case.truth
    told = {n: getattr(scan, n) for n in ("measured", "metal_trace", "metal_path_mm", "metal_mask")}
    told |= {n: getattr(truth, n) for n in ("clean", "reference_hu", "body_mask", "tissue_labels")}
    return {name: value[0].numpy() for name, value in told.items()} | {"mu_water": scan.mu_water.numpy()}


def same_scan(one: Scan, other: Scan) -> bool:
    told = ("ray", "fills", "deviations", "case_id", "kvp", "clipped")
    names = [f.name for f in fields(Scan) if f.name not in told]
    equal = all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)
    fills = one.fills.keys() == other.fills.keys() and all(
        torch.equal(fill, other.fills[name]) for name, fill in one.fills.items()
    )
    return (
        equal
        and fills
        and (one.kvp, one.clipped) == (other.kvp, other.clipped)
        and (one.ray.grid, one.ray.beam) == (other.ray.grid, other.ray.beam)
    )


def same_truth(one: Truth, other: Truth) -> bool:
    names = [f.name for f in fields(Truth) if f.name != "parameters"]
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_stored_images_give_the_scan_that_the_simulator_makes_of_them(images: Path) -> None:
    source = pairs(images)
    assert source.count("train") == COUNT
    for index in range(COUNT):
        case, wanted = source.case("train", index), IMAGE.case("train", index)
        assert wanted.scan.metal_trace.any()
        assert same_scan(case.scan, wanted.scan)
        assert torch.equal(case.truth.clean, wanted.truth.clean)
        clean_hu = np.load(images / "clean" / f"{index:02d}.npy")
        assert np.array_equal(case.truth.reference_hu[0, 0].numpy(), clean_hu)
        assert case.scan.case_id == (f"{index:02d}",)
    assert not same_scan(source.case("train", 0).scan, IMAGE.case("train", 1).scan)
    low = pairs(images, metal_threshold_hu=1200.0).case("train", 0).scan
    assert not same_scan(low, IMAGE.case("train", 0).scan)


def test_a_stack_gives_the_case_of_three_slices(tmp_path: Path) -> None:
    # One whose corners are not all cut off at one value: those of a file would be padding.
    case = simulator("raw", 3).case("train", 0)
    save(tmp_path, "stack", artifact=stored(case.scan.measured), clean=stored(case.truth.clean))
    made = simulator("image", 3)
    source = pairs(tmp_path, setup_of(made))
    middle = source.cases("train").index(("stack", 1))
    wanted = made.case("train", 0)
    found = source.case("train", middle)
    assert same_scan(found.scan, wanted.scan) and torch.equal(found.truth.clean, wanted.truth.clean)
    # Beyond the stack its outermost slice goes on.
    last = source.case("train", source.cases("train").index(("stack", 2))).scan
    assert torch.equal(last.metal_mask[:, 1], last.metal_mask[:, 2])


def test_slices_of_a_stack_without_metal_are_left_out(tmp_path: Path, images: Path) -> None:
    pair = {part: np.load(images / part / "00.npy") for part in ("artifact", "clean")}
    stack = {"artifact": [pair["clean"], pair["artifact"]], "clean": [pair["clean"]] * 2}
    save(tmp_path, "stack", **{part: np.stack(slices) for part, slices in stack.items()})
    source = pairs(tmp_path)
    assert source.cases("train") == [("stack", 1)]
    assert same_scan(source.case("train", 0).scan, pairs(images).case("train", 0).scan)
    save(tmp_path, "stack", metal_masks=np.stack([pair["artifact"] > 2000, pair["artifact"] > 2000]))
    assert len(pairs(tmp_path, metal_masks=tmp_path / "metal_masks").cases("train")) == 2


def test_raw_cases_come_back_bit_for_bit(tmp_path: Path) -> None:
    for index in range(3):
        arrays = arrays_of(RAW.case("train", index))
        save(tmp_path / "folders", f"{index}", **arrays)
        (tmp_path / "files").mkdir(exist_ok=True)
        np.savez(tmp_path / "files" / f"{index}.npz", **arrays)
    for layout in ("folders", "files"):
        source = PairedSinograms(SETUP, tmp_path / layout, splits=ALL)
        assert source.count("train") == 3
        for index in range(3):
            case, wanted = source.case("train", index), RAW.case("train", index)
            assert same_scan(case.scan, wanted.scan) and same_truth(case.truth, wanted.truth)
        assert not same_scan(source.case("train", 0).scan, RAW.case("train", 1).scan)


def test_what_is_not_known_of_a_sinogram_is_derived(tmp_path: Path) -> None:
    wanted = RAW.case("train", 0)
    arrays = arrays_of(wanted)
    case = sinogram_case(SETUP, arrays["measured"][0], arrays["clean"][0], arrays["metal_trace"][0], "a")
    for name in ("measured", "metal_trace"):
        assert torch.equal(getattr(case.scan, name), getattr(wanted.scan, name))
    assert torch.equal(case.truth.clean, wanted.truth.clean)
    found, known = case.scan.metal_mask, wanted.scan.metal_mask
    assert (found & known).sum() > 0.5 * known.sum()
    assert (case.scan.metal_path_mm[~case.scan.metal_trace] == 0).all() and case.scan.metal_path_mm.max() > 0
    error = case.truth.reference_hu - wanted.truth.reference_hu
    assert error[wanted.truth.body_mask].square().mean().sqrt() < 60
    assert case.truth.parameters[0]["metal_from"] == "threshold"
    # Off the trace the target is what was measured, whatever is given.
    noisy = arrays["clean"] + np.where(arrays["metal_trace"], 0, 0.01).astype(np.float32)
    again = sinogram_case(SETUP, arrays["measured"], noisy, arrays["metal_trace"], "a")
    assert torch.equal(again.truth.clean, wanted.truth.clean)


def test_masks_of_ones_own_are_the_metal(copied: Path) -> None:
    mask = RAW.case("train", 0).scan.metal_mask[0, 0].numpy()
    for index in range(COUNT):
        save(copied, f"{index:02d}", metal_masks=mask)
    case = pairs(copied, metal_masks=copied / "metal_masks").case("train", 0)
    assert np.array_equal(case.scan.metal_mask[0, 0].numpy(), mask)
    assert case.truth.parameters[0]["metal_from"] == "mask"
    assert not torch.equal(case.scan.metal_mask, pairs(copied).case("train", 0).scan.metal_mask)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".dcm"])
def test_image_files_give_what_arrays_give(images: Path, tmp_path: Path, suffix: str) -> None:
    for part in ("artifact", "clean"):
        (tmp_path / part).mkdir()
        for index in range(2):
            values = np.load(images / part / f"{index:02d}.npy")
            path = tmp_path / part / f"{index:02d}{suffix}"
            if suffix == ".dcm":
                header = ct_slice(values.astype(np.float32))
                header.PixelSpacing = [5.6, 5.6]
                write(header, path)
            else:
                image = sitk.GetImageFromArray(values[None])
                image.SetSpacing((5.6, 5.6, 2.0))
                sitk.WriteImage(image, str(path))
        (tmp_path / part / "readme.txt").write_text("not an image", encoding="utf-8")
    read, plain = pairs(tmp_path), pairs(images)
    assert read.count("train") == 2
    for index in range(2):
        one, other = read.case("train", index), plain.case("train", index)
        assert same_scan(one.scan, other.scan) and same_truth(one.truth, other.truth)


def test_images_of_another_pixel_size_come_onto_the_grid(tmp_path: Path, images: Path) -> None:
    fine = {p: np.kron(np.load(images / p / "00.npy"), np.ones((2, 2))) for p in ("artifact", "clean")}
    save(tmp_path, "00", **fine)
    case = pairs(tmp_path, spacing_mm=2.8).case("train", 0)
    coarse = pairs(images).case("train", 0)
    # Each pixel is four of the fine ones.
    for one, other in ((case.scan.measured, coarse.scan.measured), (case.truth.clean, coarse.truth.clean)):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(case.truth.reference_hu, coarse.truth.reference_hu)
    with pytest.raises(CtmarError, match="spacing_mm must be given for images of .128, 128. pixels"):
        pairs(tmp_path).case("train", 0)
    with pytest.raises(CtmarError, match="must lie within the run's grid of 358.4 × 358.4 mm"):
        pairs(tmp_path, spacing_mm=3.0).case("train", 0)


def test_a_plane_stays_a_plane_on_another_grid() -> None:
    grid = ImageGrid((20, 24), 3.0)

    def plane(shape: tuple[int, int], spacing: tuple[float, float]) -> np.ndarray:
        y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
        return (2.0 * y[:, None] - 3.0 * x[None] + 7).astype(np.float32)

    wanted = plane(grid.shape, (3.0, 3.0))
    # Larger pixels are interpolated, smaller ones averaged as the boxes that they are.
    for spacing, within in (((4.0, 5.0), 1e-3), ((1.5, 1.0), 1e-3), ((3.0, 3.0), 0), ((1.1, 0.7), 0.5)):
        shape = tuple(int(size / s) for size, s in zip(grid.size_mm, spacing, strict=True))
        found = on_grid(plane(shape, spacing), spacing, grid)[4:-4, 4:-4]
        np.testing.assert_allclose(found, wanted[4:-4, 4:-4], atol=within)
    # A mean over the larger pixel: white noise loses what it has to.
    noise = np.random.default_rng(0).normal(size=(180, 216)).astype(np.float32)
    assert on_grid(noise, (1 / 3, 1 / 3), grid).std() == pytest.approx(1 / 9, rel=0.2)
    labels = np.zeros((40, 48), np.uint8)
    labels[10:20, 10:30] = 5
    assert set(np.unique(nearest_on_grid(labels, (1.5, 1.5), grid))) == {0, 5}
    assert (on_grid(np.zeros((4, 4)), (3.0, 3.0), grid) == -1000).mean() == pytest.approx(1 - 16 / 480)


def test_without_labels_figures_by_tissue_have_no_value_and_with_them_they_have(
    images: Path, tmp_path: Path
) -> None:
    case = pairs(images).case("train", 0)
    row = evaluate_case({"uncorrected": Uncorrected(), "li": LI()}, case).rows[1]
    for tissue in ("canal", "vertebral_body", "muscle", "lung"):
        assert math.isnan(row[f"rmse_hu_{tissue}"])
    assert row["rmse_hu_near"] > 0 and row["off_trace_max_abs_change"] == 0.0
    labels = RAW.case("train", 0).truth.tissue_labels[0, 0].numpy()
    save(tmp_path, "00", labels=labels)
    for part in ("artifact", "clean"):
        save(tmp_path, "00", **{part: np.load(images / part / "00.npy")})
    known = pairs(tmp_path, labels=tmp_path / "labels").case("train", 0)
    assert evaluate_case({"li": LI()}, known).rows[0]["rmse_hu_vertebral_body"] > 0


NAMES = [f"p{patient:02d}_{k}" for patient in range(10) for k in range(3)]


def test_shares_leave_gaps_between_neighbours_and_groups_stay_together() -> None:
    found = divided(NAMES)
    assert [len(names) for names in found.values()] == [14, 4, 6]
    order = [NAMES.index(name) for names in found.values() for name in names]
    assert order == sorted(order) and NAMES.index(found["val"][0]) - NAMES.index(found["train"][-1]) == 4
    grouped = divided(NAMES, group=r"(p\d+)_")
    owners = {split: {name[:3] for name in names} for split, names in grouped.items()}
    assert sum(map(len, grouped.values())) == len(NAMES)
    assert not owners["train"] & owners["val"] and not owners["val"] & owners["test"]
    assert divided(NAMES[::-1], group=r"(p\d+)_") == grouped
    assert divided(NAMES, {"test": 1.0})["test"] == sorted(NAMES)
    listed = divided(NAMES, {"train": ["p0[0-4]*", "p05_0"], "test": ["p09_1"]})
    assert len(listed["train"]) == 16 and listed["val"] == [] and listed["test"] == ["p09_1"]


@pytest.mark.parametrize(
    "options,message",
    [
        ({"splits": {"training": 0.5}}, "splits must be of train, val, test, got 'training'"),
        ({"splits": {"train": 0.9, "val": 0.3}}, "shares must be 0 or more and add up to 1 at most"),
        ({"splits": {"train": ["p00_0"], "val": ["p00_*"]}}, "must not overlap, got p00_0 in train and val"),
        ({"splits": {"train": ["p77*"]}}, "splits.train must name files that are there, got 'p77"),
        ({"splits": {"train": "p00"}}, "splits must be shares or lists of names, got train: 'p00'"),
        (
            {"splits": {"train": ["p00_0"], "val": ["p00_1"]}, "group": r"p\d+"},
            "one group must be in one split, got p00",
        ),
        ({"group": "(q"}, "group must be a regular expression"),
        ({"group": "q"}, "group must match every name, 'q' does not match 'p00_0'"),
        ({"gap": 20}, "there must be 43 files or groups or more to divide with gaps of 20, got 30"),
        ({"gap": -1}, "gap must be 0 or more, got -1"),
    ],
)
def test_splits_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        divided(NAMES, **options)


def change(part: str, edit: Callable[[np.ndarray], np.ndarray], name: str = "00") -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / part / f"{name}.npy"
        np.save(path, edit(np.load(path)), allow_pickle=True)

    return spoil


def equal(folder: Path) -> None:
    shutil.copy(folder / "clean/00.npy", folder / "artifact/00.npy")


SHAPES = "00: the files of a pair must be of one shape, got artifact .1, 64, 64., clean .1, 63, 64."
SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a name alone": (
        lambda f: (f / "clean/03.npy").unlink(),
        "each file of artifact must have one of its name in clean, got 03 without",
    ),
    "two names alone": (
        lambda f: [(f / f"artifact/0{n}.npy").unlink() for n in (3, 4)],
        "of its name in artifact, got 03 and 1 more without",
    ),
    "no folder": (lambda f: shutil.rmtree(f / "clean"), "data.clean must be a folder"),
    "no file": (lambda f: [p.unlink() for p in (f / "clean").iterdir()], "data.clean must hold files"),
    "a name twice": (
        lambda f: shutil.copy(f / "clean/03.npy", f / "clean/03.dcm"),
        "stand for one file each, got 03 twice",
    ),
    "shapes": (change("clean", lambda x: x[:-1]), SHAPES),
    "attenuation": (
        change("artifact", lambda x: (x / 1000 + 1) * 0.02),
        "00: the image with metal must be in HU, with air below -200",
    ),
    "grey values": (
        change("clean", lambda x: x.clip(-1024) + 1024.0),
        "00: the image without metal must be in HU",
    ),
    "NaN": (change("clean", lambda x: np.where(x > 100, np.nan, x)), "00: clean must be finite"),
    "words": (change("clean", lambda x: np.full((64, 64), "a")), "00.npy must hold real numbers, got <U1"),
    "pickled": (
        change("clean", lambda x: np.full((64, 64), None)),
        "00.npy must be an array of numbers, cannot be read",
    ),
    "colours": (change("clean", lambda x: x[None, None]), "00.npy must have rows and columns, or slices too"),
    "equal": (equal, "00: the images with and without metal must differ"),
    "no metal": (
        change("artifact", lambda x: x.clip(max=1000)),
        "00: the image must show metal, found none",
    ),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_what_is_wrong_with_images_is_one_line(copied: Path, fault: str) -> None:
    spoil, message = SPOILED[fault]
    pairs(copied).case("train", 0)
    spoil(copied)
    with pytest.raises(CtmarError, match=message) as caught:
        pairs(copied).case("train", 0)
    assert "\n" not in str(caught.value)


def test_an_empty_split_is_said_where_it_is_asked_for(images: Path) -> None:
    with pytest.raises(CtmarError, match="split val must hold a file, got none of 6"):
        pairs(images).count("val")


@pytest.mark.parametrize(
    "name,edit,message",
    [
        ("metal_trace", lambda x: ~x, "must differ on the metal trace above all, got .* on it and .* off it"),
        ("metal_trace", lambda x: x & False, "metal_trace must hold some rays and not all, got 0"),
        ("measured", lambda x: np.exp(-x) * 1e6, "measured must be line integrals -log.I/I0., from -2 to 50"),
        ("clean", lambda x: x[..., :-1], "clean must be of .1, 48, 93., by the run's geometry and slices"),
        (
            "clean",
            lambda x: np.where(x > 1, np.inf, x),
            "clean must be finite, got .* NaN or infinite values",
        ),
    ],
)
def test_what_is_wrong_with_sinograms_is_one_line(name: str, edit: Callable[..., Any], message: str) -> None:
    arrays = arrays_of(RAW.case("train", 0))
    given = {part: arrays[part] for part in ("measured", "clean", "metal_trace")}
    sinogram_case(SETUP, **given, name="a")
    with pytest.raises(CtmarError, match=message):
        sinogram_case(SETUP, **(given | {name: edit(arrays[name])}), name="a")


class Spoiled:
    """A user's source whose cases are changed."""

    def __init__(self, folder: Path, edit: Callable[[Case], Any] = lambda case: case) -> None:
        self.inner, self.edit = pairs(folder), edit
        self.ray, self.kvp, self.fills = self.inner.ray, self.inner.kvp, self.inner.fills

    def count(self, split: str) -> int:
        return 2

    def case(self, split: str, index: int) -> Any:
        return self.edit(self.inner.case("train", index))


def scan_with(**changes: Any) -> Callable[[Case], Case]:
    return lambda case: Case(replace(case.scan, **{k: f(case.scan) for k, f in changes.items()}), case.truth)


@pytest.mark.parametrize(
    "edit,message",
    [
        (lambda case: case.scan, "a source of cases must give a Case, a batch of one, got Scan"),
        (scan_with(measured=lambda s: s.measured.double()), "00: measured must be torch.float32"),
        (scan_with(measured=lambda s: s.measured * math.nan), "00: measured must be finite"),
        (scan_with(measured=lambda s: s.measured + 1), "00: clean must be the measurement off the"),
        (scan_with(metal_mask=lambda s: s.metal_mask[..., 1:]), "00: metal_mask must be torch.bool of"),
        (scan_with(case_id=lambda s: ()), "must have one entry each"),
        (scan_with(ray=lambda s: RayTransform(GRID, WIDER)), "of the source's own ray"),
    ],
)
def test_cases_of_a_users_source_are_held_to_the_contract(images: Path, edit: Any, message: str) -> None:
    assert len(CaseDataset(Spoiled(images), "train", 2, None)[0]) == 1
    with pytest.raises(CtmarError, match=message):
        CaseDataset(Spoiled(images, edit), "train", 2, None)[0]


def test_a_source_lacks_nothing(images: Path) -> None:
    source: CaseSource = RAW
    assert require_source(source, "x") is RAW and require_source(pairs(images), "y").count("train") == COUNT
    with pytest.raises(CtmarError, match="got mine.Pairs without ray, kvp, fills, count, case"):
        require_source(object(), "mine.Pairs")
    with pytest.raises(CtmarError, match="a batch of one, got int"):
        require_case(3, source, 1)


def test_all_cases_are_taken_unless_a_number_says_how_many(images: Path) -> None:
    source = pairs(images, splits={"train": ["00", "01", "02"], "val": ["03"], "test": ["04", "05"]})
    sets = MARDataModule(source, {"train": 2, "val": None, "test": None}).sets
    assert [len(sets[split]) for split in ("train", "val", "test")] == [2, 1, 2]
    assert [sets["test"][k].scan.case_id for k in range(2)] == [("04",), ("05",)]
    with pytest.raises(CtmarError, match="num_cases.val must be at most the 1 cases that there are, got 2"):
        len(MARDataModule(source, {"train": 2, "val": 2, "test": 1}).sets["val"])
    # A split that is not asked for may be empty.
    everything = MARDataModule(pairs(images, splits={"test": 1.0}), dict.fromkeys(("train", "val", "test")))
    everything.prepare("test")
    assert len(everything.sets["test"]) == COUNT
    with pytest.raises(CtmarError, match="split val must hold a file, got none of 6"):
        everything.prepare("val")
    with pytest.raises(CtmarError, match="num_cases.val must be a positive whole number, got None"):
        MARDataModule(RAW, {"train": 2, "val": None, "test": 1})


@pytest.mark.parametrize("workers", [0, 2])
def test_pairs_are_kept_as_simulated_cases_are(images: Path, tmp_path: Path, workers: int) -> None:
    source = pairs(images, splits={"train": ["0[0-3]"], "val": ["04"], "test": ["05"]})
    counts = dict.fromkeys(("train", "val", "test"))
    module = MARDataModule(source, counts, store=CaseStore(tmp_path), num_workers=workers, in_memory=False)
    module.prepare("train")
    assert not module.sets["train"].missing()
    for index in range(4):
        assert digest(encode(module.sets["train"][index])) == digest(encode(source.case("train", index)))


def test_an_edited_file_is_other_cases_and_the_code_is_known(copied: Path, tiny: Compose) -> None:
    own = ("data=pairs", f"data.artifact={copied}/artifact", f"data.clean={copied}/clean")
    before = case_settings(tiny(*own), 1)
    assert {"ctmar.pairs.images", "ctmar.data.paired", "ctmar.scans.volume"} <= set(before["modules"])
    assert case_settings(tiny(*own, "data.batch_size=1", "seed=7", "data.num_cases.train=1"), 1) == before
    assert case_settings(tiny(*own, "data.metal_threshold_hu=2000"), 1) != before
    np.save(copied / "clean/00.npy", np.load(copied / "clean/00.npy") + 1)
    assert case_settings(tiny(*own), 1) != before
    assert "modules" not in case_settings(tiny(), 1)


def config_of(images: Path, *more: str) -> list[str]:
    return [
        "data=pairs",
        f"data.artifact={images}/artifact",
        f"data.clean={images}/clean",
        "data.num_cases={train:null,val:null,test:null}",
        "data.splits={train: ['0[0-3]'], val: ['04'], test: ['05']}",
        *more,
    ]


def test_mistakes_of_a_config_are_one_line(tiny: Compose, images: Path) -> None:
    with pytest.raises(CtmarError, match="PairedImages must take setup and the keys of data: .*'colour'"):
        build_source(tiny(*config_of(images, "+data.colour=1")), 1)
    with pytest.raises(CtmarError, match="data.source must be one of raw, image, got 'dicom'"):
        build_source(tiny(*config_of(images, "data.source=dicom")), 1)
    with pytest.raises(CtmarError, match="without ray, kvp"):
        build_source(tiny("data=paired", "data._target_=argparse.Namespace", "+data.a=1"), 1)
    with pytest.raises(CtmarError, match="nothing to simulate with data._target_=ctmar.pairs.PairedImages"):
        simulate_run(tiny(*config_of(images), "num_cases=2", job="simulate"))


@pytest.mark.slow
def test_a_network_is_fitted_evaluated_exported_and_corrects(
    tiny: Compose, images: Path, tmp_path: Path
) -> None:
    metrics, objects = train(tiny(*config_of(images, "trainer.max_epochs=6", "data.batch_size=2")))
    curve = (tmp_path / "run/csv/metrics.csv").read_text(encoding="utf-8").splitlines()
    place = curve[0].split(",").index("val/loss")
    losses = [float(line.split(",")[place]) for line in curve[1:] if line.split(",")[place]]
    assert len(losses) == 6 and min(losses[1:]) < 0.97 * losses[0]
    summary = objects["summary"]
    assert summary["off_trace_max_abs_change"] == 0.0 and summary["cases_without_labels"] == 1
    assert summary["methods"]["model"]["rmse_hu_canal"]["mean"] is None
    assert "without figures by tissue: 1" in (tmp_path / "run/evaluation/report.html").read_text(
        encoding="utf-8"
    )
    best = str(tmp_path / "run/checkpoints/best.ckpt")
    # The checkpoint's own config names the pairs; nothing else has to.
    every = "data.num_cases={train:null,val:null,test:null}"  # else the fixture's own numbers are asked for
    cfg = tiny(every, f"ckpt_path={best}", job="evaluate", folder="again")
    evaluate_run(cfg, [f"ckpt_path={best}"])
    again = (tmp_path / "again/evaluation/cases.csv").read_text(encoding="utf-8")
    assert again == (tmp_path / "run/evaluation/cases.csv").read_text(encoding="utf-8")
    export_run(tiny(f"ckpt_path={best}", f"output={tmp_path}/w.safetensors", job="export", bare=True))
    card = (tmp_path / "w.md").read_text(encoding="utf-8")
    assert "pairs of a user's own, by ctmar.pairs.PairedImages, source image" in card
    for path in (Path(best), tmp_path / "w.safetensors"):
        method, extended_scale = method_from_checkpoint(path)
        scan = IMAGE.case("test", 0).scan
        completed = method.complete(scan).sinogram
        assert not extended_scale and torch.equal(
            completed[~scan.metal_trace], scan.measured[~scan.metal_trace]
        )
        assert not torch.equal(completed, scan.fills["nmar"])
