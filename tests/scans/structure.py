"""Whole studies changed in their structure: ``python -m tests.scans.structure [COUNT] [FIRST_SEED]``.

Where :mod:`tests.scans.fuzz` breaks bytes, each seed here makes a small study that is as odd as real ones:
an attribute, a sequence, a file or a set of files is changed, and what is right is known. It is inspected and
corrected. Either there is a line, which holds nothing of the patient, and no output; or an output in which

* there are as many slices as there should be,
* patient and study are the bytes that came, and the place and spacing of each slice are its source's,
* slices without metal, padding and metal hold the values that came, and others changed,
* pydicom, SimpleITK and, where it is installed, dcmtk read the same pixels.
"""

import io
import logging
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from ctmar.clinical.inspection import inspect
from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.stored.methods import STORED
from tests.children import run
from tests.scans.dicom_maker import write
from tests.scans.seeds import run_seeds
from tests.scans.studies import GENTLE, IDENTITY, MUTATIONS, PIXELS, PLACE, SECRETS, Study, study

DUMP = shutil.which("dcmdump")


def make(seed: int) -> Study:
    """The study of a seed: one change, and sometimes a gentle one more."""
    rng = np.random.default_rng(seed)
    made = study(rng)
    change = MUTATIONS[seed % len(MUTATIONS)]
    change(made)
    if rng.integers(3) == 0:
        extra = GENTLE[int(rng.integers(len(GENTLE)))]
        if extra is not change and made.slices[0].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian:
            extra(made)
    return made


