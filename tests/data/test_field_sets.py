"""The field's own files, on mock ones: axes, units, and every way in which they may be wrong."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctmar.data.field_sets import aapm_cases, read_aapm, read_raw, read_syndeeplesion, syndeeplesion_slices
from ctmar.errors import CtmarError


@pytest.fixture
def deeplesion(tmp_path: Path) -> Path:
    folder = tmp_path / "train_640geo" / "000001_03_01" / "113"
    folder.mkdir(parents=True)
    image = np.full((416, 416), 0.192)
    image[:100] = 0.0
    with h5py.File(folder / "gt.h5", "w") as file:
        file["image"], file["poly_sinogram"] = image, np.full((640, 641), 2.0)
    with h5py.File(folder / "4.h5", "w") as file:
        trace = np.zeros((640, 641))
        trace[:, 300:310] = 1
        file["ma_CT"], file["LI_CT"], file["metal_trace"] = image * 2, image, trace
        file["ma_sinogram"], file["LI_sinogram"] = np.full((640, 641), 3.0), np.full((640, 641), 2.5)
    return tmp_path


def test_a_slice_of_synthesised_deeplesion_is_in_hu_and_line_integrals(deeplesion: Path) -> None:
    (folder,) = syndeeplesion_slices(deeplesion)
    case = read_syndeeplesion(folder, 4)
    assert case.name == "000001_03_01-113-4"
    assert float(case.reference_hu[0, 0]) == -1000.0
    assert float(case.reference_hu[200, 0]) == pytest.approx(0.0, abs=1e-3)
    assert float(case.uncorrected_hu[200, 0]) == pytest.approx(1000.0, abs=1e-3)
    assert case.measured.shape == case.clean.shape == case.metal_trace.shape == (640, 641)
    assert int(case.metal_trace.sum()) == 6400 and case.metal_trace.dtype == torch.bool
    assert (float(case.clean[0, 0]), float(case.measured[0, 0]), float(case.li[0, 0])) == (2.0, 3.0, 2.5)
    assert case.reference_hu.dtype == torch.float32


def test_what_is_no_synthesised_deeplesion_is_one_line(deeplesion: Path, tmp_path: Path) -> None:
    (folder,) = syndeeplesion_slices(deeplesion)
    with pytest.raises(CtmarError, match="must be an HDF5 file"):
        read_syndeeplesion(folder, 9)
    with h5py.File(folder / "4.h5", "a") as file:
        del file["LI_sinogram"]
    with pytest.raises(CtmarError, match=r"must hold LI_sinogram of \(640, 641\), got nothing"):
        read_syndeeplesion(folder, 4)
    with h5py.File(folder / "4.h5", "a") as file:
        file["LI_sinogram"] = np.zeros((641, 640))
    with pytest.raises(CtmarError, match=r"LI_sinogram of \(640, 641\), got \(641, 640\)"):
        read_syndeeplesion(folder, 4)
    with pytest.raises(CtmarError, match="as \\*/\\*/gt.h5 and 0.h5 …, got none"):
        syndeeplesion_slices(tmp_path / "nowhere")


@pytest.fixture
def aapm(tmp_path: Path) -> Path:
    sino = np.arange(1000 * 900, dtype="<f4").reshape(1000, 900)
    image = np.full((512, 512), -1000, "<f4")
    image[10, 20] = 3000
    files = {"Baseline": ("metalart", 1.0), "Target": ("nometal", 2.0)}
    for folder, (what, scale) in files.items():
        (tmp_path / "body1" / folder).mkdir(parents=True)
        (sino * np.float32(scale)).tofile(
            tmp_path / f"body1/{folder}/training_body_{what}_sino7_900x1000.raw"
        )
        image.tofile(tmp_path / f"body1/{folder}/training_body_{what}_img7_512x512x1.raw")
    (tmp_path / "body1/Mask").mkdir()
    (image > 0).astype("<f4").tofile(tmp_path / "body1/Mask/training_body_metalonlymask_img7_512x512x1.raw")
    return tmp_path


def test_a_case_of_aapm_has_views_as_rows(aapm: Path) -> None:
    assert aapm_cases(aapm) == [("body", 7)]
    case = read_aapm(aapm, "body", 7)
    assert case.measured.shape == (1000, 900) and case.reference_hu.shape == (512, 512)
    assert float(case.measured[1, 0]) == 900.0 and float(case.clean[1, 1]) == 1802.0
    assert float(case.uncorrected_hu[10, 20]) == 3000.0
    assert case.metal_mask.nonzero().tolist() == [[10, 20]]


def test_what_is_no_aapm_case_is_one_line(aapm: Path, tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match=r"one file must be named training_body_metalart_sino8_\*.raw"):
        read_aapm(aapm, "body", 8)
    with pytest.raises(CtmarError, match="AAPM CT-MAR must lie under"):
        aapm_cases(tmp_path / "nowhere")
    short = tmp_path / "training_head_metalart_sino1_900x1000.raw"
    short.write_bytes(b"\0" * 100)
    with pytest.raises(CtmarError, match="must hold 3600000 bytes, as its name says, got 100"):
        read_raw(short)
    plain = tmp_path / "plain.raw"
    plain.write_bytes(b"\0" * 4)
    with pytest.raises(CtmarError, match="must end in its sizes"):
        read_raw(plain)
    bad = tmp_path / "bad_2x1.raw"
    np.array([np.nan, 1], "<f4").tofile(bad)
    with pytest.raises(CtmarError, match="must hold finite values"):
        read_raw(bad)
