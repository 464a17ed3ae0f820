"""``ctmar correct``: from an input to its output, which is there as a whole or not at all."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import ctmar
from ctmar.clinical.difference import DifferenceSink
from ctmar.clinical.process import Outcome, process
from ctmar.clinical.survey import Progress, Survey, survey
from ctmar.clinical.viewer import correction_page
from ctmar.errors import CtmarError
from ctmar.methods.base import Method
from ctmar.metrics import SHELLS_MM
from ctmar.scans.opening import opened
from ctmar.scans.output import check_output, whole
from ctmar.scans.stack import Derivation, Sink, SliceStack
from ctmar.scans.volume import NIFTI, suffix_of
from ctmar.stored.metal import GROWN_SHARE, LEAST_AREA_MM2, MetalRule
from ctmar.stored.slices import SliceCorrector

EXTRAS = ("difference", "uncertainty", "seg")

MakeMethod = Callable[[bool], Method]
"""Makes the method for a scan whose values are cut off in metal, or are not."""


@dataclass(frozen=True)
class Request:
    """What is asked for beside input, output and method.

    Attributes:
        high_hu: Upper threshold of metal; None for the scan's own.
        low_hu: Lower threshold; None for its usual share of the upper.
        min_area_mm2: Smaller regions are no metal.
        series: Name, number or UID of a DICOM series.
        also: From :data:`EXTRAS`.
        overwrite: Whether an output may be replaced.
    """

    high_hu: float | None = None
    low_hu: float | None = None
    min_area_mm2: float = LEAST_AREA_MM2
    series: str | None = None
    also: tuple[str, ...] = ()
    overwrite: bool = False

    def rule(self) -> MetalRule | None:
        """The rule that is asked for; None for an automatic one."""
        if self.high_hu is None:
            if self.low_hu is not None:
                raise CtmarError("a lower threshold needs an upper one (--threshold), got none")
            return None
        low = GROWN_SHARE * self.high_hu if self.low_hu is None else self.low_hu
        return MetalRule(self.high_hu, low, self.min_area_mm2)


def correct_file(
    source: Path,
    output: Path,
    make_method: MakeMethod,
    request: Request,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Corrects a scan on disk.

    Args:
        source: DICOM folder, zip or file, NIfTI, NRRD or MetaImage; only read.
        output: A folder; for a volume file the file, by its suffix, or a folder for it.
        make_method: Makes the method.
        request: Everything else.
        say: Told in sentences, without patient data, what is found and done.
        progress: Told of each slice.

    Returns:
        What ``correction.json`` holds.

    Raises:
        CtmarError: Anything that stands against it; the output is as it was.
    """
    rule = request.rule()
    if not source.exists():
        raise CtmarError(f"the input must be a file or a folder, got {source}, which does not exist")
    is_volume = source.is_file() and suffix_of(source) is not None
    is_folder = not is_volume or suffix_of(output) is None
    _check_suffixes(source, output, is_volume, is_folder)
    check_output(output, source, is_folder, request.overwrite)
    started = time.monotonic()
    with opened(source, request.series) as scan:
        for note in scan.notes:
            say(note)
        if "seg" in request.also and not scan.is_dicom:
            raise CtmarError("seg is a DICOM object: it needs a DICOM input, got a volume file")
        found = survey(scan, rule, request.min_area_mm2, progress)
        say(describe(found, len(scan.places_mm)))
        method = make_method(found.clipped)
        corrector = SliceCorrector(scan.shape, scan.spacing_mm, method, clipped=found.clipped)
        with whole(output, is_folder) as work:
            name = output.name if not is_folder else None
            sinks = [_sink(scan, work, found, method, name), *_extras(scan, work, request, name)]
            outcome = process(
                scan,
                sinks,
                corrector,
                found,
                progress,
                with_spread="uncertainty" in request.also,
                keep_masks="seg" in request.also,
            )
            if "seg" in request.also and outcome.masks:
                from ctmar.scans.dicom.segmentation import write_segmentation

                write_segmentation(work, scan.shape, outcome.masks)
            record = summary(scan, found, method.name, outcome, time.monotonic() - started)
            _write_report(work, record, outcome, name)
    say(describe_outcome(record))
    return record


