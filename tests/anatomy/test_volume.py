"""Reading CT volumes: axes, and every bad input."""

import gzip
import struct

import numpy as np
import pytest

from ctmar.anatomy.volume import read_anatomy
from ctmar.errors import CtmarError

sitk = pytest.importorskip("SimpleITK")

SHAPE = (6, 9, 11)
"""(z, y, x)"""
L1 = 31


def write(path, array, spacing=(1.5, 2.0, 3.0), origin=(10.0, 20.0, 30.0), direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def blank(dtype=np.int16, value=0):
    return np.full(SHAPE, value, dtype)


def label_map(dtype=np.uint8):
    labels = blank(dtype)
    labels[2:4, 3:6, 4:8] = L1
    return labels


@pytest.fixture
def ct(tmp_path):
    return write(tmp_path / "ct.nii.gz", blank())


@pytest.mark.parametrize("flips", [(1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_a_marked_voxel_lands_where_lps_says(tmp_path, flips):
    stored, labels = blank(), label_map()
    stored[1, 2, 3] = 700
    direction = np.diag(flips).astype(float)
    ct = write(tmp_path / "ct.nii.gz", stored, direction=direction.ravel())
    names = write(tmp_path / "labels.nii.gz", labels, direction=direction.ravel())
    anatomy = read_anatomy(ct, names, "flipped")
    k, j, i = np.argwhere(anatomy.hu == 700)[0]
    expected = tuple(n - 1 - p if f < 0 else p for n, p, f in zip(SHAPE, (1, 2, 3), flips[::-1], strict=True))
    assert (k, j, i) == expected
    # The voxel's place in the scanner is the same before and after.
    before = np.array([10.0, 20.0, 30.0]) + direction @ (np.array([3, 2, 1]) * (1.5, 2.0, 3.0))
    after = np.array(anatomy.origin_mm) + np.array([i, j, k]) * anatomy.spacing_mm
    assert np.allclose(before, after, atol=1e-4)
    assert np.allclose(anatomy.direction, np.eye(3).ravel())
    turned = np.flip(labels, [axis for axis, f in enumerate(flips[::-1]) if f < 0])
    assert np.array_equal(anatomy.labels, turned)


def test_a_sagittal_volume_is_turned_to_axial_slices(tmp_path):
    stored = blank()
    stored[1, 2, 3] = 700
    sagittal = (0, 0, 1, 1, 0, 0, 0, 1, 0)  # columns: array x runs to y, y to z, z to x
    anatomy = read_anatomy(write(tmp_path / "ct.nii.gz", stored, direction=sagittal), None)
    assert anatomy.hu.shape == (9, 11, 6)
    assert anatomy.spacing_mm == pytest.approx((3.0, 1.5, 2.0))
    assert np.argwhere(anatomy.hu == 700).tolist() == [[2, 3, 1]]


def test_labels_stored_flipped_fit_a_ct_that_is_not(tmp_path, ct):
    flipped = label_map()[:, ::-1].copy()
    names = write(
        tmp_path / "l.nii.gz",
        flipped,
        origin=(10.0, 20.0 + 2.0 * 8, 30.0),
        direction=(1, 0, 0, 0, -1, 0, 0, 0, 1),
    )
    assert np.array_equal(read_anatomy(ct, names).labels, label_map())


def test_padding_becomes_air_and_types_are_as_promised(tmp_path):
    stored = blank()
    stored[0, 0, 0], stored[1, 1, 1], stored[2, 2, 2] = -2048, -1010, 900
    anatomy = read_anatomy(write(tmp_path / "some.nii.gz", stored), None)
    assert anatomy.hu.dtype == np.float32 and anatomy.labels.dtype == np.uint8
    assert anatomy.hu.min() == -1000 and anatomy.hu[2, 2, 2] == 900
    assert anatomy.name == "some" and not anatomy.labels.any()
    assert anatomy.hu.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_whole_labels_of_another_type_are_cast(tmp_path, ct, dtype):
    names = write(tmp_path / "l.nii.gz", label_map(dtype))
    assert np.array_equal(read_anatomy(ct, names).labels, label_map())


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_other_formats_are_read(tmp_path, suffix):
    stored = blank()
    stored[1, 2, 3] = 700
    anatomy = read_anatomy(write(tmp_path / f"ct{suffix}", stored), None)
    assert anatomy.hu[1, 2, 3] == 700 and anatomy.spacing_mm == pytest.approx((1.5, 2.0, 3.0))


def test_verse_labels_are_translated(tmp_path, ct):
    names = write(tmp_path / "l.nii.gz", np.where(label_map() > 0, 20, 0).astype(np.uint8))
    assert np.array_equal(read_anatomy(ct, names).labels, label_map())


def test_a_body_at_the_border_is_truncated_and_one_in_air_is_not(tmp_path):
    assert read_anatomy(write(tmp_path / "cut.nii.gz", blank()), None).truncated
    inside = np.full((4, 40, 40), -1000, np.int16)
    inside[:, 8:32, 8:32] = 40
    assert not read_anatomy(write(tmp_path / "in.nii.gz", inside), None).truncated
    inside[:, 8:32, :20] = 40
    assert read_anatomy(write(tmp_path / "side.nii.gz", inside), None).truncated


def test_a_missing_file_is_named(tmp_path, ct):
    with pytest.raises(CtmarError, match="CT must be a file .* got .*absent.nii.gz, which does not exist"):
        read_anatomy(tmp_path / "absent.nii.gz", None)
    with pytest.raises(
        CtmarError, match="labels must be a file .* got .*absent.nii.gz, which does not exist"
    ):
        read_anatomy(ct, tmp_path / "absent.nii.gz")


@pytest.mark.parametrize("name", ["junk.nii.gz", "junk.nii", "junk.txt", "junk.npy", "junk.pkl"])
def test_an_unreadable_file_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no volume at all")
    with pytest.raises(CtmarError, match="CT must be a readable volume, got") as caught:
        read_anatomy(path, None)
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_is_not_filled_with_zeros(tmp_path):
    path = write(tmp_path / "ct.nii", blank())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CtmarError, match="ends before its last voxel"):
        read_anatomy(path, None)
    whole = gzip.compress(np.random.default_rng(0).bytes(9000))
    short = tmp_path / "ct.nii.gz"
    short.write_bytes(whole[:-500])
    with pytest.raises(CtmarError, match="readable volume"):
        read_anatomy(short, None)


@pytest.mark.parametrize("spacing", [0.0, float("nan"), float("inf"), -1.0])
def test_a_nifti_without_spacing_is_refused(tmp_path, spacing):
    path = write(tmp_path / "ct.nii", blank())
    stored = bytearray(path.read_bytes())
    stored[84:88] = struct.pack("<f", spacing)
    path.write_bytes(stored)
    with pytest.raises(CtmarError, match="CT spacing must be positive, got"):
        read_anatomy(path, None)


@pytest.mark.parametrize(("suffix", "key"), [(".mha", b"ElementSpacing"), (".nrrd", b"space directions")])
def test_a_header_without_spacing_is_refused(tmp_path, suffix, key):
    path = write(tmp_path / f"ct{suffix}", blank())
    stored = path.read_bytes()
    assert key in stored
    start = stored.index(key)
    path.write_bytes(stored[:start] + stored[stored.index(b"\n", start) + 1 :])
    with pytest.raises(CtmarError, match="CT spacing must be in the header, got none"):
        read_anatomy(path, None)


@pytest.mark.parametrize("shape", [(9, 11), (2, 6, 9, 11)])
def test_two_and_four_axes_are_refused(tmp_path, shape):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros(shape, np.int16), isVector=False), str(path))
    with pytest.raises(CtmarError, match=f"CT must be 3D, got {len(shape)}D"):
        read_anatomy(path, None)


def test_a_flat_volume_and_colours_are_refused(tmp_path):
    with pytest.raises(CtmarError, match="at least 4 voxels an axis, got"):
        read_anatomy(write(tmp_path / "flat.nii.gz", np.zeros((3, 9, 11), np.int16)), None)
    path = tmp_path / "rgb.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True), str(path))
    with pytest.raises(CtmarError, match="one value a voxel"):
        read_anatomy(path, None)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_number_are_counted(tmp_path, suffix, bad):
    stored = blank(np.float32)
    stored[1, 2, 3] = stored[0, 0, 0] = bad
    with pytest.raises(CtmarError, match="CT must be finite, got 2 NaN or infinite voxels"):
        read_anatomy(write(tmp_path / f"ct{suffix}", stored), None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"array": np.full((6, 9, 12), L1, np.uint8)}, "must have the CT's shape"),
        ({"spacing": (1.5, 2.0, 3.01)}, r"must have the CT's spacing \(1.5, 2, 3\), got \(1.5, 2, 3.01\)"),
        ({"origin": (10.0, 20.0, 30.5)}, "must have the CT's origin"),
        ({"direction": (0.995, -0.0998, 0, 0.0998, 0.995, 0, 0, 0, 1)}, "must have the CT's"),
    ],
)
def test_labels_of_another_grid_are_refused(tmp_path, ct, changed, message):
    path = write(tmp_path / "labels.nii.gz", **{"array": label_map(), **changed})
    with pytest.raises(CtmarError, match=message):
        read_anatomy(ct, path)


