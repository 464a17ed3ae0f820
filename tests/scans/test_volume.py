"""NIfTI, NRRD and MetaImage: the same header, the same type, other voxels where metal was."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from ctmar.clinical import correct
from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.stored.methods import STORED
from tests.stored_images import SPACING_MM, body

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def image_of(with_rods: Scan, kind: type = np.int16) -> sitk.Image:
    volume = np.stack([body(), with_rods[0], body()]).clip(-1024, 3071)
    image = sitk.GetImageFromArray(volume.astype(kind))
    image.SetSpacing((SPACING_MM, SPACING_MM, 1.5))
    image.SetOrigin((-10.25, 3.5, 77.0))
    return image


def run(source: Path, output: Path, **request: Any) -> dict[str, Any]:
    return correct_file(source, output, lambda clipped: STORED["nmar"], Request(**request), lambda line: None)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_header_and_type_stay(suffix: str, kind: type, with_rods: Scan, tmp_path: Path) -> None:
    source, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image = image_of(with_rods, kind)
    sitk.WriteImage(image, str(source))
    assert run(source, output)["slices_corrected"] == 1
    result = sitk.ReadImage(str(output))
    assert result.GetPixelID() == image.GetPixelID()
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(result, what)() == pytest.approx(getattr(sitk.ReadImage(str(source)), what)())
    before, after = (sitk.GetArrayFromImage(x) for x in (image, result))
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]
    expected = correct(before, image.GetSpacing(), method="nmar")
    np.testing.assert_allclose(after, expected, atol=0.51 if kind in (np.int16, np.int32) else 1e-3)
    assert (tmp_path / "out.report.html").is_file() and (tmp_path / "out.correction.json").is_file()


def test_a_nifti_header_is_the_same_byte_for_byte(with_rods: Scan, tmp_path: Path) -> None:
    source, output = tmp_path / "in.nii", tmp_path / "out.nii.gz"
    sitk.WriteImage(image_of(with_rods), str(source))
    stored = bytearray(source.read_bytes())
    stored[112:120] = np.array([0.5, -100.0], "<f4").tobytes()  # slope and intercept
    stored[148:155] = b"comment"
    voxels = np.frombuffer(stored, "<i2", offset=352)
    stored[352:] = ((voxels.astype(int) + 100) * 2).astype("<i2").tobytes()
    source.write_bytes(stored)
    assert run(source, output)["range_hu"] == [-1024.0, 3071.0]
    result = gzip.decompress(output.read_bytes())
    assert result[:352] == bytes(stored[:352])
    assert result[352:] != bytes(stored[352:]) and len(result) == len(stored)


def test_slices_are_found_along_whichever_axis_they_lie(with_rods: Scan, tmp_path: Path) -> None:
    image = image_of(with_rods)
    turned = sitk.GetImageFromArray(np.moveaxis(sitk.GetArrayFromImage(image), 0, 2))
    turned.SetSpacing((1.5, SPACING_MM, SPACING_MM))
    turned.SetDirection((0, 1, 0, 0, 0, 1, 1, 0, 0))
    for name, volume in (("a", image), ("b", turned)):
        sitk.WriteImage(volume, str(tmp_path / f"{name}.nrrd"))
        run(tmp_path / f"{name}.nrrd", tmp_path / f"{name}2.nrrd", also=("difference",))
    a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{n}2.nrrd"))) for n in "ab")
    assert np.array_equal(a, np.moveaxis(b, 2, 0))
    first, second = (sitk.ReadImage(str(tmp_path / f"{n}2.difference.mha")) for n in "ab")
    assert second.GetSpacing() == (SPACING_MM, SPACING_MM, 1.5)
    change = sitk.GetArrayFromImage(second)
    assert np.array_equal(sitk.GetArrayFromImage(first), change)
    np.testing.assert_allclose(a - sitk.GetArrayFromImage(image), change, atol=0.51)


def test_uncertainty_is_written_on_request(with_rods: Scan, tmp_path: Path) -> None:
    sitk.WriteImage(image_of(with_rods), str(tmp_path / "in.nrrd"))
    run(tmp_path / "in.nrrd", tmp_path / "out", also=("uncertainty",))
    spread = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "uncertainty.mha")))
    assert (spread[0] == 0).all() and spread[1].max() > 10
    assert (tmp_path / "out" / "in.nrrd").is_file()


def nan(image: sitk.Image, path: Path) -> None:
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    values[1, 5, 5] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


def four_axes(image: sitk.Image, path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(path))


def cut(image: sitk.Image, path: Path) -> None:
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes()[:4000])


def text(image: sitk.Image, path: Path) -> None:
    path.write_text("no volume", encoding="utf-8")


def shifted(image: sitk.Image, path: Path) -> None:
    sitk.WriteImage(image + 1024, str(path))


REFUSED = {
    "NaN": (nan, "finite, got NaN"),
    "four axes": (four_axes, "must be 3D"),
    "cut": (cut, "cut|readable"),
    "text": (text, "must be a readable volume"),
    "not HU": (shifted, "must be in HU"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_volume_is_refused_and_leaves_nothing(name: str, with_rods: Scan, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    make(image_of(with_rods), tmp_path / "in.nii")
    before = (tmp_path / "in.nii").read_bytes()
    with pytest.raises(CtmarError, match=message):
        run(tmp_path / "in.nii", tmp_path / "out.nii")
    assert [path.name for path in tmp_path.iterdir()] == ["in.nii"]
    assert (tmp_path / "in.nii").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("in.nii", "out.nrrd", "of the input's format"),
        ("in.nii", "out.png", "a folder or a file like the input"),
        ("in.nii", "in.nii", "apart from the input"),
        ("in.nii", "there.nii", "a file that exists"),
        ("none.nii", "out.nii", "does not exist"),
    ],
)
def test_outputs_that_cannot_be_are_refused(
    source: str, output: str, message: str, with_rods: Scan, tmp_path: Path
) -> None:
    sitk.WriteImage(image_of(with_rods), str(tmp_path / "in.nii"))
    (tmp_path / "there.nii").write_text("mine", encoding="utf-8")
    with pytest.raises(CtmarError, match=message):
        run(tmp_path / source, tmp_path / output)
    assert (tmp_path / "there.nii").read_text(encoding="utf-8") == "mine"
