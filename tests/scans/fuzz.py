"""Broken DICOM by the thousand: ``python -m tests.scans.fuzz [COUNT] [FIRST_SEED]``.

Each seed breaks one file of a small series or enhanced file, in its bytes or its elements, and corrects
it. It must end in a whole output, or in one line and no output; never in another exception, and the input
stays.
"""

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.stored.methods import STORED
from tests.scans.dicom_maker import ct_slice, write
from tests.scans.seeds import run_seeds

PIXELS = 24
ODD_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 4096, 65535, 65536, 2**31 - 1, -(2**31), 2**32)
ODD_TEXTS = (
    "",
    "0",
    "-1",
    "NaN",
    "inf",
    "1e308",
    "1e-320",
    "1\\2",
    "1\\2\\3\\4\\5\\6\\7",
    "x",
    "\\\\",
    "é" * 40,
    "9" * 70,
)
SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    RLELossless,
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    JPEGLSLossless,
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.102",
    "1.2.3",
    "",
)


def volume() -> np.ndarray:
    """Three slices, metal in the middle."""
    hu = np.full((3, PIXELS, PIXELS), -1000.0)
    hu[:, 4:20, 4:20] = 40
    hu[1, 10:13, 9:12] = 3000
    return hu


def make(folder: Path, kind: str) -> None:
    """The series, whole."""
    from tests.scans.test_dicom import enhanced, transcoded

    folder.mkdir()
    if kind == "enhanced":
        write(enhanced(volume()), folder / "e.dcm")
        return
    syntaxes = {
        "plain": None,
        "implicit": ImplicitVRLittleEndian,
        "big": ExplicitVRBigEndian,
        "rle": RLELossless,
        "jpegls": JPEGLSLossless,
    }
    for index, hu in enumerate(volume()):
        dataset = ct_slice(hu, index)
        if syntaxes[kind] is not None:
            transcoded(syntaxes[kind])(dataset, index)
        write(dataset, folder / f"{index}.dcm")


def flip(data: bytes, rng: np.random.Generator, first: int, last: int) -> bytes:
    """A few bytes between two places at random."""
    broken = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        broken[int(rng.integers(first, max(last, first + 1)))] = int(rng.integers(256))
    return bytes(broken)


def flip_header(data: bytes, rng: np.random.Generator) -> bytes:
    """In the header."""
    return flip(data, rng, 128, min(len(data), 1800))


def flip_anywhere(data: bytes, rng: np.random.Generator) -> bytes:
    """Anywhere, mostly in the pixels."""
    return flip(data, rng, 128, len(data))


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Its end missing."""
    return data[: int(rng.integers(0, len(data)))]


def stuff(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes put in."""
    at = int(rng.integers(128, len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    """A piece twice."""
    at, size = int(rng.integers(128, len(data))), int(rng.integers(1, 600))
    return data[: at + size] + data[at:]


def syntax(data: bytes, rng: np.random.Generator) -> bytes:
    """Another transfer syntax than it is in."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    chosen = str(rng.choice(SYNTAXES))
    old = str(dataset.file_meta.TransferSyntaxUID).encode()
    new = chosen.encode()
    return data.replace(
        old.ljust(len(old) + len(old) % 2, b"\0"), new.ljust(len(old) + len(old) % 2, b"\0"), 1
    )


def delete(data: bytes, rng: np.random.Generator) -> bytes:
    """An element missing."""

    def change(dataset: Dataset) -> None:
        del dataset[list(dataset.keys())[int(rng.integers(len(dataset)))]]

    return _changed(data, change)


def odd_value(data: bytes, rng: np.random.Generator) -> bytes:
    """An element with a value that it should not have."""

    def change(dataset: Dataset) -> None:
        element = dataset[list(dataset.keys())[int(rng.integers(len(dataset)))]]
        if element.VR in ("US", "SS", "UL", "SL", "FD", "FL"):
            element.value = int(rng.choice(ODD_NUMBERS)) % (2**15 if element.VR in ("US", "SS") else 2**31)
        elif element.VR == "SQ":
            element.value = [] if rng.integers(2) else [Dataset(), Dataset()]
        elif element.VR in ("OW", "OB"):
            element.value = rng.bytes(2 * int(rng.integers(0, 2000)))
        else:
            element.value = str(rng.choice(ODD_TEXTS))

    return _changed(data, change)


def odd_shape(data: bytes, rng: np.random.Generator) -> bytes:
    """What shapes the pixels, otherwise."""
    names = "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel"

    def change(dataset: Dataset) -> None:
        setattr(dataset, str(rng.choice(names.split())), int(rng.choice(ODD_NUMBERS)) % 65536)
        if rng.integers(3) == 0:
            dataset.NumberOfFrames = int(rng.choice(ODD_NUMBERS[:8]))

    return _changed(data, change)


def _changed(data: bytes, change: Callable[[Dataset], None]) -> bytes:
    """The file after a change of its dataset; as it was where that cannot be written."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            change(dataset)
            out = io.BytesIO()
            dataset.save_as(out)
            return out.getvalue()
    except Exception:
        return data


MUTATIONS = (flip_header, flip_anywhere, cut, stuff, repeat, syntax, delete, odd_value, odd_value, odd_shape)
KINDS = ("plain", "implicit", "big", "rle", "jpegls", "enhanced")


def one(seed: int, folder: Path, kinds: tuple[str, ...] = KINDS) -> str:
    """Breaks and corrects; what came of it.

    Raises:
        AssertionError: Something half-written, a changed input, a message of several lines.
        Exception: Whatever a user would have seen as a traceback.
    """
    rng = np.random.default_rng(seed)
    source, output = folder / "in", folder / "out"
    make(source, kinds[seed % len(kinds)])
    victim = sorted(source.iterdir())[int(rng.integers(len(list(source.iterdir()))))]
    for _ in range(int(rng.integers(1, 3))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        try:
            victim.write_bytes(mutation(victim.read_bytes(), rng))
        except Exception:  # broken twice: the first time was enough
            break
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    told: list[str] = []
    try:
        record = correct_file(source, output, lambda clipped: STORED["nmar"], Request(), told.append)
        names = [path.name for path in output.iterdir()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd values that were kept
            slices = [pydicom.dcmread(output / name) for name in names if name.endswith(".dcm")]
        frames = sum(int(dataset.get("NumberOfFrames") or 1) for dataset in slices)
        assert frames == record["slices"] and {"report.html", "correction.json"} <= set(names)
        result = "whole"
    except CtmarError as error:
        assert "\n" not in str(error) and "Secret" not in str(error) and "SECRET" not in str(error), error
        assert not output.exists()
        result = "refused"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert before == {path.name: path.read_bytes() for path in source.iterdir()}
    assert not any("Secret" in line or "SECRET" in line for line in told)
    return result


def main(count: int = 1000, first: int = 0) -> int:
    """Runs the seeds; the number that failed."""
    warnings.simplefilter("ignore")
    return run_seeds(one, range(first, first + count))


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])) > 0)