def test_labels_a_rounding_error_away_are_accepted(tmp_path, ct):
    path = write(
        tmp_path / "labels.nii.gz", label_map(), spacing=(1.500001, 2.0, 3.0), origin=(10.0001, 20.0, 30.0)
    )
    assert read_anatomy(ct, path).labels.max() == L1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (label_map(np.float32) * np.float32(0.99), "whole numbers, got fractions"),
        (label_map(np.int16) * np.int16(10), "must lie in 0 to 255, got 0 to 310"),
        (-label_map(np.int16), "must lie in 0 to 255, got -31 to 0"),
        (blank(np.uint8), "must hold a vertebra .* got ids 0 in"),
        (np.where(label_map() > 0, 79, 0).astype(np.uint8), "must hold a vertebra .* got ids 0, 79 in"),
    ],
)
def test_labels_without_sense_are_refused(tmp_path, ct, array, message):
    with pytest.raises(CtmarError, match=message):
        read_anatomy(ct, write(tmp_path / "labels.nii.gz", array))


def write_series(folder, drop=None):
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(6):
        if k == drop:
            continue
        image = sitk.GetImageFromArray(np.full((1, 9, 11), 100 * k, np.int16))
        image.SetSpacing((1.5, 2.0, 3.0))
        tags = {
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0020|000d": "1.2",
            "0008|0018": f"1.2.3.{k}",
            "0020|0032": f"10\\20\\{30 + 3 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{9 - k}.dcm"))
        writer.Execute(image)
    return folder


