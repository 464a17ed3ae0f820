"""NIfTI-1 and NIfTI-2 files in one piece, as bytes: the header that came, and voxels that can be replaced."""

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
IN_MM = {1: 1000.0, 3: 0.001}
"""Of the units that are none: metres and micrometres."""
GZIP = b"\x1f\x8b"


class _Version(NamedTuple):
    """Where a header has what: offset and type of each field."""

    size: int
    magic_at: int
    magic: bytes
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scaling: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]

    @property
    def start(self) -> int:
        """The first byte that voxels may have: behind the header and its four extension flags."""
        return self.size + 4


VERSIONS = (
    _Version(
        348, 344, b"n+1\0", (40, "i2"), 70, (76, "f4"), (108, "f4"), (112, "f4"),
        (123, "u1"), (252, "i2"), (256, "f4"), (280, "f4"),
    ),
    _Version(
        540, 4, b"n+2\0", (16, "i8"), 12, (104, "f8"), (168, "i8"), (176, "f8"),
        (500, "i4"), (344, "i4"), (352, "f8"), (400, "f8"),
    ),
)  # fmt: skip


class Nifti(NamedTuple):
    """A NIfTI file in memory.

    Attributes:
        content: All of it, uncompressed.
        voxels: ``(z, y, x)``, a view of ``content``.
        slope: HU a stored unit.
        intercept: HU of the stored value 0.
        axes: The file's axes x, y, z as columns: mm a voxel, in LPS.
        origin: Where the first voxel lies, mm, in LPS.
        notes: What was not as it should be.
    """

    content: bytearray
    voxels: NDArray[np.generic]
    slope: float
    intercept: float
    axes: NDArray[np.float64]
    origin: NDArray[np.float64]
    notes: list[str]


def read_nifti(path: Path) -> Nifti:
    """Reads a file, whether it is compressed or not.

    Raises:
        CtmarError: What is wrong with it.
    """
    notes: list[str] = []
    content = _unpacked(path, notes)
    version, order = _version(content, path.name)

    def numbers(field: tuple[int, str], count: int) -> list[float]:
        at, kind = field
        return [float(n) for n in np.frombuffer(content, order + kind, count, at)]

    dim = [int(n) for n in numbers(version.dim, 8)]
    if not 3 <= dim[0] <= 7 or min(dim[1:4]) < 1 or any(n > 1 for n in dim[4 : dim[0] + 1]):
        raise CtmarError(
            f"{path.name}: must be 3D with one value a voxel, got dim {dim[: max(dim[0], 0) + 1]}"
        )
    kind = int(np.frombuffer(content, order + "i2", 1, version.datatype)[0])
    if kind not in TYPES:
        raise CtmarError(f"{path.name}: voxels must be real numbers, got NIfTI type {kind}")
    (offset,) = numbers(version.vox_offset, 1)
    if not math.isfinite(offset) or offset != int(offset) or offset > len(content):
        raise CtmarError(f"{path.name}: vox_offset must be a place in the file, got {offset:g}")
    start = int(offset)
    if start < version.start:
        start = version.start
        np.frombuffer(content, order + version.vox_offset[1], 1, version.vox_offset[0])[0] = start
        notes.append(f"vox_offset lies inside of the header: voxels are taken from byte {start}")
    count, dtype = math.prod(dim[1:4]), np.dtype(order + TYPES[kind])
    if len(content) < start + count * dtype.itemsize:
        raise CtmarError(f"{path.name}: must hold {count} voxels, got fewer: the file is cut")
    voxels = np.frombuffer(content, dtype, count, start).reshape(dim[3:0:-1])
    slope, intercept = numbers(version.scaling, 2)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
        slope, intercept = 1.0, 0.0
    codes = [int(n) for n in numbers(version.codes, 2)]
    pixdim = numbers(version.pixdim, 4)
    affine = _affine(codes, pixdim, numbers(version.quaternion, 6), numbers(version.rows, 12))
    affine = affine * IN_MM.get(int(numbers(version.units, 1)[0]) & 7, 1.0) * [[-1.0], [-1.0], [1.0]]
    if not np.isfinite(affine).all():
        raise CtmarError(f"{path.name}: the orientation must be of finite numbers, got others")
    return Nifti(content, voxels, slope, intercept, affine[:, :3], affine[:, 3], notes)


def write_nifti(content: bytearray, path: Path) -> None:
    """Writes a file, compressed where its name says so."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path, "wb", compresslevel=4) as file:
            file.write(content)
    else:
        path.write_bytes(content)


def _unpacked(path: Path, notes: list[str]) -> bytearray:
    data, content = path.read_bytes(), bytearray()
    if not data.startswith(GZIP):
        return bytearray(data)
    while data.startswith(GZIP):
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            content += stream.decompress(data)
        except zlib.error:
            raise CtmarError(f"{path.name}: must be compressed by gzip, got a damaged stream") from None
        if not stream.eof:
            raise CtmarError(f"{path.name}: must be whole, got a compressed stream that is cut")
        data = stream.unused_data
    if data.strip(b"\0"):
        notes.append(f"{len(data)} bytes behind the compressed stream left out")
    return content


def _version(content: bytearray, name: str) -> tuple[_Version, str]:
    """The version of a header, and its byte order."""
    for order in "<>":
        for version in VERSIONS:
            if len(content) < version.start or np.frombuffer(content, order + "i4", 1)[0] != version.size:
                continue
            if bytes(content[version.magic_at : version.magic_at + 4]) != version.magic:
                raise CtmarError(f"{name}: must be NIfTI in one file, got the header of a pair or of Analyze")
            return version, order
    raise CtmarError(f"{name}: must be a readable volume, got no NIfTI header")


def _affine(
    codes: list[int], pixdim: list[float], quaternion: list[float], rows: list[float]
) -> NDArray[np.float64]:
    """Voxels to RAS mm, ``(3, 4)``: by the sform, else the qform, else the voxel size alone."""
    sform = np.reshape(rows, (3, 4))
    if codes[1] > 0 and np.isfinite(sform).all() and (np.linalg.norm(sform[:, :3], axis=0) > 0).all():
        return sform
    size = np.abs(pixdim[1:4])
    if codes[0] <= 0:
        return np.hstack([np.diag(size), np.zeros((3, 1))])
    b, c, d = quaternion[:3]
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    turned = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    size[2] *= -1 if pixdim[0] < 0 else 1
    return np.hstack([turned * size, np.reshape(quaternion[3:], (3, 1))])
