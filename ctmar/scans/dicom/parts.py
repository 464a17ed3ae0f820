"""Which slices are one series: of one patient, study, frame of reference, kernel and geometry.

A SeriesInstanceUID should say so, but anonymisers blank it, and repaired or merged archives use one twice.
Two patients in one derived series would be worse than any artifact: slices that differ are series of their
own, told apart by names (``3.1``, ``3.2``) that hold nothing of the patient.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from ctmar.errors import CtmarError
from ctmar.scans.dicom.headers import Fault, Header

Part = list[Header]
UNNUMBERED = "none"
"""Name of a series without a number."""
SERIES_UID = "SeriesInstanceUID"
TOGETHER = ".all"
"""Behind a number: its series, which differ in their UIDs alone, as one."""
SPACING_TOLERANCE_MM, ORIENTATION_TOLERANCE = 1e-4, 1e-3
MOST_NAMED = 8
"""Names that are listed one by one."""


class Contents(NamedTuple):
    """What an input holds, by name.

    Attributes:
        parts: Slices of each series.
        faults: Files that cannot be taken, of each series that has some: they are one of their own.
        unknown: Files of which not even the series can be read.
    """

    parts: dict[str, Part]
    faults: dict[str, list[Fault]]
    unknown: list[Fault]


def by_name(headers: Sequence[Header], faults: Sequence[Fault] = ()) -> Contents:
    """The series among slices: by their number, or ``number.part`` where several share it.

    A blank UID, as anonymisers leave it, is one like another.
    """
    parts: dict[Hashable, list[Part]] = {}
    for header in headers:
        alike = parts.setdefault(_said_of(header), [])
        part = next((part for part in alike if _same_geometry(part[0], header)), None)
        if part is None:
            alike.append([header])
        else:
            part.append(header)
    bad: dict[Hashable, list[Fault]] = {}
    for fault in faults:
        if fault.owner is not None:
            bad.setdefault((fault.series, fault.series_number, fault.owner), []).append(fault)
    every = [part for alike in parts.values() for part in alike]
    numbers = [part[0].series_number for part in every] + [
        each[0].series_number or "" for each in bad.values()
    ]
    names = _names(numbers)
    return Contents(
        dict(zip(names, every, strict=False)),
        dict(zip(names[len(every) :], bad.values(), strict=True)),
        [fault for fault in faults if fault.owner is None],
    )


def choose(contents: Contents, wanted: str | None, left_out: Mapping[str, int]) -> Part:
    """The slices of the one series, or of that which is asked for by name, number or UID.

    Only what is asked for is refused for a file that cannot be taken; where nothing is named all is.

    Raises:
        CtmarError: No CT image; several series and none asked for; none of that name; a file of the series
            that cannot be taken.
    """
    parts = contents.parts
    together = _together(parts, wanted)
    if together is not None:
        return together
    found = {name: p for name, p in parts.items() if wanted is None or _is_called(wanted, name, p[0])}
    bad = {name: f for name, f in contents.faults.items() if wanted is None or _is_called(wanted, name, f[0])}
    _check_faults(contents, found, bad, wanted)
    if not parts and not contents.faults:
        counts = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "nothing"
        raise CtmarError(f"the input must hold a CT series, got {counts}")
    _check_whole(found, parts)
    if len(found) + len(bad) != 1:
        if not bad:
            _check_geometry(found)
        # UIDs are left out: they lead to the patient.
        asked = "one CT series" if wanted is None else "one CT series of that number or UID"
        why = "".join(f"; {line}" for line in differences(parts))
        raise CtmarError(f"the input must hold {asked} (see --series), got numbers {_listed(contents)}{why}")
    return next(iter(found.values()))


def differences(parts: Mapping[str, Part]) -> list[str]:
    """Why several series share a number, in a few words for each such number."""
    lines = []
    for number, alike in _by_number(parts).items():
        if len(alike) > 1:
            what = _differing([part[0] for part in alike])
            line = f"those of number {number} differ in {', '.join(what)}"
            if what == [SERIES_UID] and all(len(part) == 1 for part in alike):
                line += f", one for each slice: --series {number}{TOGETHER} takes them as one"
            lines.append(line)
    return lines


def _by_number(parts: Mapping[str, Part]) -> dict[str, list[Part]]:
    by_number: dict[str, list[Part]] = {}
    for part in parts.values():
        by_number.setdefault(part[0].series_number or UNNUMBERED, []).append(part)
    return by_number


def _names(numbers: Sequence[str]) -> list[str]:
    plain = [number or UNNUMBERED for number in numbers]
    count, seen, names = Counter(plain), Counter[str](), []
    for name in plain:
        seen[name] += 1
        names.append(name if count[name] == 1 else f"{name}.{seen[name]}")
    return names


def _together(parts: Mapping[str, Part], wanted: str | None) -> Part | None:
    """All of a number as one series; None where that is not asked for.

    Raises:
        CtmarError: They differ in more than their UIDs.
    """
    number = (wanted or "").removesuffix(TOGETHER)
    alike = _by_number(parts).get(number, [])
    if wanted is None or number == wanted or not alike:
        return None
    what = _differing([part[0] for part in alike])
    if set(what) - {SERIES_UID}:
        raise CtmarError(
            f"--series {wanted} must be of series that differ in {SERIES_UID} alone, got others in"
            f" {', '.join(name for name in what if name != SERIES_UID)}"
        )
    return [header for part in alike for header in part]


def _check_faults(
    contents: Contents, found: Mapping[str, Part], bad: Mapping[str, list[Fault]], wanted: str | None
) -> None:
    """Refuses files that cannot be taken, with what is to be asked for to go without them."""
    faults = [fault for faults in bad.values() for fault in faults]
    if wanted is None:
        faults += contents.unknown
    series = {(fault.series, fault.series_number) for each in bad.values() for fault in each}
    series |= {(part[0].series, part[0].series_number) for part in found.values()}
    if not faults or len(series) > 1:
        return
    others = f"; --series takes {_listed_parts(found)} without it" if found else ""
    raise CtmarError(f"{_first_of(faults)}{others}")


def _first_of(faults: Sequence[Fault]) -> str:
    """What is wrong with the first, and how many are as bad."""
    more = f" (and {len(faults) - 1} further files)" if len(faults) > 1 else ""
    return f"{faults[0].said}{more}"


def _differing(firsts: Sequence[Header]) -> list[str]:
    one = firsts[0]
    what = {
        "patient": lambda h: h.owner.patient == one.owner.patient,
        "study": lambda h: h.owner.study == one.owner.study,
        SERIES_UID: lambda h: h.series == one.series,
        "series description": lambda h: h.series != one.series or h.owner.series == one.owner.series,
        "frame of reference": lambda h: h.owner.frame_of_reference == one.owner.frame_of_reference,
        "kernel": lambda h: h.kernel == one.kernel,
        "geometry": lambda h: _same_geometry(h, one),
    }
    return [name for name, same in what.items() if not all(map(same, firsts))]


def _said_of(header: Header) -> Hashable:
    """What the header says to be one series, without its geometry."""
    return header.series, header.series_number, header.owner, header.kernel


def _same_geometry(one: Header, other: Header) -> bool:
    return not _other_geometry(one, other)


def _other_geometry(one: Header, other: Header) -> str:
    """In what the geometry of slices differs; empty where it does not."""
    if one.shape != other.shape:
        return "rows and columns"
    if not _close(one.spacing_mm, other.spacing_mm, SPACING_TOLERANCE_MM):
        return "pixel spacing"
    if not _close(one.orientation, other.orientation, ORIENTATION_TOLERANCE):
        return "orientation"
    return ""


def _close(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= tolerance


def _is_called(wanted: str, name: str, one: Header | Fault) -> bool:
    return wanted in (name, one.series_number, one.series)


def _listed(contents: Contents) -> str:
    """All names with their numbers of slices, or with what is wrong."""
    bad = [f"{name} (refused: {_first_of(faults)})" for name, faults in contents.faults.items()]
    return ", ".join([_listed_parts(contents.parts)] * bool(contents.parts) + bad)


def _listed_parts(parts: Mapping[str, Part]) -> str:
    """All names with their numbers of slices; many of one size as a range."""
    names, sizes = list(parts), {len(part) for part in parts.values()}
    if len(parts) > MOST_NAMED and len(sizes) == 1:
        return f"{names[0]} to {names[-1]} ({len(parts)} series of {sizes.pop()} slices each)"
    return ", ".join(f"{name} ({len(part)} slices)" for name, part in parts.items())


def _check_geometry(found: Mapping[str, Part]) -> None:
    """Names the file where some slices of a series are of another geometry, and nothing else differs."""
    largest = max(found.values(), key=len, default=[])
    if len({_said_of(part[0]) for part in found.values()}) != 1:
        return
    for part in found.values():
        what = _other_geometry(largest[0], part[0])
        if what:
            values = {"rows and columns": "shape", "pixel spacing": "spacing_mm"}.get(what, what)
            usual, got = getattr(largest[0], values), getattr(part[0], values)
            raise CtmarError(
                f"{part[0].name}: slices of a series must have one {what}, {usual}, got {got};"
                f" --series takes one of {_listed_parts(found)}"
            )


def _check_whole(found: Mapping[str, Part], parts: Mapping[str, Part]) -> None:
    """Refuses a multi-frame file of several series: it can only be written as a whole."""
    for name, part in found.items():
        files = {header.path for header in part if header.frame is not None}
        for other, rest in parts.items():
            shared = [header for header in rest if header.path in files]
            if other != name and shared:
                what = " and one ".join(_differing([part[0], shared[0]]))
                raise CtmarError(
                    f"{shared[0].name}: frames of a multi-frame file must have one {what}, got several"
                )
