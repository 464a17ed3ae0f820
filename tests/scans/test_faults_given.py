"""Inputs that broke an earlier version, where they are at hand: the right value, or one clear line."""

import gzip
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctmar.clinical.inspection import inspect
from ctmar.clinical.job import Request
from ctmar.errors import CtmarError
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.opening import opened
from tests.scans.dicom_maker import pixels
from tests.scans.test_dicom import run

CORRECTED = (
    *("clip2047", "csb_utf8_but_latin1", "dup_sop_all", "enh_private_ps", "hollow_metal", "iop_jitter"),
    *("is_text", "j2k_lossy_pad", "n_nifti2", "n_shear", "n_trailing", "n_voxoff0", "no_ts", "overlay_bit12"),
    *("pad_minus1024", "r_meta", "seg_baddate", "seg_no_AccessionNumber", "seg_pn_caret", "seriesno_text"),
    *("trail_zero", "wrap12", "zip_samename"),
)
REFUSED = {
    "jxl": r"^image_000\.dcm: TransferSyntaxUID .* JPEG XL",
    "ts_ge_private": r"^image_000\.dcm: TransferSyntaxUID .* private",
    "mr_ringing": r"^mr_ringing\.nii\.gz: voxels must be in HU",
    "shift_m1024": r"^shift_m1024\.nii\.gz: voxels must be in HU",
    "signed12_data16": r"^image_001\.dcm: pixels must fit into BitsStored \(12\)",
    "series_rgb_same": r"^z\.dcm: SamplesPerPixel .*--series takes 3\.1",
    "study_rgb": r"3 \(4 slices\), 5 \(refused: b/image_000\.dcm: SamplesPerPixel",
    "two_patients_blank_uid": r"3\.1 \(2 slices\), 3\.2 \(2 slices\).* differ in patient",
    "uid_per_slice": r"--series 3\.all takes them as one",
    "zip_pw": r"^zip_pw\.zip: .*password",
}
CHOSEN = {
    "series_rgb_same": "3.1",
    "study_rgb": "3",
    "two_patients_blank_uid": "3.2",
    "uid_per_slice": "3.all",
}
WITH_EXTRAS = {"legacy": "seg", "tilt_diff": "difference"}


def place(data_dir: Path, name: str) -> Path:
    """The folder of an input, or the one volume or zip in it."""
    folder = data_dir / "faults" / name
    if not folder.is_dir():
        pytest.skip("the inputs that broke an earlier version are not at hand")
    files = [path for path in folder.iterdir() if path.suffix != ".dcm" and path.is_file()]
    return files[0] if len(files) == 1 else folder


def output(source: Path, tmp_path: Path) -> Path:
    return tmp_path / (source.name if source.is_file() and source.suffix != ".zip" else "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CORRECTED)
def test_what_can_be_corrected_is(name: str, data_dir: Path, tmp_path: Path) -> None:
    source = place(data_dir, name)
    also = ("seg",) if name.startswith("seg_") else ()
    assert any("metal in 2 slices, 2 to 3" in line for line in inspect(source, Request()))
    record, _ = run(source, output(source, tmp_path), also=also)
    assert (record["slices"], record["slices_corrected"]) == (4, 2)
    if not (tmp_path / "out").is_dir():
        return
    with opened(source) as scan:
        assert isinstance(scan, DicomScan)
        before = [scan.stored(k).astype(int) for k in range(4)]
    results = sorted((tmp_path / "out").glob("ct*.dcm"))
    after = [image for path in results for image in np.atleast_3d(pixels(path).T).T.astype(int)]
    if name == "overlay_bit12":
        raw = [np.frombuffer(pydicom.dcmread(path).PixelData, "<u2") for path in results]
        after = [image.reshape(before[0].shape).astype(int) for image in raw]
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[3], after[3])
    for old, new in zip(before[1:3], after[1:3], strict=True):
        assert (old != new).any()
        if name in ("hollow_metal", "wrap12"):
            core = np.zeros_like(old, bool)
            core[54:68, 35:50] = core[54:68, 65:80] = True
            core &= old < (424 if name == "wrap12" else -600)
            assert core.sum() >= 4 and np.array_equal(old[core], new[core])
        if name in ("pad_minus1024", "j2k_lossy_pad"):
            padding = old == 0 if name == "pad_minus1024" else old < -1100
            assert padding.sum() > 1000 and np.array_equal(old[padding], new[padding])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_a_line(name: str, data_dir: Path, tmp_path: Path) -> None:
    source = place(data_dir, name)
    for call in (
        lambda: inspect(source, Request()),
        lambda: run(source, output(source, tmp_path)),
    ):
        with pytest.raises(CtmarError) as caught:
            call()
        line = str(caught.value)
        assert re.search(REFUSED[name], line) and "\n" not in line and "Error" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CHOSEN)
def test_the_way_out_is_one(name: str, data_dir: Path, tmp_path: Path) -> None:
    source = place(data_dir, name)
    record, _ = run(source, tmp_path / "out", series=CHOSEN[name])
    assert record["slices"] == (2 if "patients" in name else 4)


@pytest.mark.parametrize("name", WITH_EXTRAS)
def test_an_extra_that_cannot_be_is_refused_before_the_work(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place(data_dir, name)
    monkeypatch.setattr("ctmar.clinical.job.survey", lambda *args: pytest.fail("read"))
    with pytest.raises(CtmarError, match=f"leave out --also {WITH_EXTRAS[name]}"):
        run(source, tmp_path / "out", also=(WITH_EXTRAS[name],))


@pytest.mark.parametrize("name", ["n_voxoff0", "r_meta"])
def test_the_header_is_the_one_that_came(name: str, data_dir: Path, tmp_path: Path) -> None:
    source = place(data_dir, name)
    run(source, tmp_path / source.name)
    before, after = source.read_bytes(), (tmp_path / source.name).read_bytes()
    if name == "r_meta":
        header = before[: before.index(b"\n\n") + 2]
        assert after.startswith(header)
        assert gzip.decompress(after[len(header) :]) != gzip.decompress(before[len(header) :])
    else:
        assert after[:108] + after[112:352] == before[:108] + before[112:352]
        assert np.frombuffer(after, "<f4", 1, 108)[0] == 352