def test_a_dicom_series_is_ordered_by_position(tmp_path):
    anatomy = read_anatomy(write_series(tmp_path / "series"), None)
    assert anatomy.hu[:, 0, 0].tolist() == [0, 100, 200, 300, 400, 500]
    assert anatomy.spacing_mm == pytest.approx((1.5, 2.0, 3.0))
    assert anatomy.origin_mm == pytest.approx((10, 20, 30))


def test_a_series_with_a_missing_slice_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(CtmarError, match="evenly spaced, got"):
        read_anatomy(write_series(tmp_path / "gap", drop=3), None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CtmarError, match="one DICOM series, got 0"):
        read_anatomy(tmp_path / "empty", None)


@pytest.mark.slow
def test_the_real_thorax_stands_upright(data_dir):
    anatomy = read_anatomy(data_dir / "thorax" / "ct.nii.gz", data_dir / "thorax" / "labels.nii.gz")
    center = {u: np.argwhere(anatomy.labels == u).mean(0) for u in (5, 79, 32, 31, 1)}
    assert center[79][1] > anatomy.hu.shape[1] / 2, "the cord lies behind"
    assert center[5][2] < center[1][2], "the liver lies to the right of the spleen"
    assert center[32][0] > center[31][0], "T12 stands above L1"
    assert anatomy.hu.min() == -1000 and not anatomy.truncated


@pytest.mark.slow
def test_real_dicom_and_flipped_labels_agree(data_dir):
    anatomy = read_anatomy(data_dir / "dicom_series" / "ct", data_dir / "dicom_series" / "labels.nii.gz")
    assert anatomy.hu[anatomy.labels == 32].mean() > 150
    assert anatomy.hu[anatomy.labels[:, ::-1] == 32].mean() < 100, "the negative control: labels upside down"
