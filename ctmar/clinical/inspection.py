"""``ctmar inspect``: what an input holds, and what a correction of it would do."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ctmar.clinical.job import Request, describe
from ctmar.clinical.survey import Progress, survey
from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import Header, quiet_pydicom, read_headers
from ctmar.scans.dicom.parts import by_name, differences
from ctmar.scans.opening import files_of, opened
from ctmar.scans.stack import SliceStack
from ctmar.scans.volume import suffix_of
from ctmar.stored.metal import MetalRule, find_metal


def inspect(source: Path, request: Request, progress: Progress | None = None) -> list[str]:
    """Sentences about an input, without patient data.

    Args:
        source: DICOM folder, zip or file, NIfTI, NRRD or MetaImage; only read.
        request: What counts as metal, and which series to look into.
        progress: Told of each slice.

    Raises:
        CtmarError: Nothing that could be corrected.
    """
    lines = _contents(source) if source.is_dir() or suffix_of(source) is None else []
    with opened(source, request.series) as scan:
        found = survey(scan, request.rule(), request.min_area_mm2, progress)
        rows, columns = scan.shape
        reach = abs(scan.places_mm[-1] - scan.places_mm[0])
        lines.append(
            f"{rows} x {columns} pixels of {scan.spacing_mm[0]:.4g} x {scan.spacing_mm[1]:.4g} mm,"
            f" {len(scan.places_mm)} slices over {reach:.4g} mm"
        )
        lines += scan.notes
        lines.append(describe(found, len(scan.places_mm)))
        lines.append(_would_do(scan, found.bright, found.rule))
    return lines


def _contents(source: Path) -> list[str]:
    """The series of a DICOM input, also where there are several."""
    if not source.exists():
        return []
    quiet_pydicom()
    headers: list[Header] = []
    others: Counter[str] = Counter()
    lines = []
    with files_of(source) as files:
        for path in files:
            try:
                found, why = read_headers(path)
            except CtmarError as error:
                lines.append(f"refused: {error}")
                continue
            headers += found
            others.update([why] if why else [])
    parts = by_name(headers)
    for name, slices in parts.items():
        kernel = slices[0].kernel or "unknown"
        number = "" if slices[0].series_number else " (without a number)"
        lines.append(f"CT series {name}{number}: {len(slices)} slices, kernel {kernel}")
    lines += [f"several CT series, {line}" for line in differences(parts)]
    return lines + [f"{count} files: {why}" for why, count in sorted(others.items())]


def _would_do(scan: SliceStack, bright: Sequence[int], rule: MetalRule) -> str:
    area = scan.spacing_mm[0] * scan.spacing_mm[1]
    metal = [k for k in bright if find_metal(scan.read(k), area, rule).any()]
    if not metal:
        return "no metal: a correction would leave every slice as it is"
    return (
        f"metal in {len(metal)} slices, {metal[0] + 1} to {metal[-1] + 1}: a correction would change these"
        f" and leave {len(scan.places_mm) - len(metal)} as they are"
    )
