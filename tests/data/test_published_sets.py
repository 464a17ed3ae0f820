"""ADN's, CNN-MAR's and AAPM CT-MAR's files by their real layouts: axes, units, geometry, mistakes."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import ndimage
from scipy.io import savemat

from ctmar.config.build import build_source
from ctmar.data import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.jobs.train import train
from ctmar.operators import RayTransform
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.pairs.published import AAPMFiles, ADNFiles, CNNMARFiles, FieldCase, field_case
from ctmar.pairs.published.case import fan_shadow
from ctmar.pairs.published.mat import numbers_in
from ctmar.units import mu_to_hu
from tests.published_files import (
    ADN_PIXEL_MM,
    BODY,
    CNNMAR_AXIS,
    PIN,
    image_of,
    lines_of,
    write_aapm,
    write_adn,
    write_adn_masks,
    write_cnnmar,
)
from tests.tiny_runs import CONFIGS, Compose


def fan_of(name: str) -> FanBeam:
    """The fan of ``geometry=name``."""
    found: FanBeam = instantiate(OmegaConf.load(CONFIGS / "geometry/acquisition" / f"{name}.yaml"))
    return found


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def tissue(image_hu: torch.Tensor) -> torch.Tensor:
    """Pixels of the body's plain tissue, away from every edge."""
    plain = (image_hu.numpy() > -60) & (image_hu.numpy() < 60)
    return torch.from_numpy(ndimage.binary_erosion(plain, iterations=4))


def held(case: FieldCase, measured: torch.Tensor, ray: RayTransform[ParallelBeam], water: float) -> None:
    """Holds the reconstruction of a sinogram of a set to its image: HU and place."""
    image = mu_to_hu(ray.fbp(measured, "hann"), water)
    assert correlation(image, case.uncorrected_hu) > 0.99
    where = tissue(case.reference_hu)
    assert int(where.sum()) > 10_000
    assert float((image - case.reference_hu)[where].mean()) == pytest.approx(0, abs=3)


# ADN


@pytest.fixture
def adn(tmp_path: Path) -> Path:
    write_adn(tmp_path / "deep_lesion" / "test")
    return tmp_path / "deep_lesion"


def test_a_slice_of_adn_is_upright_and_in_hu(adn: Path) -> None:
    files = ADNFiles(adn)
    (name,) = files.slices()
    assert name == "test/000001_03_01/113" and files.metals(name) == [1, 2]
    case = files.read(name, 2)
    assert case.name == "000001_03_01-113-2" and case.body == "000001_03_01-113"
    assert case.measured is case.clean is case.metal_mask is None and list(case.images) == ["ma_CT"]
    clean, pin = (torch.from_numpy(image_of(d, 256, ADN_PIXEL_MM, 127.5)) for d in (BODY, (PIN,)))
    reference = (clean / 0.0192 - 1) * 1000
    wanted = (1.02 * clean + 2 * pin) / 0.0192 * 1000 - 1000
    # Whole grey values; padding counts as air.
    assert float((case.reference_hu - reference).abs().max()) <= 0.51
    assert float(case.reference_hu.min()) == -1000.0
    assert float((case.uncorrected_hu - wanted).abs().max()) < 0.01
    assert not torch.allclose(case.uncorrected_hu.T, wanted.float(), atol=500)


def test_the_metals_of_adn_are_those_of_their_part(adn: Path) -> None:
    masks = write_adn_masks(adn)
    name = "test/000001_03_01/113"
    first, second = (ADNFiles(adn / "test").read(name, metal).metal_mask for metal in (1, 2))
    assert first[160:176, 156:172].all() and int(first.sum()) == 16 * 16
    assert second[50:70, 100:110].all() and int(second.sum()) == 20 * 10
    shutil.move(adn / "test", adn / "train")  # whose first metal is the third of all
    third = ADNFiles(adn).read("train/000001_03_01/113", 1).metal_mask
    assert third[10:15, 15:25].all() and not masks[20, 30, 0]
    (adn / "train/000001_03_01/113/91.mat").write_bytes((adn / "train/000001_03_01/113/1.mat").read_bytes())
    with pytest.raises(CtmarError, match="must hold metals from 1 to 90, got 91"):
        ADNFiles(adn).read("train/000001_03_01/113", 91)


