"""From files to slices, and a series in order, with a note on all that had to be handled."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import Header, read_headers

LARGEST_TILT = 45.0
"""Degrees between slices and the patient's cross-section; beyond, they are a reformat, in whose planes no ray
of the scan ran."""
SAME_PLACE_MM = 1e-3
UNEVEN = 0.01


def read_all(files: Sequence[Path]) -> tuple[list[Header], Counter[str]]:
    """Slices of all files, and how many files were left out for which reason."""
    headers: list[Header] = []
    left_out: Counter[str] = Counter()
    for path in files:
        found, why = read_headers(path)
        headers += found
        left_out.update([why] if why else [])
    return headers, left_out


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
        raise CtmarError(
            f"{header.path.name}: ImageOrientationPatient must be two unit vectors at a right angle"
        )
    normal = np.asarray(np.cross(along[0], along[1]))
    tilt = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    if tilt > LARGEST_TILT:
        raise CtmarError(
            f"{header.path.name}: slices must lie across the patient, as they were scanned; these stand"
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
    missing = int(np.round(steps[steps > 1.5 * usual] / usual - 1).sum())
    if missing:
        notes.append(f"{missing} slices missing (a gap of {steps.max():.4g} mm): the others are corrected")
    elif steps.max() - steps.min() > UNEVEN * usual + SAME_PLACE_MM:
        notes.append(f"slices are {steps.min():.4g} to {steps.max():.4g} mm apart")
