"""Pixels as other makers store them: ceilings, overflow, padding, bits above the stored ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless, RLELossless
from scipy import ndimage

from ctmar.clinical.inspection import inspect
from ctmar.clinical.job import Request
from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import find_files, named
from ctmar.scans.dicom.scan import DicomScan
from tests.scans.dicom_maker import ct_slice, pixels, write, write_series
from tests.scans.test_dicom import refused, run
from tests.stored_images import body

Change = Callable[[Dataset, int], Any]
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def volume(with_rods: Scan) -> np.ndarray:
    """Three slices, metal in the second, of a scanner whose values have no end; noise in the air."""
    noise = np.random.default_rng(0).normal(0, 8, body().shape).round()
    return np.stack([body() + noise, with_rods[0], body() - noise])


def stored(change: Callable[[np.ndarray], np.ndarray], bits: int = 16, signed: bool = True) -> Change:
    """Pixels after a change, stored without an offset, in so many bits."""

    def put(dataset: Dataset, index: int) -> None:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelRepresentation, dataset.RescaleIntercept = int(signed), 0 if signed else -1024
        values = change(dataset.hu)
        values = values if signed else values + 1024
        dataset.PixelData = np.rint(values).astype("<i2" if signed else "<u2").tobytes()

    return put


def series(folder: Path, volume: np.ndarray, change: Change) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for index, hu in enumerate(volume):
        dataset = ct_slice(hu, index)
        dataset.hu = hu
        change(dataset, index)
        del dataset.hu
        paths.append(folder / f"image_{index:03d}.dcm")
        write(dataset, paths[-1])
    return paths


def changed(source: Path, output: Path, index: int = 1) -> np.ndarray:
    """Which pixels of a slice are others than before."""
    before, after = pixels(source), pixels(output / f"ct_{index + 1:04d}.dcm")
    assert before.dtype == after.dtype
    return np.asarray(before != after)


@pytest.mark.parametrize("ceiling", [1600, 2047, 2303, 3071, 4095])
def test_values_cut_off_at_any_ceiling_are_corrected(
    ceiling: int, volume: np.ndarray, with_rods: Scan, tmp_path: Path
) -> None:
    sources = series(tmp_path / "in", volume, stored(lambda hu: hu.clip(-1024, ceiling)))
    record, said = run(tmp_path / "in", tmp_path / "out")
    assert record["slices_corrected"] == 1 and record["clipped"] and record["range_hu"][1] == ceiling
    assert any(f"cut off at {ceiling} HU" in line for line in said) == (ceiling <= 2500)
    other = changed(sources[1], tmp_path / "out")
    assert not other[with_rods[2] > 0.99].any() and other[40:60, 50:60].any()


def test_a_ceiling_that_bone_reaches_names_the_option(volume: np.ndarray, tmp_path: Path) -> None:
    series(tmp_path / "in", volume, stored(lambda hu: hu.clip(-1024, 1023), 12))
    said = "\n".join(inspect(tmp_path / "in", Request()))
    assert "cut off at 1023 HU" in said and "--threshold 1022" in said and "no metal" in said
    assert run(tmp_path / "in", tmp_path / "out", high_hu=1022.0)[0]["slices_corrected"] == 1


OVERFLOW: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lowest": lambda hu: np.where(ndimage.binary_erosion(hu > 3071), -1024, hu).clip(-1024, 3071),
    "far lowest": lambda hu: np.where(ndimage.binary_erosion(hu > 3071), -32768, hu).clip(-32768, 3071),
    "modulo 4096": lambda hu: (hu * np.where(hu > 3000, 0.3, 1) + 1024) % 4096 - 1024,
}


@pytest.mark.parametrize("kind", ["lowest", "far lowest"])
def test_a_core_that_ran_over_stays_and_is_said(
    kind: str, volume: np.ndarray, with_rods: Scan, tmp_path: Path
) -> None:
    sources = series(tmp_path / "in", volume, stored(OVERFLOW[kind]))
    record, said = run(tmp_path / "in", tmp_path / "out")
    other = changed(sources[1], tmp_path / "out")
    assert not other[with_rods[2] > 0.99].any() and other[40:60, 50:60].any()
    assert record["clipped"] and any("impossible values" in note for note in record["notes"])
    assert any("impossible values" in line for line in said)
    assert any("impossible values" in line for line in inspect(tmp_path / "in", Request()))


def test_a_core_that_wrapped_stays(volume: np.ndarray, with_rods: Scan, tmp_path: Path) -> None:
    def wrapped(hu: np.ndarray) -> np.ndarray:
        smooth = np.where(with_rods[2] > 0, with_rods[2] * 2800 + (with_rods[2] > 0.99) * 600, hu)
        smooth = np.rint(ndimage.gaussian_filter(smooth, 0.4)).clip(-1024, None)
        return (smooth + 1024) % 4096 - 1024 if hu.max() > 3071 else hu

    sources = series(tmp_path / "in", volume, stored(wrapped))
    image, rods = pixels(sources[1]), with_rods[2] > 0.99
    assert (rods & (image < -200)).sum() > 8 and image.max() < 3000
    run(tmp_path / "in", tmp_path / "out")
    other = changed(sources[1], tmp_path / "out")
    assert not other[rods & ((image < -200) | (image > 2000))].any() and other[40:60, 50:60].any()


CIRCLE = np.hypot(*(np.indices(body().shape) - 55.5)) < 53.5


def padding(value: int, limit: int | None = None, signed: bool = True, fill: int | None = None) -> Change:
    """Declares padding outside of a circle."""

    def change(dataset: Dataset, index: int) -> None:
        def fill_in(hu: np.ndarray) -> np.ndarray:
            outside = value if fill is None else fill
            return np.where(CIRCLE, hu.clip(-1024, 3071), outside - (0 if signed else 1024))

        stored(fill_in, signed=signed)(dataset, index)
        vr = "SS" if signed else "US"
        dataset.add_new("PixelPaddingValue", vr, value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", vr, limit)

    return change


def undeclared(dataset: Dataset, index: int) -> None:
    padding(-1024)(dataset, index)
    del dataset.PixelPaddingValue


def of_other_sign(dataset: Dataset, index: int) -> None:
    padding(-2000)(dataset, index)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)


PADDINGS: dict[str, Change] = {
    "-1024": padding(-1024),
    "-2000": padding(-2000),
    "-1000": padding(-1000),
    "unsigned, 0": padding(0, signed=False),
    "a range": padding(-2048, -1990, fill=-2000),
    "a range the other way round": padding(-1990, -2048, fill=-2001),
    "as bright as metal": padding(3071),
    "brighter than metal": padding(32767),
    "unsigned, the highest": padding(65535, signed=False),
    "declared with the other sign": of_other_sign,
    "not declared": undeclared,
}


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_never_written_and_never_metal(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    sources = series(tmp_path / "in", volume, PADDINGS[name])
    record, _ = run(tmp_path / "in", tmp_path / "out")
    assert record["slices_corrected"] == 1 and record["range_hu"][0] >= -1024
    assert record["range_hu"][1] == 3071
    other = changed(sources[1], tmp_path / "out")
    assert not other[~CIRCLE].any() and other[40:60, 50:60].any()


def test_a_dark_streak_of_the_value_of_padding_is_corrected(volume: np.ndarray, tmp_path: Path) -> None:
    """Where padding is what air is cut off at, as far as the streaks beside metal are."""
    dark = volume.copy()
    dark[1, 50:60, 48:62] = -1500
    sources = series(tmp_path / "in", dark, padding(-1024))
    run(tmp_path / "in", tmp_path / "out")
    assert changed(sources[1], tmp_path / "out")[52:58, 50:60].any()


@pytest.mark.parametrize("declared", [True, False])
def test_padding_that_lossy_compression_blurred_stays(
    declared: bool, volume: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("jpeg_ls", reason="pyjpegls, which would write JPEG-LS, is not installed")

    def change(dataset: Dataset, index: int) -> None:
        smooth = ndimage.gaussian_filter(np.where(CIRCLE, dataset.hu.clip(-1024, 3071), -2000), 0.5)
        smooth = np.where(dataset.hu > 2000, 3071, smooth)
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 16, 15, -4096
        dataset.PixelData = np.rint(smooth + 4096).astype("<u2").tobytes()
        if declared:
            dataset.add_new("PixelPaddingValue", "US", 2096)
        dataset.compress(JPEGLSNearLossless, jls_error=12, encoding_plugin="pyjpegls")

    series(tmp_path / "in", volume, change)
    scan = DicomScan(named(find_files(tmp_path / "in"), tmp_path / "in"))
    before = scan.stored(1)
    run(tmp_path / "in", tmp_path / "out")
    other = before != pixels(tmp_path / "out" / "ct_0002.dcm")
    assert not other[~CIRCLE].any() and not other[before < -1100].any() and other[40:60, 50:60].any()


def test_padding_may_need_more_than_the_stored_bits(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        padding(-3024)(dataset, index)
        values = np.frombuffer(dataset.PixelData, "<i2").copy()
        dataset.PixelData = np.where(values > 2047, 2047, values).astype("<i2").tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 11

    sources = series(tmp_path / "in", volume, change)
    assert run(tmp_path / "in", tmp_path / "out")[0]["slices_corrected"] == 1
    before, after = (pydicom.dcmread(p) for p in (sources[1], tmp_path / "out" / "ct_0002.dcm"))
    raw = [np.frombuffer(one.PixelData, "<i2").reshape(CIRCLE.shape) for one in (before, after)]
    assert (raw[1][~CIRCLE] == -3024).all() and (raw[0] != raw[1]).any()


@pytest.mark.parametrize("bits", [10, 12, 13])
@pytest.mark.parametrize("signed", [True, False])
def test_pixels_beyond_their_stored_bits_are_refused(
    signed: bool, bits: int, volume: np.ndarray, tmp_path: Path
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        stored(lambda hu: hu.clip(-1024, None), 16, signed)(dataset, index)
        dataset.BitsStored, dataset.HighBit = bits, bits - 1

    series(tmp_path / "in", volume, change)
    line = refused(tmp_path / "in", tmp_path / "out")
    assert f"pixels must fit into BitsStored ({bits})" in line and line.startswith("image_00")
    with pytest.raises(CtmarError, match="must fit into BitsStored"):
        inspect(tmp_path / "in", Request())


def test_signed_values_may_leave_the_bits_above_empty(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        stored(lambda hu: hu.clip(-1024, 2047), 12)(dataset, index)
        values = np.frombuffer(dataset.PixelData, "<i2") & 0x0FFF
        dataset.PixelData = values.astype("<i2").tobytes()

    sources = series(tmp_path / "in", volume, change)
    run(tmp_path / "in", tmp_path / "out")
    other = changed(sources[1], tmp_path / "out")
    assert other.any() and not other.all()
    for index in (0, 1, 2):
        raw = np.frombuffer(pydicom.dcmread(tmp_path / "out" / f"ct_{index + 1:04d}.dcm").PixelData, "<i2")
        assert (raw >= 0).all()
        if index != 1:
            assert raw.tobytes() == pydicom.dcmread(sources[index]).PixelData


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("position", [12, 15])
def test_an_overlay_in_the_bits_above_stays(
    position: int, syntax: Any, volume: np.ndarray, tmp_path: Path
) -> None:
    if syntax == JPEGLSLossless:
        pytest.skip("an overlay is not part of what JPEG-LS compresses")
    drawn = np.zeros(volume[0].size, np.uint16)
    drawn[1000:4000] = 1 << position

    def change(dataset: Dataset, index: int) -> None:
        values = np.frombuffer(dataset.PixelData, "<u2") | drawn
        dataset.PixelData = values.astype("<u2").tobytes()
        dataset.add_new(0x60000010, "US", dataset.Rows)
        dataset.add_new(0x60000011, "US", dataset.Columns)
        dataset.add_new(0x60000040, "CS", "G")
        dataset.add_new(0x60000050, "SS", [1, 1])
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", position)
        if syntax is not None:
            dataset.compress(syntax)

    write_series(tmp_path / "in", volume.clip(-1024, 3071), change)
    write_series(tmp_path / "plain", volume.clip(-1024, 3071))
    for name in ("in", "plain"):
        run(tmp_path / name, tmp_path / f"{name} out")
    for n in (1, 2, 3):
        with_overlay, without = (
            np.frombuffer(pydicom.dcmread(tmp_path / f"{name} out" / f"ct_000{n}.dcm").PixelData, "<u2")
            for name in ("in", "plain")
        )
        assert np.array_equal(with_overlay, without | drawn)