def test_slices_that_adn_leaves_out_are_left_out(adn: Path) -> None:
    write_adn(adn / "test", "000002_01_01", "044")
    (adn / "blacklist.json").write_text('["000002_01_01/044.png", "000009_01_01/001.png"]', encoding="utf-8")
    for root in (adn, adn / "test"):
        files = ADNFiles(root)
        assert list(files.slices()) == ["test/000001_03_01/113"]
        assert files.left_out == ["1 slices of ADN's blacklist.json, which show metal of the patient's own"]
    (adn / "blacklist.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(CtmarError, match="must be a list of slices, PATIENT/SLICE.png"):
        ADNFiles(adn)


def test_what_is_no_pair_of_adn_is_one_line(adn: Path, tmp_path: Path) -> None:
    folder, name = adn / "test/000001_03_01/113", "test/000001_03_01/113"
    with pytest.raises(CtmarError, match=r"must lie under .*none as \*/\*/gt.mat and 1.mat …, got none"):
        ADNFiles(tmp_path / "none")
    spineweb = tmp_path / "spineweb/train/no_artifact/patient0001_1"
    spineweb.mkdir(parents=True)
    np.save(spineweb / "patient0001_1_000.npy", np.zeros((256, 256), np.int32))
    with pytest.raises(CtmarError, match="must be pairs .* got SpineWeb's in .* have none without it"):
        ADNFiles(tmp_path / "spineweb")
    for values, match in (
        ({"image": np.zeros((256, 256), np.int16)}, r"must hold DeepLesion's grey values, HU \+ 32768"),
        ({"image": np.zeros((512, 512), np.uint16)}, r"must hold image of \(256, 256\), got \(512, 512\)"),
        ({"other": np.zeros((256, 256))}, "must hold numbers as image, got none"),
        ({"image": np.array([{}], dtype=object)}, "must hold numbers as image, got none"),
    ):
        savemat(folder / "gt.mat", values)
        with pytest.raises(CtmarError, match=match) as caught:
            ADNFiles(adn).read(name, 1)
        assert "\n" not in str(caught.value)
    (folder / "gt.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(CtmarError, match="gt.mat must be a file of MATLAB's, cannot be read") as caught:
        ADNFiles(adn).read(name, 1)
    assert "\n" not in str(caught.value)


# CNN-MAR


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_file_of_cnnmar_is_in_hu_and_line_integrals(tmp_path: Path, hdf5: bool) -> None:
    write_cnnmar(tmp_path / "data", hdf5=hdf5)
    savemat(tmp_path / "data" / "imdb-500.mat", {"imdb": {"id": np.arange(3)}})  # patches: none of its cases
    files = CNNMARFiles(tmp_path)
    assert files.slices() == ["data/sample_1"] and files.images == ("imRaw",) and files.ceiling is None
    case = files.read("data/sample_1", 0)
    body = torch.from_numpy(image_of(BODY, 512, 0.8, CNNMAR_AXIS)).float()
    assert torch.allclose(case.reference_hu, (body / 0.019 - 1) * 1000, atol=0.01)
    assert case.measured.shape == (984, 1025) and case.clean is None and case.metal_trace is None
    mask = torch.from_numpy(image_of((PIN,), 512, 0.8, CNNMAR_AXIS) > 0.1)
    assert torch.equal(case.metal_mask, mask)
    other = CNNMARFiles(tmp_path, mu_water=0.0192).read("data/sample_1", 0)
    assert float(other.reference_hu.max()) < float(case.reference_hu.max())


def test_a_file_of_cnnmar_may_hold_images_alone(tmp_path: Path) -> None:
    write_cnnmar(tmp_path, "train/a_1", projections=False)
    files = CNNMARFiles(tmp_path)
    assert files.images == ("imRaw", "imBHC", "imLI")
    case = files.read("train/a_1", 0)
    assert case.measured is None and list(case.images) == ["imRaw", "imBHC", "imLI"]
    air = case.reference_hu + 1000
    assert torch.allclose(case.images["imLI"] + 1000, 1.1 * air, atol=0.01)


@pytest.mark.slow
def test_sinogram_and_images_of_cnnmar_are_of_one_world(tmp_path: Path) -> None:
    write_cnnmar(tmp_path, bins=1023)  # their number is whatever the file holds
    case = CNNMARFiles(tmp_path).read("sample_1", 0)
    fan, beam = replace(fan_of("cnnmar"), det_count=1023), ParallelBeam(984, 1457, 0.4)
    rebinned = rebin_fan_to_parallel(case.measured, fan, beam)
    place = tuple(0.8 * c for c in CNNMARFiles.center_px)
    ray = RayTransform(ImageGrid((512, 512), 0.8, place), beam)
    held(case, rebinned, ray, 0.019)
    # MATLAB's images lie half a pixel off the axis: on it, edges would be that far from where they are.
    aside = RayTransform(ImageGrid((512, 512), 0.8), beam)
    errors = [
        float((mu_to_hu(r.fbp(rebinned), 0.019) - case.uncorrected_hu).square().mean()) for r in (ray, aside)
    ]
    assert errors[0] < 0.1 * errors[1]
    found = field_case(CaseSetup(ray, 0.019), case, fan_of("cnnmar"))
    told = found.truth.parameters[0]
    assert (told["source"], told["clean_from"], told["rays"]) == ("raw", "image", [984, 1023])
    clean = mu_to_hu(ray.fbp(found.truth.clean), 0.019)[0, 0]
    assert correlation(clean, case.reference_hu) > 0.999
    # What was measured off the trace holds no metal: closed form and measurement agree there.
    s = (np.arange(1457) - 728) * 0.4
    metal = lines_of((PIN,), beam.theta[:, None], s[None])
    assert float(metal[~found.scan.metal_trace[0, 0].numpy()].max()) == 0.0
    assert float(found.scan.metal_trace.float().mean()) < 1.5 * float((metal > 0).mean())
    mirrored = replace(fan_of("cnnmar"), mirrored=True)
    with pytest.raises(CtmarError, match="sample_1: the sinogram must reconstruct to the files' own image"):
        field_case(CaseSetup(ray, 0.019), case, mirrored)


def test_the_shadow_of_a_mask_lies_where_its_pixels_do() -> None:
    fan = FanBeam(60, 201, 1.0, 120.0, 120.0, "arc")
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8, 20] = True
    for off in ((0.0, 0.0), (0.5, -0.5), (-0.5, 1.0)):
        grid = ImageGrid((32, 32), 2.0, (2.0 * off[0], 2.0 * off[1]))
        x, y = 2.0 * (20 - 15.5 + off[0]), 2.0 * (15.5 - 8 + off[1])
        beta, gamma = fan.theta[:, None], fan.gamma[None]
        distance = np.abs(x * np.cos(beta - gamma) + y * np.sin(beta - gamma) - 120 * np.sin(gamma))
        shadow = fan_shadow(mask, grid, fan).numpy()
        assert shadow[distance < 0.6].all() and not shadow[distance > 4].any()


def test_what_is_no_file_of_cnnmar_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        CtmarError, match="must lie under .* as sample_1.mat … with the struct imData, got no"
    ):
        CNNMARFiles(tmp_path)
    file = write_cnnmar(tmp_path)
    good = numbers_in(file, "imData")
    for change, match in (
        ({"imRef": None}, "must hold imData.imRef, got imRaw, metalBW, proj"),
        ({"imRaw": np.zeros((256, 256))}, r"imData.imRaw of \(512, 512\), got \(256, 256\)"),
        ({"proj": np.zeros((984, 1025))}, r"imData.proj of \(bins, 984\), got \(984, 1025\)"),
    ):
        values = {k: v for k, v in (good | change).items() if v is not None}
        savemat(file, {"imData": values})
        with pytest.raises(CtmarError, match=match):
            CNNMARFiles(tmp_path).read("sample_1", 0)
    with pytest.raises(CtmarError, match="mu_water must be positive, got 0"):
        CNNMARFiles(tmp_path, mu_water=0)


