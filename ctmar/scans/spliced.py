"""NRRD and MetaImage files written with the header that came, byte for byte but for a size."""

import bz2
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ctmar.errors import CtmarError

LONGEST_HEADER = 2**20
GZIP_LEVEL = 4
ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "text": "text",
    "txt": "text",
    "ascii": "text",
}


class Frame(NamedTuple):
    """How a file's voxels are stored behind its header.

    Attributes:
        header: All bytes before them.
        encoding: ``raw``, ``gzip``, ``bzip2``, ``text`` or, of a MetaImage, ``zlib``.
        big: Whether numbers are big-endian.
    """

    header: bytes
    encoding: str
    big: bool


def read_frame(path: Path) -> Frame:
    """The header of an NRRD or MetaImage file, and how voxels follow it.

    Raises:
        CtmarError: Voxels in another file, or in an encoding that is not written here.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    return _nrrd(head, path.name) if head.startswith(b"NRRD") else _meta(head, path.name)


def write_frame(frame: Frame, voxels: NDArray[Any], path: Path) -> None:
    """Writes voxels behind a header.

    Args:
        frame: Of the file that they came from.
        voxels: ``(z, y, x)``.
        path: The file.
    """
    header = frame.header
    data = voxels.astype(voxels.dtype.newbyteorder(">" if frame.big else "<")).tobytes()
    if frame.encoding == "gzip":
        stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        data = stream.compress(data) + stream.flush()
    elif frame.encoding == "zlib":
        data = zlib.compress(data, GZIP_LEVEL)
        header = re.sub(rb"(?m)^(CompressedDataSize\s*=\s*)\d+", rb"\g<1>%d" % len(data), header)
    elif frame.encoding == "bzip2":
        data = bz2.compress(data)
    elif frame.encoding == "text":
        data = "\n".join(" ".join(map(str, row)) for plane in voxels for row in plane).encode() + b"\n"
    with path.open("wb") as file:
        file.write(header)
        file.write(data)


def _nrrd(head: bytes, name: str) -> Frame:
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None:
        raise CtmarError(f"{name}: must be an NRRD header, an empty line and voxels, got no empty line")
    header = head[: end.end()]
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in key:
            fields[key.strip().lower()] = value.strip().lower()
    if "data file" in fields or "datafile" in fields:
        raise CtmarError(f"{name}: a volume must be one file, got an NRRD header whose voxels are elsewhere")
    skips = {key for key in ("line skip", "lineskip", "byte skip", "byteskip") if fields.get(key, "0") != "0"}
    encoding = ENCODINGS.get(fields.get("encoding", ""), "")
    if skips or not encoding:
        what = f"{sorted(skips)[0]}" if skips else "another encoding"
        raise CtmarError(f"{name}: voxels must follow the header, raw, gzip, bzip2 or text, got {what}")
    return Frame(header, encoding, fields.get("endian") == "big")


def _meta(head: bytes, name: str) -> Frame:
    end = re.search(rb"(?m)^ElementDataFile\s*=\s*(.*?)\s*?\n", head)
    if end is None or end.group(1).strip() != b"LOCAL":
        raise CtmarError(f"{name}: a volume must be one file, got a MetaImage whose voxels are elsewhere")
    header = head[: end.end()]
    fields = {
        key.strip(): value.strip().lower()
        for key, equals, value in (line.partition("=") for line in header.decode("latin-1").splitlines())
        if equals
    }
    order = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "false"))
    encoding = "raw" if fields.get("BinaryData", "true") == "true" else "text"
    if fields.get("CompressedData") == "true":
        encoding = "zlib"
        if "CompressedDataSize" not in fields:
            raise CtmarError(f"{name}: CompressedDataSize must be stated, got none")
    return Frame(header, encoding, order == "true")
