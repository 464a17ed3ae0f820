"""From the slices of a DICOM input to one series in order, with a note on all that had to be handled."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctmar.clinical.dicom_files import Header, read_headers
from ctmar.errors import CtmarError

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


def by_series(headers: Sequence[Header]) -> dict[tuple[str, str], list[Header]]:
    """Slices by series. A blank UID, as anonymisers leave it, is one like another."""
    series: dict[tuple[str, str], list[Header]] = {}
    for header in headers:
        series.setdefault((header.series, header.series_number), []).append(header)
    return series


def choose(headers: Sequence[Header], wanted: str | None, left_out: Counter[str]) -> list[Header]:
    """The slices of the one series, or of that which is asked for by number or UID.

    Raises:
        CtmarError: No CT image; several series and none asked for; none of that name.
    """
    series = by_series(headers)
    if not series:
        counts = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "nothing"
        raise CtmarError(f"the input must hold a CT series, got {counts}")
    if wanted is not None:
        series = {key: slices for key, slices in series.items() if wanted in key}
    if len(series) != 1:
        # UIDs are left out: they lead to the patient.
        listed = ", ".join(f"{key[1] or '-'} ({len(s)} slices)" for key, s in by_series(headers).items())
        asked = "one CT series" if wanted is None else "one CT series of that number or UID"
        raise CtmarError(f"the input must hold {asked} (see --series), got numbers {listed}")
    return next(iter(series.values()))


def in_order(headers: Sequence[Header]) -> tuple[list[Header], tuple[float, ...], list[str]]:
    """A series sorted along its normal: slices, their places in mm, notes.

    Raises:
        CtmarError: Slices that do not belong together, or do not lie across the patient; names the file.
    """
    notes: list[str] = []
    _check_alike(headers)
    slices = _without_copies(headers, notes)
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


def _check_alike(headers: Sequence[Header]) -> None:
    for what, value in (
        ("rows and columns", lambda h: h.shape),
        ("pixel spacing", lambda h: tuple(round(s, 4) for s in h.spacing_mm)),
        ("orientation", lambda h: h.orientation and tuple(round(x, 3) + 0.0 for x in h.orientation)),
    ):
        values = [value(header) for header in headers]
        common = Counter(values).most_common(1)[0][0]
        for header, found in zip(headers, values, strict=True):
            if found != common:
                raise CtmarError(
                    f"{header.path.name}: slices of a series must have one {what}, {common}, got {found}"
                )


def _without_copies(headers: Sequence[Header], notes: list[str]) -> list[Header]:
    known: set[tuple[str, int | None]] = set()
    kept = []
    for header in headers:
        key = (header.instance, header.frame)
        if header.instance and key in known:
            continue
        known.add(key)
        kept.append(header)
    if len(kept) < len(headers):
        notes.append(f"{len(headers) - len(kept)} copies of slices left out")
    return kept


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