# AAPM CT-MAR


@pytest.fixture(scope="module")
def aapm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A body of the training set with its sinograms, and another's images alone."""
    root = tmp_path_factory.mktemp("aapm")
    write_aapm(root / "body1")
    write_aapm(root / "body1", 11, sinograms=False, part="test")
    return root


def test_a_case_of_aapm_is_in_hu_and_line_integrals(aapm: Path) -> None:
    files = AAPMFiles(aapm)
    assert files.slices() == ["body-00007", "test-body-00011"] and files.images == ("metalart_img",)
    case = files.read("body-00007", 0)
    assert case.measured.shape == case.clean.shape == (1000, 900)
    body = torch.from_numpy(image_of(BODY, 512, 400 / 512, 255.5)).float()
    assert torch.allclose(case.reference_hu, (body / 0.02 - 1) * 1000, atol=0.01)
    assert torch.equal(case.images["metalart_img"], case.uncorrected_hu)
    assert float((case.uncorrected_hu - case.reference_hu)[case.metal_mask].min()) > 2000
    alone = files.read("test-body-00011", 0)
    assert alone.measured is alone.clean is None and alone.metal_mask is not None


@pytest.mark.slow
@pytest.mark.parametrize("region", ["body", "head"])
def test_sinogram_and_images_of_aapm_are_of_one_world(tmp_path: Path, region: str) -> None:
    write_aapm(tmp_path, region=region)
    case = AAPMFiles(tmp_path, region).read(f"{region}-00007", 0)
    pixels = OmegaConf.load(CONFIGS / "geometry" / {"body": "aapm.yaml", "head": "aapm_head.yaml"}[region])
    spacing, beam = float(pixels.grid.spacing_mm), ParallelBeam(1000, 1457, 0.390625)
    ray = RayTransform(ImageGrid((512, 512), spacing), beam)
    held(case, rebin_fan_to_parallel(case.measured, fan_of("aapm"), beam), ray, 0.02)
    found = field_case(CaseSetup(ray, 0.02), case, fan_of("aapm"))
    told = found.truth.parameters[0]
    assert (told["source"], told["clean_from"], told["rays"]) == ("raw", "raw", [1000, 900])
    turned = replace(fan_of("aapm"), start_rad=0.0, angles=None)
    with pytest.raises(CtmarError, match="must reconstruct to the files' own image, got a correlation of"):
        field_case(CaseSetup(ray, 0.02), case, turned)


