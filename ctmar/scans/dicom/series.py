"""From files to slices, and a series in order, with a note on all that had to be handled."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import File
from ctmar.scans.dicom.headers import Fault, Header, read_headers

LARGEST_TILT = 45.0
"""Degrees between slices and the patient's cross-section; beyond, they are a reformat, in whose planes no ray
of the scan ran."""
SAME_PLACE_MM = 1e-3
UNEVEN = 0.01
DESIGNED = 3
"""So many equal steps in a row are meant, as those of a head whose slices are 4 mm, then 7 mm apart."""
WHOLE = 0.15
"""How far a gap may be from a whole number of steps."""


class Read(NamedTuple):
    """What files hold.

    Attributes:
        headers: Their slices.
        faults: Those that cannot be taken.
        left_out: How many others were left out, by the reason.
    """

    headers: list[Header]
    faults: list[Fault]
    left_out: Counter[str]


def read_all(files: Sequence[File]) -> Read:
    """Reads the headers of files, each once."""
    headers: list[Header] = []
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    for file in files:
        found = read_headers(file)
        headers += found.headers
        faults += [found.fault] if found.fault else []
        left_out.update([found.left_out] if found.left_out else [])
    return Read(headers, faults, left_out)


def in_order(headers: Sequence[Header]) -> tuple[list[Header], tuple[float, ...], list[str]]:
    """A series sorted along its normal: slices, their places in mm, notes.

    Raises:
        CtmarError: Slices that do not lie across the patient; names the file.
    """
    notes: list[str] = []
    slices = list(headers)
    if any(header.position is None or header.orientation is None for header in slices):
        slices.sort(key=lambda header: (header.instance_number, header.path, header.frame or 0))
        notes.append("no position in the header: slices in the order of their instance numbers")
        return slices, tuple(float(n) for n in range(len(slices))), notes
    normal = _normal(slices[0], notes)
    placed = [(float(np.dot(normal, np.asarray(header.position))), header) for header in slices]
    order = [(place, h.instance_number, str(h.path), h.frame or 0, h) for place, h in placed]
    order.sort(key=lambda row: row[:4])
    places = tuple(row[0] for row in order)
    files = [row[2] for row in order]
    if files not in (sorted(files), sorted(files, reverse=True)):
        notes.append("names of the files are in another order than slices: sorted by position")
    _note_steps(places, notes)
    return [row[4] for row in order], places, notes


def _normal(header: Header, notes: list[str]) -> np.ndarray:
    along = np.reshape(np.asarray(header.orientation), (2, 3))
    if np.abs(along @ along.T - np.eye(2)).max() > 1e-2:
        raise CtmarError(f"{header.name}: ImageOrientationPatient must be two unit vectors at a right angle")
    normal = np.asarray(np.cross(along[0], along[1]))
    tilt = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    if tilt > LARGEST_TILT:
        raise CtmarError(
            f"{header.name}: slices must lie across the patient, as they were scanned; these stand"
            f" {tilt:.0f}° off, as a reformat does"
        )
    if tilt > 0.5:
        notes.append(f"gantry tilted by {tilt:.1f}°: each slice is corrected in its own plane")
    return normal


def _note_steps(places: tuple[float, ...], notes: list[str]) -> None:
    steps = np.diff(places)
    twice = int((steps < SAME_PLACE_MM).sum())
    if twice:
        notes.append(f"{twice} slices lie where another lies: each is corrected by itself")
    steps = steps[steps >= SAME_PLACE_MM]
    if not steps.size:
        return
    usual = float(np.median(steps))
    missing, widest = _missing(steps)
    if missing:
        notes.append(f"{missing} slices missing (a gap of {widest:.4g} mm): the others are corrected")
    elif steps.max() - steps.min() > UNEVEN * usual + SAME_PLACE_MM:
        notes.append(f"slices are {steps.min():.4g} to {steps.max():.4g} mm apart")


def _missing(steps: NDArray[np.floating]) -> tuple[int, float]:
    """How many slices are missing, and the widest gap; none where a series changes its step by design.

    A gap is a whole multiple of the lesser of the usual steps on its two sides, and no more than one like it
    follows: three equal steps in a row are a design.
    """
    other = np.abs(np.diff(steps)) > UNEVEN * steps[:-1] + SAME_PLACE_MM
    runs = np.split(steps, np.flatnonzero(other) + 1)
    usual = float(np.median(steps))
    missing, widest = 0, 0.0
    for number, run in enumerate(runs):
        beside = [float(one[0]) for one in runs[max(number - 1, 0) : number + 2] if len(one) >= DESIGNED]
        multiple = float(run[0]) / min(beside, default=usual)
        if len(run) < DESIGNED and multiple > 1.5 and abs(multiple - round(multiple)) <= WHOLE:
            missing += len(run) * (round(multiple) - 1)
            widest = max(widest, float(run[0]))
    return missing, widest
