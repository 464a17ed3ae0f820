"""``ctmar correct``: from an input to its output, which is there as a whole or not at all."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import ctmar
from ctmar.clinical.difference import DifferenceSink
from ctmar.clinical.process import Outcome, process
from ctmar.clinical.request import Request
from ctmar.clinical.survey import Progress, Survey, describe, survey
from ctmar.clinical.viewer import correction_page
from ctmar.errors import CtmarError
from ctmar.methods.base import Method
from ctmar.metrics import SHELLS_MM
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.opening import opened
from ctmar.scans.output import check_output, check_space, whole
from ctmar.scans.stack import Derivation, Sink, SliceStack
from ctmar.scans.volume import NIFTI, SUFFIXES, suffix_of
from ctmar.stored.slices import SliceCorrector

FLOAT_BYTES = 4
ASTRAY = 0.1
"""Of a pixel: so far slices may lie from the grid of a volume file."""

MakeMethod = Callable[[bool], Method]
"""Makes the method for a scan whose values are cut off in metal, or are not."""


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
    stem = "" if is_folder else output.name[: -len(suffix_of(output) or "")] + "."
    beside = [f"{stem}{name}" for name in ("correction.json", "report.html", *_volumes(request.also))]
    check_output(output, source, is_folder, request.overwrite, beside)
    if not is_folder:
        _check_siblings(output, source, beside)
    started = time.monotonic()
    with whole(output, is_folder) as work, opened(source, request.series) as scan:
        for note in scan.notes:
            say(note)
        _check_extras(scan, request.also)
        voxels = len(scan.places_mm) * scan.shape[0] * scan.shape[1]
        check_space(work, voxels * (1 + FLOAT_BYTES * len(_volumes(request.also))))
        found = survey(scan, rule, request.min_area_mm2, progress)
        for line in [*found.notes, describe(found, len(scan.places_mm))]:
            say(line)
        method = make_method(found.clipped)
        corrector = SliceCorrector(scan.shape, scan.spacing_mm, method, clipped=found.clipped)
        sink = _sink(scan, work, found, method, request.repeatable)
        if not is_folder:
            sink.path = work / output.name  # type: ignore[attr-defined]
        extras = [
            DifferenceSink(scan, work / f"{stem}{name}", name.split(".")[0])
            for name in _volumes(request.also)
        ]
        outcome = process(
            scan,
            [sink, *extras],
            corrector,
            found,
            progress,
            with_spread="uncertainty" in request.also,
            keep_masks="seg" in request.also,
        )
        if isinstance(scan, DicomScan) and outcome.masks:
            from ctmar.scans.dicom.segmentation import write_segmentation

            write_segmentation(work, scan, outcome.masks)
        record = summary(scan, found, method.name, outcome, time.monotonic() - started)
        if is_folder:
            record["files"] = sorted({*(path.name for path in work.iterdir()), *beside})
        _write_report(work, record, outcome, stem)
    say(describe_outcome(record))
    return record


def _check_extras(scan: SliceStack, also: Sequence[str]) -> None:
    """Refuses what cannot be written of a scan, before anything is computed."""
    for what in also:
        if what == "seg":
            if not isinstance(scan, DicomScan):
                raise CtmarError("seg is a DICOM object: it needs a DICOM input, got a volume file")
            from ctmar.scans.dicom.segmentation import check_segmentable

            check_segmentable(scan)
        elif scan.astray_mm() > ASTRAY * min(scan.spacing_mm):
            raise CtmarError(
                f"{what} is a volume of evenly spaced slices right above each other, got slices up to"
                f" {scan.astray_mm():.3g} mm off (a tilted gantry, a gap, uneven steps); leave out"
                f" --also {what}"
            )


def _check_siblings(output: Path, source: Path, beside: Sequence[str]) -> None:
    """Refuses reports that would replace those of a volume of the same name in another format."""
    stem = output.name[: -len(suffix_of(output) or "")]
    others = [output.with_name(stem + suffix) for suffix in SUFFIXES if stem + suffix != output.name]
    others = [path for path in others if path.exists() and path.resolve() != source.resolve()]
    if others and any((output.parent / name).exists() for name in beside):
        raise CtmarError(
            f"reports of another scan must stay, got those of {others[0].name} beside it; give another name"
        )


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


def _sink(scan: SliceStack, work: Path, found: Survey, method: Method, repeatable: bool) -> Sink:
    text = (
        f"Metal artifact reduction by ctmar {ctmar.__version__}, method {method.name}, from stored images;"
        f" metal above {found.rule.high_hu:.0f} HU, connected down to {found.rule.low_hu:.0f} HU,"
        f" from {found.rule.min_area_mm2:g} mm2 on, kept as it was"
        f"{', values cut off in it' if found.clipped else ''}"
    )
    return scan.sink(work, Derivation(method.name, text, ctmar.__version__, repeatable))


def _volumes(also: Sequence[str]) -> list[str]:
    """Names of the further volumes that are asked for."""
    return [f"{what}.mha" for what in ("difference", "uncertainty") if what in also]


def _write_report(work: Path, record: Mapping[str, Any], outcome: Outcome, stem: str) -> None:
    (work / f"{stem}correction.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (work / f"{stem}report.html").write_text(correction_page(record, outcome.shown), encoding="utf-8")


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
        "notes": [*scan.notes, *found.notes],
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