def test_what_is_no_case_of_aapm_is_one_line(aapm: Path, tmp_path: Path) -> None:
    wanted = (
        "training_head_metalart_img1_512x512x1.raw and training_head_nometal_img1_512x512x1.raw, got none"
    )
    with pytest.raises(CtmarError, match=f"AAPM CT-MAR must lie under .* as {wanted}"):
        AAPMFiles(aapm, "head")
    with pytest.raises(CtmarError, match="region must be one of body, head, got 'knee'"):
        AAPMFiles(aapm, "knee")
    root = tmp_path / "set"
    shutil.copytree(aapm / "body1", root)
    (root / "Target" / "test_body_nometal_img11_512x512x1.raw").unlink()
    files = AAPMFiles(root)
    assert files.slices() == ["body-00007"]
    assert files.left_out == ["1 cases without an image with metal and one without"]
    copy = root / "again" / "training_body_nometal_img7_512x512x1.raw"
    copy.parent.mkdir()
    shutil.copy(root / "Target" / copy.name, copy)
    with pytest.raises(CtmarError, match="one file must be named training_body_nometal_img7_512x512x1.raw"):
        AAPMFiles(root)
    copy.unlink()
    (root / "Target" / copy.name).write_bytes(b"\0" * 8)
    with pytest.raises(CtmarError, match="must hold 1048576 bytes, as its name says, got 8"):
        AAPMFiles(root).read("body-00007", 0)


@pytest.mark.slow
def test_the_set_s_filter_is_the_nearest_to_xcist_s_kernel(data_dir: Path) -> None:
    folder = data_dir / "xcist_pair"
    if not folder.is_dir():
        pytest.skip("no pair of XCIST's: CTMAR_DATA has no xcist_pair")
    wanted = torch.from_numpy(np.fromfile(folder / "out_512x512x1.raw", "<f4").reshape(512, 512))
    sinogram = torch.from_numpy(np.fromfile(folder / "out.prep", "<f4").reshape(1000, 900))
    beam = ParallelBeam(1000, 1457, 0.390625)
    ray = RayTransform(ImageGrid((512, 512), 400 / 512), beam)
    rebinned = rebin_fan_to_parallel(sinogram, replace(fan_of("aapm"), det_offset_mm=0.0), beam)
    row = torch.arange(512) - 255.5
    body = (wanted > -300) & (torch.hypot(row[None], row[:, None]) < 250)
    found = {name: mu_to_hu(ray.fbp(rebinned, name), 0.02) for name in ("ram-lak", "hann")}
    errors = {name: float((image - wanted)[body].square().mean().sqrt()) for name, image in found.items()}
    assert correlation(found["hann"], wanted) > 0.998
    assert errors["hann"] < 16 and errors["ram-lak"] > 35


# Training


OWN = {
    "adn": ("geometry=adn", "data=adn"),
    "cnnmar": ("geometry=cnnmar", "data=cnnmar"),
    "aapm": ("geometry=aapm", "data=aapm"),
    "aapm_head": ("geometry=aapm_head", "data=aapm_head"),
}