def lay_out(made: Study, folder: Path) -> tuple[Path, list[bytes]]:
    """Writes a study; where it is, and the files of its slices."""
    source = folder / "in"
    source.mkdir()
    written: list[tuple[str, bytes]] = []
    for number, dataset in enumerate(made.slices):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(dataset, folder / "one.dcm")
        data = (folder / "one.dcm").read_bytes()
        for keyword, value, index in made.raws:
            data = spliced(data, keyword, value) if index in (None, number) else data
        for change in made.after:
            data = change(data)
        written.append((made.names.get(number, f"image_{number:03d}.dcm"), data))
    (folder / "one.dcm").unlink()
    others = [
        (name, spliced_all(made, _as_bytes(other)) if isinstance(other, Dataset) else other)
        for name, other in made.others.items()
    ]
    if made.zipped:
        with zipfile.ZipFile(folder / "in.zip", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there
            for name, data in [*written, *others]:
                archive.writestr(name, data)
        return folder / "in.zip", [data for _, data in written]
    for name, data in [*written, *others]:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
    return source, [data for _, data in written]


def spliced(data: bytes, keyword: str, value: bytes) -> bytes:
    """A file, explicit and little-endian, with an element's value replaced by any bytes."""
    tag = Tag(keyword)
    vr = pydicom.datadict.dictionary_VR(tag).encode()
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + vr
    at = data.find(head, 132)
    if at < 0:
        return data
    size = int.from_bytes(data[at + 6 : at + 8], "little")
    value += b" " * (len(value) % 2)
    return data[: at + 6] + len(value).to_bytes(2, "little") + value + data[at + 8 + size :]


def spliced_all(made: Study, data: bytes) -> bytes:
    """The same for a further file of the study."""
    for keyword, value, index in made.raws:
        if index is None:
            data = spliced(data, keyword, value)
    return data


def _as_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def told(call: Callable[[], Any]) -> tuple[Any, str, str]:
    """What a call gives, the line it refuses with, and all that it says anywhere."""
    out, err, log = io.StringIO(), io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    result, line = None, ""
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = call()
            except CtmarError as error:
                line = str(error)
    finally:
        logging.getLogger().removeHandler(handler)
    everything = out.getvalue() + err.getvalue() + log.getvalue() + "".join(str(w.message) for w in caught)
    return result, line, everything + line


def one(seed: int, folder: Path) -> str:
    """Makes, inspects and corrects a study; what came of it.

    Raises:
        AssertionError: Something that should not be.
        Exception: Whatever a user would have seen as a traceback.
    """
    made = make(seed)
    source, files = lay_out(made, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    request, said = Request(series=made.series, also=made.also), []
    lines, line, everything = told(lambda: inspect(source, request))
    assert_silent(everything + "\n".join(lines or []))
    assert "\n" not in line
    if made.refused and not made.also:
        assert line, "inspect took it"
    output = folder / "out"
    method = STORED["nmar"]
    record, line, everything = told(
        lambda: correct_file(source, output, lambda clipped: method, request, said.append)
    )
    everything += "\n".join(said)
    assert_silent(everything)
    assert {path: path.read_bytes() for path in before} == before, "the input was changed"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "something was left"
    for wanted in made.said:
        assert wanted in everything, f"not said: {wanted}: {everything}"
    if line:
        assert made.refused is not False, f"refused: {line}"
        assert "\n" not in line and "Error" not in line and not output.exists(), line
        return "refused"
    assert not made.refused, "taken"
    check(made, record, files, output, thorough=seed % 5 == 0)
    return "whole"


def assert_silent(said: str) -> None:
    """Nothing of the patient is said."""
    assert not any(secret in said for secret in SECRETS), said


def check(made: Study, record: dict[str, Any], files: list[bytes], output: Path, thorough: bool) -> None:
    """Holds an output against what came."""
    results = sorted(output.glob("ct_*.dcm"))
    assert len(results) == record["slices"] == (made.expected or len(files))
    assert {"report.html", "correction.json"} <= {path.name for path in output.iterdir()}
    assert ("metal_seg.dcm" in {path.name for path in output.iterdir()}) == ("seg" in made.also)
    for name in ("report.html", "correction.json"):
        assert_silent((output / name).read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources = {_place(one): (number, one) for number, one in enumerate(map(_read, files))}
        derived = [_read(path.read_bytes()) for path in results]
        assert len({one.SOPInstanceUID for one in derived}) == len(derived)
        assert len({one.SeriesInstanceUID for one in derived}) == 1
        for path, result in zip(results, derived, strict=True):
            number, source = sources[_place(result)]
            for keyword in (*IDENTITY, *PLACE):
                if keyword in source and source.get_item(keyword).value not in (b"", None, ""):
                    assert _raw(result, keyword) == _raw(source, keyword), keyword
            _check_pixels(made, number, source, result)
            if thorough:
                _check_readers(path, result)
        if "seg" in made.also:
            segmentation = _read((output / "metal_seg.dcm").read_bytes())
            assert (_raw(segmentation, "PatientID") or b"") == (_raw(derived[0], "PatientID") or b"")


def _read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data), force=True)


def _place(dataset: Dataset) -> tuple[float, ...]:
    return tuple(round(float(x), 3) for x in dataset.ImagePositionPatient)


def _raw(dataset: Dataset, keyword: str) -> bytes | None:
    """An element's own bytes, without padding."""
    if keyword not in dataset:
        return None
    value = dataset.get_item(keyword).value
    return value.strip(b" \0") if isinstance(value, bytes) else str(value).encode()


def _check_pixels(made: Study, number: int, source: Dataset, result: Dataset) -> None:
    after = np.frombuffer(result.PixelData, f"<{'i' if result.PixelRepresentation else 'u'}2")
    after = after.reshape(PIXELS, PIXELS)
    raw = made.stored[number]
    metal = made.steel[number]
    assert after.dtype == raw.dtype
    if not (made.metal and metal.any()):
        assert np.array_equal(after, raw), "a slice without metal was changed"
        return
    other = after != raw
    assert other.any(), "a slice with metal was not changed"
    assert not other[metal].any(), "metal was changed"
    if made.padding is not None:
        assert not other[made.padding].any(), "padding was changed"


def _check_readers(path: Path, result: Dataset) -> None:
    bits = 2 ** int(result.BitsStored) - 1
    stored = np.frombuffer(result.PixelData, f"<{'i' if result.PixelRepresentation else 'u'}2")
    own = stored if result.PixelRepresentation else stored & bits
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    image = reader.Execute()
    hu = own.astype(float) * float(result.RescaleSlope) + float(result.RescaleIntercept)
    assert np.allclose(sitk.GetArrayFromImage(image).ravel(), hu), "SimpleITK reads others"
    assert np.allclose(image.GetSpacing()[:2], [float(x) for x in result.PixelSpacing][::-1])
    if DUMP is not None:
        with tempfile.TemporaryDirectory() as folder:
            assert run([DUMP, "-q", "+W", folder, path], limit=60).returncode == 0
            (dumped,) = Path(folder).glob("*.raw")
            assert dumped.read_bytes() == result.PixelData, "dcmtk reads others"


def main(count: int = 3000, first: int = 0) -> int:
    """Runs the seeds; the number that failed."""
    return run_seeds(
        one, range(first, first + count), lambda seed: f" ({MUTATIONS[seed % len(MUTATIONS)].__name__})"
    )


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])) > 0)
