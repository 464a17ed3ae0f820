"""A series of an Orthanc server, corrected and stored beside it: ``python scripts/orthanc.py URL SERIES``.

``SERIES`` is Orthanc's own identifier of the series, as ``/series`` lists it, or ``new`` for each CT series
that none was derived from yet. The original comes as a zip over REST, the corrected one goes back by DICOMweb
(STOW-RS). User and password are taken from ``ORTHANC_USER`` and ``ORTHANC_PASSWORD``.

What was corrected is known by the images themselves: by the equipment that contributed to them, and by the
UIDs of their sources. UIDs of a derived series follow from those of its source and the method: a run that was
interrupted is completed by the next, and two at a time store the same images, of which a server keeps one.
Where there was nothing to store, or less than the source holds, the source's metadata says so.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import urllib.request
import uuid
import zipfile
from pathlib import Path
from typing import Any

from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.stored.methods import DEFAULT_METHOD, STORED, stored_method

TIMEOUT_S = 600
EQUIPMENT = "ctmar"
"""Model of the equipment that contributed to a derived image (``ctmar.scans.dicom.derive``)."""
STORED_OF = 4217
"""Number of the metadata, one of those that are the user's, that tells how many images came of how many."""


def request(url: str, data: bytes | None = None, method: str | None = None, **headers: str) -> bytes:
    """The body of the answer.

    Raises:
        CtmarError: The server is not there, or answers otherwise than 200.
    """
    user = os.environ.get("ORTHANC_USER")
    if user:
        token = base64.b64encode(f"{user}:{os.environ.get('ORTHANC_PASSWORD', '')}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        wanted = urllib.request.Request(url, data, fields, method=method)
        with urllib.request.urlopen(wanted, timeout=TIMEOUT_S) as answer:  # nosec B310: the operator's own URL
            body: bytes = answer.read()
            return body
    except (OSError, ValueError) as error:
        raise CtmarError(f"Orthanc must answer at {url.split('?', maxsplit=1)[0]}, got {error}") from None


def asked(url: str) -> Any:
    """What the server says, as plain types.

    Raises:
        CtmarError: It is not there, or says something else.
    """
    body = request(url)
    try:
        return json.loads(body)
    except ValueError:
        raise CtmarError(f"Orthanc must answer in JSON at {url.split('?', maxsplit=1)[0]}") from None


def uncorrected(url: str) -> list[str]:
    """CT series without those that are derived and those from which a whole series has been."""
    every = [one for one in asked(f"{url}/series?expand") if one["MainDicomTags"].get("Modality") == "CT"]
    derived: dict[str, int] = {}
    originals = []
    for series in every:
        sources = _sources(url, series["Instances"])
        if sources is None:
            originals.append(series)
        for source in sources or ():
            derived[source] = max(derived.get(source, 0), len(series["Instances"]))
    return [series["ID"] for series in originals if not _is_done(url, series, derived)]


def _sources(url: str, instances: list[str]) -> list[str] | None:
    """UIDs of the images that the first one of a series was derived from here; None for one that was not."""
    if not instances:
        return None
    tags = asked(f"{url}/instances/{instances[0]}/simplified-tags")
    contributed = tags.get("ContributingEquipmentSequence") or []
    if not any(one.get("ManufacturerModelName") == EQUIPMENT for one in contributed):
        return None
    return [one.get("ReferencedSOPInstanceUID", "") for one in tags.get("SourceImageSequence") or []]


def _is_done(url: str, series: dict[str, Any], derived: dict[str, int]) -> bool:
    """Whether as many images were derived from a series as it gives."""
    images = [
        one["MainDicomTags"]["SOPInstanceUID"] for one in asked(f"{url}/series/{series['ID']}/instances")
    ]
    stored = max((derived.get(uid, 0) for uid in images), default=0)
    return stored >= len(images) or _noted(url, series["ID"]) == f"{stored} of {len(images)}"


def _noted(url: str, identifier: str) -> str:
    try:
        return request(f"{url}/series/{identifier}/metadata/{STORED_OF}").decode("ascii", "replace").strip()
    except CtmarError:
        return ""  # there is none


def _note(url: str, identifier: str, stored: int, archive: Path) -> None:
    """Notes where no more than so many images come of those that a series had."""
    with zipfile.ZipFile(archive) as packed:
        total = len(packed.namelist())
    if stored < total:
        body = f"{stored} of {total}".encode()
        request(f"{url}/series/{identifier}/metadata/{STORED_OF}", body, "PUT")


def store(url: str, files: list[Path]) -> int:
    """Sends files by STOW-RS; how many the server took."""
    boundary = uuid.uuid4().hex
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + path.read_bytes() + b"\r\n"
        for path in files
    ]
    answer = request(
        f"{url}/dicom-web/studies",
        b"".join(parts) + f"--{boundary}--\r\n".encode(),
        Content_Type=f'multipart/related; type="application/dicom"; boundary={boundary}',
        Accept="application/dicom+json",
    )
    stored: Any = json.loads(answer).get("00081199", {}).get("Value", [])
    return len(stored)


def correct_series(url: str, identifier: str, method: str) -> str:
    """Fetches, corrects and stores a series; what was done, in a sentence."""
    with tempfile.TemporaryDirectory(prefix="ctmar-") as folder:
        archive, output = Path(folder) / "series.zip", Path(folder) / "out"
        archive.write_bytes(request(f"{url}/series/{identifier}/archive"))
        record = correct_file(
            archive,
            output,
            lambda clipped: stored_method(method),
            Request(repeatable=True),
            lambda line: None,
        )
        if not record["slices_corrected"]:
            _note(url, identifier, 0, archive)
            return "no metal: nothing stored"
        files = sorted(output.glob("*.dcm"))
        taken = store(url, files)
        if taken != len(files):
            raise CtmarError(f"Orthanc must take all {len(files)} files, got {taken}")
        _note(url, identifier, taken, archive)
        return f"{record['slices_corrected']} of {record['slices']} slices corrected, {taken} files stored"


def main() -> int:
    """Corrects what is named; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="such as http://localhost:8042")
    parser.add_argument("series")
    parser.add_argument("--method", choices=STORED, default=DEFAULT_METHOD)
    arguments = parser.parse_args()
    url = arguments.url.rstrip("/")
    try:
        every = uncorrected(url) if arguments.series == "new" else [arguments.series]
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    status = 0
    for series in every:
        try:
            print(f"{series}: {correct_series(url, series, arguments.method)}")
        except CtmarError as error:
            print(f"error: {series}: {error}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
