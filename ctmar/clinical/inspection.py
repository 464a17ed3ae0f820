"""``ctmar inspect``: what an input holds, and what a correction of it would do."""

from collections.abc import Callable
from pathlib import Path

from ctmar.clinical.request import Request
from ctmar.clinical.survey import Progress, Survey, describe, survey
from ctmar.scans.dicom.parts import by_name, differences
from ctmar.scans.dicom.series import Read
from ctmar.scans.opening import opened


def inspect(
    source: Path,
    request: Request,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Sentences about an input, without patient data.

    Args:
        source: DICOM folder, zip or file, NIfTI, NRRD or MetaImage; only read.
        request: What counts as metal, and which series to look into.
        progress: Told of each slice.
        tell: Told of all that is there, before a series of it may be refused, and then of the rest.

    Raises:
        CtmarError: Nothing that could be corrected.
    """
    lines: list[str] = []

    def look(read: Read) -> None:
        lines.extend(contents(read))
        for line in lines:
            tell(line)

    with opened(source, request.series, look) as scan:
        found = survey(scan, request.rule(), request.min_area_mm2, progress)
        rows, columns = scan.shape
        reach = abs(scan.places_mm[-1] - scan.places_mm[0])
        more = [
            f"{rows} x {columns} pixels of {scan.spacing_mm[0]:.4g} x {scan.spacing_mm[1]:.4g} mm,"
            f" {len(scan.places_mm)} slices over {reach:.4g} mm",
            *scan.notes,
            *found.notes,
            describe(found, len(scan.places_mm)),
            _would_do(found, len(scan.places_mm)),
        ]
    for line in more:
        tell(line)
    return lines + more


def contents(read: Read) -> list[str]:
    """Sentences about all series and files of a DICOM input, also those that cannot be taken."""
    found = by_name(read.headers, read.faults)
    lines = []
    for name, slices in found.parts.items():
        kernel = slices[0].kernel or "unknown"
        number = "" if slices[0].series_number else " (without a number)"
        lines.append(f"CT series {name}{number}: {len(slices)} slices, kernel {kernel}")
    for name, faulty in found.faults.items():
        lines.append(f"CT series {name}: {len(faulty)} files refused: {faulty[0].said}")
    lines += [f"several CT series, {line}" for line in differences(found.parts)]
    lines += [f"refused: {fault.said}" for fault in found.unknown]
    return lines + [f"{count} files: {why}" for why, count in sorted(read.left_out.items())]


def _would_do(found: Survey, count: int) -> str:
    metal = found.metal
    if not metal:
        return "no metal: a correction would leave every slice as it is"
    return (
        f"metal in {len(metal)} slices, {metal[0] + 1} to {metal[-1] + 1}: a correction would change these"
        f" and leave {count - len(metal)} as they are"
    )
