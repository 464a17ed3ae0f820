"""Vertebra labels where a CT has none: TotalSegmentator's program, if it is installed."""

import shutil
import subprocess
from pathlib import Path

from ctmar.errors import CtmarError

PROGRAMS = ("totalsegmentator",)
COMMAND = "TotalSegmentator"


def labels_of(ct: Path, segment: str | None, folder: Path) -> Path:
    """A label map of a CT in TotalSegmentator's ids, made once and kept in ``folder``.

    Args:
        ct: Volume file or DICOM folder.
        segment: One of ``PROGRAMS``; None where nothing may be run.
        folder: Where label maps are kept, under the CT's own name and place.

    Raises:
        CtmarError: Nothing may be run, the program is not installed, or it fails.
    """
    if segment is None:
        raise CtmarError(
            f"{ct} has no vertebra labels: give anatomy.labels, or let TotalSegmentator make them with"
            " anatomy.segment=totalsegmentator"
        )
    if segment not in PROGRAMS:
        raise CtmarError(f"segment must be null or one of {', '.join(PROGRAMS)}, got {segment!r}")
    if not ct.exists():
        raise CtmarError(f"CT must be a file or a DICOM folder, got {ct}, which does not exist")
    labels = folder / f"{ct.parent.name}-{ct.name.split('.')[0]}.nii.gz"
    if labels.is_file():
        return labels
    program = shutil.which(COMMAND)
    if program is None:
        raise CtmarError(
            f"segment=totalsegmentator needs the program {COMMAND}, which is not installed: pip install"
            " TotalSegmentator (Apache-2.0; it downloads its weights when it first runs), or give"
            " anatomy.labels"
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".part-{labels.name}"
    made = subprocess.run(
        [program, "-i", str(ct), "-o", str(partial), "--ml"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if made.returncode != 0 or not partial.is_file():
        said = (made.stderr or made.stdout).strip().splitlines()
        raise CtmarError(
            f"{COMMAND} must write labels of {ct}, it ended with status {made.returncode}:"
            f" {said[-1] if said else 'it said nothing'}"
        )
    partial.replace(labels)
    return labels
