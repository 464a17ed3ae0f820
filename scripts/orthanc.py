"""A series of an Orthanc server, corrected and stored beside it: ``python scripts/orthanc.py URL SERIES``.

``SERIES`` is Orthanc's own identifier of the series, as ``/series`` lists it, or ``new`` for each CT series
that none was derived from yet. The original comes as a zip over REST, the corrected one goes back by DICOMweb
(STOW-RS). User and password are taken from ``ORTHANC_USER`` and ``ORTHANC_PASSWORD``.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from ctmar.clinical.job import Request, correct_file
from ctmar.errors import CtmarError
from ctmar.stored.methods import DEFAULT_METHOD, STORED, stored_method

TIMEOUT_S = 600
MARK = "MAR"
"""In the description of what has been corrected (``ctmar.scans.dicom.derive``)."""


def request(url: str, data: bytes | None = None, **headers: str) -> bytes:
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
        asked = urllib.request.Request(url, data, fields)
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:  # nosec B310: the operator's own URL
            body: bytes = answer.read()
            return body
    except OSError as error:
        raise CtmarError(f"Orthanc must answer at {url.split('?', maxsplit=1)[0]}, got {error}") from None


def uncorrected(url: str) -> list[str]:
    """CT series of studies, without those that are corrected and those that have been."""
    every = json.loads(request(f"{url}/series?expand"))
    tags = [(series["ID"], series["ParentStudy"], series["MainDicomTags"]) for series in every]
    done = {
        (study, tag.get("SeriesDescription", "").rpartition(f" {MARK} ")[0])
        for _, study, tag in tags
        if f" {MARK} " in tag.get("SeriesDescription", "")
    }
    return [
        identifier
        for identifier, study, tag in tags
        if tag.get("Modality") == "CT"
        and f" {MARK} " not in tag.get("SeriesDescription", "")
        and (study, tag.get("SeriesDescription") or "CT") not in done
    ]


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
            archive, output, lambda clipped: stored_method(method), Request(), lambda line: None
        )
        if not record["slices_corrected"]:
            return "no metal: nothing stored"
        files = sorted(output.glob("*.dcm"))
        taken = store(url, files)
        if taken != len(files):
            raise CtmarError(f"Orthanc must take all {len(files)} files, got {taken}")
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
