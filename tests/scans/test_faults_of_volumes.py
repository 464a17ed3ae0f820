"""Volume files as other tools leave them: handled with the header that came, or refused in a line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ctmar.errors import CtmarError
from tests.scans.test_volume import image_of, run

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def plain(with_rods: Scan, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An uncompressed NIfTI-1 file."""
    path = tmp_path_factory.mktemp("plain") / "a.nii"
    sitk.WriteImage(image_of(with_rods), str(path))
    return path.read_bytes()


@pytest.fixture(scope="module")
def corrected(plain: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Its voxels, corrected."""
    folder = tmp_path_factory.mktemp("corrected")
    (folder / "a.nii").write_bytes(plain)
    run(folder / "a.nii", folder / "b.nii")
    result = (folder / "b.nii").read_bytes()
    assert result[352:] != plain[352:]
    return result[352:]


def with_field(content: bytes, at: int, kind: str, *values: float) -> bytes:
    field = np.array(values, kind).tobytes()
    return content[:at] + field + content[at + len(field) :]


def sheared(content: bytes) -> bytes:
    """Slices of a tilted gantry, as dcm2niix leaves them: each half a millimetre further on."""
    rows = np.array([[-2, 0, 0, 10], [0, -2, 0.5, 3], [0, 0, 1.5, 77]], np.float32)
    return with_field(with_field(content, 280, "<f4", *rows.ravel()), 252, "<i2", 0, 1)


def second_version(content: bytes) -> bytes:
    """The same as NIfTI-2."""
    header = np.zeros(544, np.uint8)

    def put(at: int, kind: str, *values: float) -> None:
        field = np.frombuffer(np.array(values, kind).tobytes(), np.uint8)
        header[at : at + len(field)] = field

    put(0, "<i4", 540)
    put(4, "u1", *b"n+2\0\r\n\x1a\n")
    put(12, "<i2", *np.frombuffer(content, "<i2", 2, 70))
    put(16, "<i8", *np.frombuffer(content, "<i2", 8, 40))
    put(104, "<f8", *np.frombuffer(content, "<f4", 8, 76))
    put(168, "<i8", 544)
    put(176, "<f8", *np.frombuffer(content, "<f4", 2, 112))
    put(344, "<i4", *np.frombuffer(content, "<i2", 2, 252))
    put(352, "<f8", *np.frombuffer(content, "<f4", 6, 256))
    put(400, "<f8", *np.frombuffer(content, "<f4", 12, 280))
    put(500, "<i4", 2)
    return header.tobytes() + content[352:]


def compressed(content: bytes) -> bytes:
    return gzip.compress(content)


HANDLED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "sheared": ("a.nii", sheared),
    "NIfTI-2": ("a.nii", second_version),
    "NIfTI-2, compressed": ("a.nii.gz", lambda c: compressed(second_version(c))),
    "compressed in two members": ("a.nii.gz", lambda c: compressed(c[:5000]) + compressed(c[5000:])),
    "bytes behind the stream": ("a.nii.gz", lambda c: compressed(c) + b"garbage"),
    "zeros behind the stream": ("a.nii.gz", lambda c: compressed(c) + bytes(512)),
    "bytes behind the voxels": ("a.nii", lambda c: c + b"more"),
    "vox_offset of 0": ("a.nii", lambda c: with_field(c, 108, "<f4", 0)),
    "not compressed but called so": ("a.nii.gz", lambda c: c),
    "compressed but not called so": ("a.nii", compressed),
    "in metres": (
        "a.nii",
        lambda c: with_field(
            with_field(with_field(c, 123, "u1", 1), 252, "<i2", 0, 1),
            280,
            "<f4",
            *np.array([[-2, 0, 0, 0], [0, -2, 0, 0], [0, 0, 1.5, 0]]).ravel() / 1000,
        ),
    ),
}


@pytest.mark.parametrize("name", HANDLED)
def test_odd_nifti_gives_the_same_voxels(name: str, plain: bytes, corrected: bytes, tmp_path: Path) -> None:
    file, make = HANDLED[name]
    source, output = tmp_path / file, tmp_path / f"out.{file}"
    source.write_bytes(make(plain))
    run(source, output)
    written = output.read_bytes()
    if file.endswith(".gz"):
        assert written[:2] == b"\x1f\x8b"
        written = gzip.decompress(written)
    at = 544 if "NIfTI-2" in name else 352
    expected = make(plain)
    if expected[:2] == b"\x1f\x8b":
        expected = gzip.decompress(expected.removesuffix(b"garbage"))
    if name == "vox_offset of 0":
        expected = plain
    assert written[:at] == expected[:at]
    voxels = np.frombuffer(written, "<i2", len(corrected) // 2, at)
    # A millimetre from metres is rounded otherwise.
    allowed = 1 if name == "in metres" else 0
    assert np.abs(voxels - np.frombuffer(corrected, "<i2").astype(int)).max() <= allowed
    assert written[at + len(corrected) :] == (b"more" if "behind the voxels" in name else b"")
    if name not in ("sheared", "in metres") and "NIfTI-2" not in name:  # which SimpleITK does not read
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(output))).ravel(), voxels)


@pytest.mark.parametrize("what", ["difference", "uncertainty"])
def test_no_volume_is_made_of_sheared_slices(what: str, plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(sheared(plain))
    with pytest.raises(CtmarError, match=f"up to 1 mm off .*; leave out --also {what}"):
        run(tmp_path / "a.nii", tmp_path / "b.nii", also=(what,))
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


REFUSED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "cut": ("a.nii.gz", lambda c: compressed(c)[:-900], "compressed stream that is cut"),
    "damaged": ("a.nii.gz", lambda c: compressed(c)[:500] + b"\xff" * 9000, "damaged stream"),
    "a pair's header": ("a.nii", lambda c: c[:344] + b"ni1\0" + c[348:], "header of a pair"),
    "Analyze": ("a.nii", lambda c: c[:344] + bytes(4) + c[348:], "header of a pair or of Analyze"),
    "vox_offset beyond": ("a.nii", lambda c: with_field(c, 108, "<f4", 1e9), "vox_offset"),
    "vox_offset NaN": ("a.nii", lambda c: with_field(c, 108, "<f4", np.nan), "vox_offset"),
    "orientation NaN": (
        "a.nii",
        lambda c: with_field(with_field(c, 252, "<i2", 1, 0), 268, "<f4", np.nan),
        "orientation",
    ),
    "no axes": ("a.nii", lambda c: with_field(with_field(c, 76, "<f4", 1, 0), 252, "<i2", 0, 0), "spacing"),
    "sheared in the plane": (
        "a.nii",
        lambda c: with_field(
            with_field(c, 280, "<f4", -2, 1, 0, 0, 0, -2, 0, 0, 0, 0, 2, 0), 252, "<i2", 0, 1
        ),
        "rows and columns must be at a right angle",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named_in_a_line(name: str, plain: bytes, tmp_path: Path) -> None:
    file, make, message = REFUSED[name]
    (tmp_path / file).write_bytes(make(plain))
    with pytest.raises(CtmarError, match=message) as caught:
        run(tmp_path / file, tmp_path / f"out.{file}")
    assert str(caught.value).startswith(f"{file}: ") and "Error" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def nrrd_header(encoding: str, endian: str) -> bytes:
    return (
        f"NRRD0005\n# by hand\ntype: int16\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: 112 112 3\nspace directions: (2,0,0) (0,2,0) (0,0,1.5)\nkinds: domain domain domain\n"
        f"endian: {endian}\nencoding: {encoding}\ncontent: some\nthicknesses: nan nan 1.5\n"
        'centerings: cell cell cell\nspace units: "mm" "mm" "mm"\nspace origin: (1,2,3)\n'
        "measurement frame: (1,0,0) (0,1,0) (0,0,1)\nA note:=keep me\nDICOM.rescale:=1\n\n"
    ).encode()


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("encoding", ["gzip", "raw", "text"])
def test_an_nrrd_header_stays_as_it_came(
    encoding: str, endian: str, plain: bytes, corrected: bytes, tmp_path: Path
) -> None:
    voxels = np.frombuffer(plain, "<i2", offset=352)
    data = voxels.astype("<i2" if endian == "little" else ">i2").tobytes()
    data = {"gzip": gzip.compress(data), "raw": data, "text": " ".join(map(str, voxels)).encode()}[encoding]
    header = nrrd_header(encoding, endian)
    (tmp_path / "a.nrrd").write_bytes(header + data)
    run(tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    assert (tmp_path / "b.nrrd").read_bytes().startswith(header)
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.nrrd")))
    assert np.array_equal(read.ravel(), np.frombuffer(corrected, "<i2"))


@pytest.mark.parametrize("packed", [True, False])
def test_a_metaimage_header_stays_but_for_its_size(
    packed: bool, with_rods: Scan, corrected: bytes, tmp_path: Path
) -> None:
    image = image_of(with_rods)
    image.SetMetaData("Keep", "me")
    sitk.WriteImage(image, str(tmp_path / "a.mha"), useCompression=packed)
    run(tmp_path / "a.mha", tmp_path / "b.mha")
    old, new = ((tmp_path / name).read_bytes().partition(b"LOCAL")[0] for name in ("a.mha", "b.mha"))

    def lines(header: bytes) -> list[bytes]:
        return [line for line in header.splitlines() if not line.startswith(b"CompressedDataSize")]

    assert lines(old) == lines(new) and b"Keep = me" in new
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.mha")))
    assert np.array_equal(read.ravel(), np.frombuffer(corrected, "<i2"))


def test_voxels_in_another_file_are_refused(tmp_path: Path) -> None:
    header = nrrd_header("raw", "little").replace(b"content: some", b"data file: other.raw")
    (tmp_path / "a.nrrd").write_bytes(header)
    (tmp_path / "other.raw").write_bytes(bytes(112 * 112 * 6))
    with pytest.raises(CtmarError, match="voxels are elsewhere"):
        run(tmp_path / "a.nrrd", tmp_path / "b.nrrd")


def shifted(volume: np.ndarray) -> np.ndarray:
    return (volume - 1024).clip(-2048, None)


def ringing(volume: np.ndarray) -> np.ndarray:
    """An MR: nothing around the body, and a few values below zero."""
    image = np.where(volume < -900, 0, volume + 900)
    image[:, 5:7, 40:60] = -300
    return image


def unshifted(volume: np.ndarray) -> np.ndarray:
    image = volume + 1024
    image[:, :2, :2] = -2000
    return image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shifted, "below -1250, as where an offset was subtracted twice"),
        (ringing, "as in other images than CT or where an offset is missing"),
        (unshifted, "values from|offset is missing"),
    ],
)
def test_another_scale_is_known_at_both_ends(
    change: Callable[[np.ndarray], np.ndarray], message: str, with_rods: Scan, tmp_path: Path
) -> None:
    volume = sitk.GetArrayFromImage(image_of(with_rods)).astype(np.int32)
    sitk.WriteImage(sitk.GetImageFromArray(change(volume)), str(tmp_path / "a.nii"))
    with pytest.raises(CtmarError, match=message):
        run(tmp_path / "a.nii", tmp_path / "b.nii")
