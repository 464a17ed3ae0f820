"""A user's own phantom scans: what is read of their files is what is in them, and what is none is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from ctmar.clinical.phantom_list import read_list
from ctmar.clinical.phantom_region import Region
from ctmar.clinical.phantom_study import PhantomStudy
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import REFERENCE, Scanned
from ctmar.evaluation.cases import images_and_change
from ctmar.evaluation.judging import judge_study, judges_of
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.jobs.correct import named_method
from ctmar.methods.li import LI
from ctmar.methods.uncorrected import Uncorrected
from ctmar.metrics.lesions import Lesion
from ctmar.metrics.regions import widened_metal
from ctmar.phantoms.chest import ChestPhantom
from ctmar.physics import Noise, Scanner
from ctmar.report.detection import detection_text
from ctmar.scans.volume import write_volume
from ctmar.scenes.spinal_rod import SpinalRod
from ctmar.stored.metal import MetalRule, find_metal
from ctmar.stored.slices import correct
from tests.scans.dicom_maker import write_series
from tests.stored_images import SPACING_MM

COUNT, SIDE, ROW, COLUMN = 12, 96, 50, 40
REGION = Region(6.0, 2.0, at_pixel=(ROW, COLUMN))
HALF = REGION.half(SPACING_MM)
Images = dict[tuple[str, float], np.ndarray]
"""By method and contrast, ``(realisation, row, column)``."""


def images(count: int = COUNT, metal_at: int = 12) -> Images:
    """Noisy muscle in air with a rod ``metal_at`` pixels beside the lesion; ``mar`` has less noise."""
    rng, rows, columns = np.random.default_rng(0), *np.mgrid[:SIDE, :SIDE]
    body = np.where(np.hypot(rows - 48, columns - 48) < 45, 54.0, -1000.0)
    rod = np.hypot(rows - ROW, columns - COLUMN - metal_at) <= 1.5
    disc = np.hypot(rows - ROW, columns - COLUMN) * SPACING_MM <= REGION.radius_mm

    def scans(contrast: float, noise: float, bias: float) -> np.ndarray:
        clean = body + contrast * disc + bias * (body > 0)
        noisy = clean + rng.normal(0, noise, (count, SIDE, SIDE))
        return np.where(rod, 3000.0, noisy).round().clip(-1024, 3071)

    given = {("uncorrected", c): scans(c, 60, 12) for c in (0.0, 15.0, 40.0)}
    given |= {("mar", c): scans(c, 30, 3) for c in (0.0, 15.0, 40.0)}
    return given | {
        (REFERENCE, 0.0): np.where(rod, 54.0, body + rng.normal(0, 5, (count, SIDE, SIDE))).round()
    }


def dicom(folder: Path, stack: np.ndarray) -> str:
    """One series whose slices are realisations, all at one place."""
    write_series(folder, stack, lambda dataset, _: setattr(dataset, "ImagePositionPatient", [-96, -96, 0]))
    return folder.name


def nifti(folder: Path, stack: np.ndarray) -> str:
    """A file a realisation."""
    folder.mkdir()
    for number, image in enumerate(stack):
        write_volume(
            folder / f"{number:03d}.nii.gz", image[None].astype(np.float32), (2, SPACING_MM, SPACING_MM)
        )
    return folder.name


def folders(folder: Path, stack: np.ndarray) -> str:
    """A series a realisation, each in a folder of its own."""
    for number, image in enumerate(stack):
        uid = generate_uid(entropy_srcs=[f"{folder.name} {number}"])
        write_series(
            folder / f"{number:03d}",
            image[None],
            lambda dataset, _, u=uid: setattr(dataset, "SeriesInstanceUID", u),
        )
    return folder.name


def volume(folder: Path, stack: np.ndarray) -> str:
    """One volume whose second to last slices are realisations."""
    file = folder.with_suffix(".mha")
    write_volume(file, np.concatenate([stack[:1], stack]).astype(np.float32), (2, SPACING_MM, SPACING_MM))
    return file.name


def write_study(folder: Path, given: Images, write: Callable[[Path, np.ndarray], str] = dicom) -> Path:
    """The images as files, and the list of them."""
    lines = ["method;dose;contrast_hu;path;slices"]
    for (method, contrast), stack in given.items():
        path = write(folder / f"{method}-{contrast:g}", stack)
        chosen = f"2 - {len(stack) + 1}" if write is volume else ""
        lines.append(f"{method};50;{contrast:g};{path};{chosen}")
    file = folder / "study.csv"
    file.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")  # as a spreadsheet writes it
    return file


def directly(given: Images) -> Scanned:
    """The same arrays as judges see them, without a file: pixels cut and metal left out by hand."""
    cut = (slice(None), slice(ROW - HALF, ROW + HALF + 1), slice(COLUMN - HALF, COLUMN + HALF + 1))
    inside = np.hypot(*np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]) * SPACING_MM <= REGION.radius_mm
    patches = {key: stack[cut].astype(float) for key, stack in given.items()}
    number = patches[REFERENCE, 0.0][:, inside].mean() if (REFERENCE, 0.0) in patches else None

    def at(contrast: float) -> dict[str, np.ndarray]:
        found = {}
        metal = [_metal(image) for image in given["uncorrected", contrast]]
        for method in dict.fromkeys(name for name, _ in given if name != REFERENCE):
            shown = patches[method, contrast]
            found[method] = np.stack(
                [np.where(m, x[~m].mean(), x) for m, x in zip(metal, shown, strict=True)]
            )
            if number is not None:
                found[REFERENCE] = np.full_like(shown, number)
        return found

    def _metal(image: np.ndarray) -> np.ndarray:
        import torch

        mask = torch.from_numpy(find_metal(image, SPACING_MM**2, MetalRule(2500, 2000)))
        return widened_metal(mask, SPACING_MM).numpy()[cut[1:]]

    contrasts = sorted({contrast for _, contrast in given})
    present = {(50.0, contrast): at(contrast) for contrast in contrasts if contrast}
    lesion = Lesion(ROW, COLUMN, REGION.radius_mm, 1.0)
    return Scanned(present, {50.0: at(0.0)}, lesion, SPACING_MM, None, "dose", "uncorrected")


@pytest.mark.parametrize("write", [dicom, nifti, folders, volume])
@pytest.mark.parametrize("metal_at", [12, 5])
def test_files_are_judged_as_the_arrays_in_them(write, metal_at: int, tmp_path: Path) -> None:
    given = images(metal_at=metal_at)
    study = PhantomStudy(read_list(write_study(tmp_path, given, write)), REGION)
    assert study.count == COUNT and study.side == 2 * HALF + 1 and study.notes == []
    wanted, found = directly(given), study.scanned()
    for key, patches in (found.present | {(50.0, 0.0): found.absent[50.0]}).items():
        for method, patch in patches.items():
            there = wanted.present[key] if key[1] else wanted.absent[50.0]
            np.testing.assert_allclose(patch, there[method], rtol=0, atol=1e-3, err_msg=f"{method} {key}")
    judges = judges_of("ctmar", study.side, 6.0)
    told, by_hand = judge_study(found, judges), judge_study(wanted, judges)
    assert told["methods"].keys() == {"uncorrected", "mar"}
    for name, figures in told["methods"].items():
        for metric, figure in figures.items():
            assert figure == pytest.approx(by_hand["methods"][name][metric], abs=1e-4)
    assert told["methods"]["mar"]["delta_auc"]["mean"] > 0
    assert told["methods"]["mar"]["bias_hu"]["mean"] == pytest.approx(3, abs=1.5)
    assert found.absent[50.0]["uncorrected"].max() < 1000  # the rod is left out
    assert "dose, contrast" in detection_text(told | {"benchmark": {"notes": []}})


@pytest.mark.slow
def test_the_simulators_scans_are_judged_from_files_as_from_memory(tmp_path: Path) -> None:
    grid, beam = ImageGrid((156, 156), SPACING_MM), ParallelBeam(90, 225, SPACING_MM)
    methods, given = {"uncorrected": Uncorrected(), "mar": LI()}, {}
    at = (-29.0, 77.0)  # the middle of a pixel
    for contrast in (0.0, 80.0):
        rod = SpinalRod(contrast, 6.0, lesion_at_mm=at)
        noise = Noise(photons_per_ray=3e5)
        simulator = Simulator(ChestPhantom(), rod, Scanner(noise=noise), grid, beam, slices=1)
        seen = [
            images_and_change(methods, simulator.case("test", 2 * n + int(not contrast)))[0] for n in range(8)
        ]
        for name in methods:
            given[name, contrast] = (
                np.stack([one[name][0, 0].numpy() for one in seen]).round().clip(-1024, 3071)
            )
    region = Region(6.0, 1.0, at_mm=at)
    study = PhantomStudy(read_list(write_study(tmp_path, given)), region)
    row, column, half = study.lesion.row, study.lesion.column, study.half
    assert (row, column) == (116, 63)
    cut = (slice(None), slice(row - half, row + half + 1), slice(column - half, column + half + 1))
    direct = {key: stack[cut].astype(float) for key, stack in given.items()}
    present = {(50.0, 80.0): {name: direct[name, 80.0] for name in methods}}
    absent = {50.0: {name: direct[name, 0.0] for name in methods}}
    wanted = Scanned(present, absent, study.lesion, SPACING_MM, None, "dose", "uncorrected")
    judges = judges_of("ctmar", study.side, 6.0)
    assert judge_study(study.scanned(), judges) == judge_study(wanted, judges)


@pytest.mark.slow
def test_models_correct_stored_images_as_ctmar_correct_does(tmp_path: Path) -> None:
    given = {key: stack for key, stack in images(8).items() if key[0] == "uncorrected" and key[1] in (0, 40)}
    study = PhantomStudy(read_list(write_study(tmp_path, given)), REGION)
    study.corrected({"li": named_method("li")}, progress=False)
    found = study.scanned()
    assert list(found.absent[50.0]) == ["uncorrected", "li"] and len(found) == 16
    # Realisations at one place are no neighbours; each is corrected by itself.
    whole = correct(given["uncorrected", 0.0][3:4], (SPACING_MM, SPACING_MM, 2.0), method="li")[0]
    shown = whole[ROW - HALF : ROW + HALF + 1, COLUMN - HALF : COLUMN + HALF + 1]
    np.testing.assert_allclose(found.absent[50.0]["li"][3], shown, atol=1e-3)
    assert not np.array_equal(found.absent[50.0]["li"], found.absent[50.0]["uncorrected"])
    told = judge_study(found, judges_of("ctmar", study.side, 6.0))
    assert "bias_hu" not in told["methods"]["li"]
    assert detection_text(told | {"benchmark": {"notes": []}}).splitlines()[2].split()[-2:] == ["-", "-"]


def test_nothing_of_the_headers_is_in_what_is_told(tmp_path: Path) -> None:
    study = PhantomStudy(read_list(write_study(tmp_path, images())), REGION)
    told = judge_study(study.scanned(), judges_of("ctmar", study.side, 6.0))
    for secret in ("Nobody", "SECRET", "19700101"):
        assert secret not in f"{told} {study.notes}"


def test_images_that_headers_put_elsewhere_are_noted(tmp_path: Path) -> None:
    given = images()
    file = write_study(tmp_path, given)
    write_series(
        tmp_path / "mar-15",
        given["mar", 15.0],
        lambda d, _: setattr(d, "ImagePositionPatient", [-90, -96, 0]),
    )
    (note,) = PhantomStudy(read_list(file), REGION).notes
    assert note.startswith("by their headers images lie up to 6 mm apart")


def cut(given: Images) -> None:
    given["mar", 15.0] = given["mar", 15.0][:, :90]


def fewer(given: Images) -> None:
    given["mar", 15.0] = given["mar", 15.0][:9]


def few(given: Images) -> None:
    given.update({key: stack[:7] for key, stack in given.items()})


def without(*keys: tuple[str, float]) -> Callable[[Images], None]:
    return lambda given: [given.pop(key) for key in keys] and None


def not_finite(given: Images) -> None:
    given["mar", 0.0] = np.where(np.eye(SIDE), np.nan, given["mar", 0.0])


def in_metal(given: Images) -> None:
    given.update(images(metal_at=1))


FIFTEEN = r"at dose 50 with \+15 HU"
BASE = [("uncorrected", contrast) for contrast in (0.0, 15.0, 40.0)]


@pytest.mark.parametrize(
    "change,match",
    [
        (cut, "line 6: images must all be of one size, 96 × 96 as those of line 2, got 90 × 96"),
        (
            fewer,
            "in every condition, got 12 of uncorrected at dose 50 without the lesion and 9 of mar " + FIFTEEN,
        ),
        (few, "realisations must be 8 or more to train and test on, got 7"),
        (without(("mar", 15.0)), f"must list mar {FIFTEEN}, the counterpart of others, got none"),
        (without(BASE[1]), f"must list uncorrected {FIFTEEN}, the counterpart"),
        (without(BASE[0]), "must list uncorrected at dose 50 without the lesion, got none"),
        (without(*BASE), "must list uncorrected with a lesion"),
        (not_finite, "line 5: images must be finite, got NaN or infinite pixels in slice 1"),
        (in_metal, "line 2: the lesion's place must be free of metal, got metal in"),
    ],
)
def test_what_is_no_study_is_refused(change, match: str, tmp_path: Path) -> None:
    given = images()
    change(given)
    with pytest.raises(CtmarError, match=match):
        PhantomStudy(read_list(write_study(tmp_path, given, nifti)), REGION)


def test_a_part_of_the_realisations_can_be_asked_for(tmp_path: Path) -> None:
    given = images()
    given["mar", 15.0] = given["mar", 15.0][:9]
    rows = read_list(write_study(tmp_path, given))
    assert PhantomStudy(rows, REGION, 9).count == 9
    with pytest.raises(CtmarError, match="realisations must be as many in every condition, got 10 of"):
        PhantomStudy(rows, REGION, 10)
    with pytest.raises(CtmarError, match="realisations must be at most 12, which are there, got 13"):
        PhantomStudy(read_list(write_study(tmp_path / "..", images(), nifti)), REGION, 13)


def test_pixels_of_several_sizes_are_refused(tmp_path: Path) -> None:
    given = images()
    file = write_study(tmp_path, given)
    write_series(tmp_path / "mar-0", given["mar", 0.0], lambda d, _: setattr(d, "PixelSpacing", [1.9, 1.9]))
    with pytest.raises(
        CtmarError, match="line 5: pixels must all be of one size, 2 mm as those of line 2, got 1.9"
    ):
        PhantomStudy(read_list(file), REGION)
    write_series(tmp_path / "mar-0", given["mar", 0.0], lambda d, _: setattr(d, "PixelSpacing", [2.0, 1.9]))
    with pytest.raises(CtmarError, match="line 5: pixels must be square, got 2 × 1.9 mm"):
        PhantomStudy(read_list(file), REGION)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    file = write_study(tmp_path, images())
    for path in (tmp_path / "mar-15").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(CtmarError, match="line 6: the input must hold CT images, got 12 no DICOM"):
        PhantomStudy(read_list(file), REGION)
    (tmp_path / "mar-15").rename(tmp_path / "elsewhere")
    with pytest.raises(
        CtmarError, match="line 6: the input must be a file or a folder, got .*which does not exist"
    ):
        PhantomStudy(read_list(file), REGION)
    (tmp_path / "mar-15").mkdir()
    (tmp_path / "mar-15" / "a.nii").write_bytes(b"nothing")
    with pytest.raises(CtmarError, match="line 6: a.nii: must be a readable volume"):
        PhantomStudy(read_list(file), REGION)


@pytest.mark.parametrize(
    "given,match",
    [
        ({"at_mm": (0, 0), "at_pixel": (1, 1)}, "must be given as lesion_at_mm=.*, got both"),
        ({}, "must be given as lesion_at_mm=.*, got neither"),
        (
            {"at_mm": (0, 0), "radius_mm": 0},
            "lesion_radius_mm must be positive and patch_radii 1 or more, got 0 and",
        ),
        (
            {"at_mm": (200, 0)},
            "a patch of .* pixels must lie in the image of 96 × 96, got its centre at 48, 148",
        ),
    ],
)
def test_a_place_that_is_none_is_refused(given: dict, match: str) -> None:
    with pytest.raises(CtmarError, match=match):
        Region(**({"radius_mm": 6.0, "patch_radii": 2.0} | given)).lesion((SIDE, SIDE), SPACING_MM)


@pytest.mark.parametrize(
    "text,match",
    [
        (
            "method,dose,path\n",
            "the first line must be method,dose,contrast_hu,path and, if need be, slices, got",
        ),
        ("", "the first line must be"),
        ("method,dose,contrast_hu,path\nuncorrected,x,0,a\n", "line 2: dose must be a number, got 'x'"),
        ("method,dose,contrast_hu,path\nuncorrected,0,0,a\n", "line 2: dose must be positive, got 0"),
        ("method,dose,contrast_hu,path\nuncorrected,1,nan,a\n", "line 2: contrast_hu must be a number"),
        (
            "method,dose,contrast_hu,path\nuncorrected,1,0\n",
            "line 2: must hold method, dose, contrast_hu, path",
        ),
        ("method,dose,contrast_hu,path\nuncorrected,1,0,a,b\n", "line 2: must hold method, dose"),
        (
            "method,dose,contrast_hu,path\nreference,1,20,a\n",
            "line 2: a reference must be without the lesion",
        ),
        (
            "method,dose,contrast_hu,path,slices\nuncorrected,1,0,a,4-2\n",
            "slices must be a number from 1 or first-last",
        ),
        ("method,dose,contrast_hu,path\n\nuncorrected,1,0,a\n", "must list uncorrected with a lesion"),
    ],
)
def test_a_list_that_is_none_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "study.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CtmarError, match=match):
        read_list(tmp_path / "study.csv")


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="the study must be a readable CSV file, got .*: FileNotFoundError"):
        read_list(tmp_path / "none.csv")
    (tmp_path / "study.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CtmarError, match="readable CSV file, got .*: UnicodeDecodeError"):
        read_list(tmp_path / "study.csv")