def _check_suffixes(source: Path, output: Path, is_volume: bool, is_folder: bool) -> None:
    if is_folder and is_volume and output.suffix and not output.is_dir():
        raise CtmarError(f"the output must be a folder or a file like the input, got {output.name}")
    if not is_volume and suffix_of(output) is not None:
        raise CtmarError(f"the output of a DICOM series must be a folder, got {output.name}")
    if is_folder:
        return
    mine, other = suffix_of(source), suffix_of(output)
    if mine != other and not (mine in NIFTI and other in NIFTI):
        raise CtmarError(f"the output must be of the input's format {mine}, got {output.name}")


def _sink(scan: SliceStack, work: Path, found: Survey, method: Method, name: str | None) -> Sink:
    text = (
        f"Metal artifact reduction by ctmar {ctmar.__version__}, method {method.name}, from stored images;"
        f" metal above {found.rule.high_hu:.0f} HU, connected down to {found.rule.low_hu:.0f} HU,"
        " kept as it was"
    )
    sink = scan.sink(work, Derivation(method.name, text, ctmar.__version__))
    if name is not None:
        sink.path = work / name  # type: ignore[attr-defined]
    return sink


def _extras(scan: SliceStack, work: Path, request: Request, name: str | None) -> list[Sink]:
    stem = "" if name is None else name.split(".")[0] + "."
    wanted = (what for what in ("difference", "uncertainty") if what in request.also)
    return [DifferenceSink(scan, work / f"{stem}{what}.mha", what) for what in wanted]


def _write_report(work: Path, record: Mapping[str, Any], outcome: Outcome, name: str | None) -> None:
    stem = "" if name is None else name.split(".")[0] + "."
    (work / f"{stem}correction.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (work / f"{stem}report.html").write_text(correction_page(record, outcome.shown), encoding="utf-8")


def describe(found: Survey, count: int) -> str:
    """What a first look found, in a sentence."""
    rule = found.rule
    how = "found from the scan" if found.automatic else "as asked for"
    clipped = ", where values are cut off" if found.clipped else ""
    return (
        f"{count} slices, {found.lowest:.0f} to {found.highest:.0f} HU{clipped}; metal above"
        f" {rule.high_hu:.0f} HU ({how}), connected down to {rule.low_hu:.0f} HU;"
        f" {len(found.bright)} slices with such a voxel"
    )


def describe_outcome(record: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    changed, total = record["slices_corrected"], record["slices"]
    line = f"{changed} of {total} slices corrected by {record['method']}, the others unchanged"
    if record["truncated"]:
        line += f"; the field of view cuts the body in {record['truncated']} of them"
    return f"{line}; {record['seconds']:.0f} s"


def summary(scan: SliceStack, found: Survey, method: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What was found and done, as plain types and without patient data."""
    changes = outcome.changes
    streaks = [change.streaks_hu for change in changes if change.streaks_hu is not None]
    known = [pair for pair in streaks if all(map(isfinite, pair))]
    return {
        "ctmar": ctmar.__version__,
        "method": method,
        "slices": len(scan.places_mm),
        "slices_corrected": len(changes),
        "rule": {
            "high_hu": found.rule.high_hu,
            "low_hu": found.rule.low_hu,
            "min_area_mm2": found.rule.min_area_mm2,
            "automatic": found.automatic,
        },
        "range_hu": [found.lowest, found.highest],
        "clipped": found.clipped,
        "truncated": sum(change.truncated for change in changes),
        "notes": list(scan.notes),
        "rms_change_hu": {name: _mean([c.rms_hu[name] for c in changes]) for name in SHELLS_MM},
        "ring_streaks_hu": {
            "slices": len(known),
            "before": _mean([pair[0] for pair in known]),
            "after": _mean([pair[1] for pair in known]),
            "fewer": sum(after < before for before, after in known),
        },
        "seconds": round(seconds, 1),
        "by_slice": [
            {
                "slice": change.index + 1,
                "metal_mm2": round(change.metal_mm2, 2),
                "rms_change_hu": {name: round(x, 2) for name, x in change.rms_hu.items() if isfinite(x)},
                "ring_streaks_hu": None
                if change.streaks_hu is None or change.streaks_hu not in known
                else [round(x, 2) for x in change.streaks_hu],
            }
            for change in changes
        ],
    }


def _mean(values: list[float]) -> float | None:
    """Mean of the values that there are; None for none."""
    known = [value for value in values if isfinite(value)]
    return round(sum(known) / len(known), 3) if known else None