def test_sets_are_divided_by_patient_or_with_gaps(tiny: Compose, tmp_path: Path) -> None:
    for scan in ("000001_03_01", "000001_04_02", "000002_01_01", "000003_01_01"):
        write_adn(tmp_path / "adn/train", scan)
    source = build_source(tiny(*OWN["adn"], f"data.root={tmp_path}/adn"), 1)
    scans = {split: {name.split("/")[1] for name, _ in source.cases(split)} for split in ("train", "test")}
    assert scans["train"] == {"000001_03_01", "000001_04_02"}  # two of one patient
    assert source.count("train") == 2 and source.ray.grid.spacing_mm == pytest.approx(0.6, rel=1e-4)
    every = build_source(tiny(*OWN["adn"], f"data.root={tmp_path}/adn", "data.drawn=null"), 1)
    assert every.count("train") == 4
    for number in range(9):
        for kind, folder in (("metalart", "Baseline"), ("nometal", "Target")):
            file = tmp_path / f"aapm/{folder}/training_head_{kind}_img{number}_512x512x1.raw"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    cut = build_source(tiny(*OWN["aapm_head"], f"data.root={tmp_path}/aapm"), 1)
    names = {split: [name for name, _ in cut.cases(split)] for split in ("train", "val", "test")}
    # Whose slice is whose is not told: three between two splits are left out.
    assert names == {"train": ["head-00000"], "val": ["head-00004"], "test": ["head-00008"]}


def test_a_run_of_another_geometry_is_one_line(tiny: Compose, tmp_path: Path) -> None:
    write_adn(tmp_path / "adn/test")
    write_cnnmar(tmp_path / "cnnmar", projections=False)
    for name, overrides, match in (
        ("adn", ("geometry=tiny",), "geometry=adn scanner=adn, which data=adn brings, got 64 × 64 pixels"),
        ("adn", ("scanner=standard",), "got a scanner whose patients are 1 times too small"),
        ("cnnmar", ("geometry/acquisition=parallel",), "geometry=cnnmar .* got an acquisition of other rays"),
        ("cnnmar", ("geometry/acquisition=adn",), r"got an acquisition of \(320, 197\)"),
    ):
        given = (*OWN[name], f"data.root={tmp_path}/{name}", "data.splits={test: 1.0}", *overrides)
        with pytest.raises(CtmarError, match=match):
            build_source(tiny(*given), 1)
    with pytest.raises(CtmarError, match="CNN-MAR has single slices: model.slices must be 1, got 3"):
        build_source(tiny(*OWN["cnnmar"], f"data.root={tmp_path}/cnnmar"), 3)


@pytest.mark.slow
def test_cases_to_train_on_lie_about_the_set_s_axis(tiny: Compose, tmp_path: Path) -> None:
    write_cnnmar(tmp_path)
    given = [*OWN["cnnmar"], f"data.root={tmp_path}", "data.splits={test: 1.0}", "data.fills=[]"]
    source = build_source(tiny(*given), 1)
    case = source.case("test", 0)
    assert source.ray.grid.center_mm == (0.4, -0.4) and case.scan.ray is source.ray
    image = mu_to_hu(source.ray.fbp(case.scan.measured), float(case.scan.mu_water))[0, 0]
    assert math.isclose(float(case.scan.mu_water), 0.019, rel_tol=1e-6)
    assert correlation(image, CNNMARFiles(tmp_path).read("sample_1", 0).uncorrected_hu) > 0.995


@pytest.mark.slow
def test_a_network_is_trained_on_adn_s_pairs(tiny: Compose, tmp_path: Path) -> None:
    for scan in ("000001_03_01", "000002_01_01", "000003_01_01"):
        write_adn(tmp_path / "set/train", scan, metals=(1,))
    splits = "data.splits={train:['*/000001*'],val:['*/000002*'],test:['*/000003*']}"
    few = ["geometry.beam.num_angles=80", "data.batch_size=1", "data.fills=[li]", "model.fill=li"]
    few += [
        "data.num_cases={train:1,val:1,test:1}",
        "trainer.max_epochs=1",
        f"data.root={tmp_path}/set",
        splits,
    ]
    train(tiny(*OWN["adn"], *few))
    found = json.loads((tmp_path / "run/evaluation/summary.json").read_text(encoding="utf-8"))
    near = {name: figures["rmse_hu_near"]["mean"] for name, figures in found["methods"].items()}
    assert found["source"] == "image" and found["num_cases"] == 1 and near["model"] < near["uncorrected"]
