"""Measured numbers of a page: what they are, and where a table of results holds them.

A number of prose is *measured* where a unit of measurement stands behind it (:data:`UNITS`), where a figure
of merit stands before it (:data:`MERITS`), or where it is in a list, a range or a bracket that ends or begins
with such a number: ``57, 58 and 64 HU``, ``30 % (25–35)``. So is each bare number (one that no noun follows)
of a paragraph that names its unit once, ``RMSE in HU: NMAR 103, the first look 57``, or, with a decimal
point, of one that names a figure of merit. In a table every number is, whose column's heading, first
heading or caption names a unit or a figure of merit. Code, in blocks or in a line, is left out, and so are
lengths, angles, voltages, counts and sizes of grids, which have other units or none.

It is *found* where a table of a result page that its section links to has it: the same unit, and a value that
rounds to it. The numbers of a result page have to stand in that page's own tables.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

UNITS = {
    "HU/mm": "HU/mm",
    "HU RMS": "HU",
    "HU": "HU",
    "dB": "dB",
    "%": "%",
    "‰": "‰",
    "cases a second": "cases a second",
    "ms": "ms",
    "min": "min",
    "minutes": "min",
    "minute": "min",
    "hours": "h",
    "s": "s",
    "seconds": "s",
    "times": "×",
    "GiB": "GiB",
    "GB": "GB",
    "MiB": "MiB",
    "MB": "MB",
    "KB": "KB",
}
"""What stands behind a measured number, and what it is compared as."""
MERITS = ("AUC", "RMSE", "RMS", "SSIM", "PSNR", "Dice", "correlation", "score", "sharpness")
"""What stands before one."""

NUMBER = re.compile(r"(?<![\w.,])[−+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?![\w]|[.,]\d|\^)")
UNIT = re.compile(r"\s?(?:" + "|".join(map(re.escape, UNITS)) + r")(?![\w/²³])|×(?!\s?\d)")
LIST = re.compile(r"\s*(?:,|/|–|→|±|to|and|or|against|, and|than|\()\s*")
BRACKET = re.compile(r"\s*\(((?:[−+-]?[\d.,]+|[\s–/]|to|and|%)+)\)")
MERIT = re.compile(
    rf"\b(?:{'|'.join(MERITS)})\b(?:\s+(?:of|to|is|in|at|by|from|the|its|own|image|and|has|was|with|an?))*\s+$"
)
UNIT_NAMED = re.compile(r"(?<![\w/])(?:" + "|".join(map(re.escape, UNITS)) + r")(?![\w/²³])")
MERIT_NAMED = re.compile(rf"\b(?:{'|'.join(MERITS)})\b")
LINK = re.compile(r"\]\((?:[^)\s#]*/)?results/([\w.-]+)\.md")


NAMED_ONCE = re.compile(
    r"(?:\bin|,|\() ("
    + "|".join(unit for unit in UNITS if unit not in ("%", "‰", "times", "s", "min", "h"))
    + r")(?![\w/²³])"
)
"""A unit that a paragraph names for its bare numbers."""
BARE = re.compile(
    r"\s*(?:[,;:.)(→–]|\s/\s|$|(?:against|to|and|or|by|with|of|in|for|at|where|alone|behind|than|when|is|was)\b)"
)
COUNTED = re.compile(
    r"(?:[=≤≥<>×²°^#·]\s?|\b(?:equations?|eq\.|cases?|seeds?|level|chapter|table|Ed\.|section|λ|of|first|all)\s+)$"
)
"""What stands before a number that is a setting, a count or a label."""


LEVEL = re.compile(r"95 %(?= (?:interval|over|of))")
"""What an interval is one of."""


class Figure(NamedTuple):
    """A number with its unit; empty for none."""

    text: str
    unit: str

    @property
    def value(self) -> float:
        return abs(float(self.text.replace(",", "").replace("−", "-")))

    @property
    def half_step(self) -> float:
        """Half of the last digit."""
        return 0.5 * 10.0 ** -len(self.text.partition(".")[2])

    def __str__(self) -> str:
        return f"{self.text} {self.unit}".strip()


def visible(text: str) -> str:
    """A page without code, comments, pictures' and links' targets."""
    text = re.sub(r"^(```|~~~).*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`", "`", text)


def sections(text: str) -> Iterator[str]:
    """The page's text from heading to heading."""
    yield from re.split(r"^(?=#+ )", visible(text), flags=re.MULTILINE)


def blocks(section: str) -> Iterator[tuple[str, str]]:
    """Each paragraph or table, and the paragraph before it."""
    before = ""
    for block in re.split(r"\n\s*\n", section):
        yield block, before
        before = block


def of_prose(text: str) -> list[Figure]:
    """Measured numbers of a paragraph."""
    text = LEVEL.sub("", re.sub(r"\]\([^)]*\)", "]", text).replace("*", ""))
    found = list(NUMBER.finditer(text))
    units: dict[int, str] = {}
    for place, number in enumerate(found):
        behind = UNIT.match(text, number.end())
        if behind:
            units[place] = UNITS.get(behind.group().strip(), "×")
        elif MERIT.search(text, 0, number.start()) and "." in number.group():
            units[place] = ""
    once = NAMED_ONCE.search(text)
    merit = MERIT_NAMED.search(text)
    for place, number in enumerate(found):
        bare = BARE.match(text, number.end()) and not COUNTED.search(text[: number.start()])
        if place not in units and bare and (once or (merit and "." in number.group())):
            units[place] = UNITS[once.group(1)] if once else ""
    for place in sorted(units, reverse=True):  # back through the list that it ends
        first = place
        while first and LIST.fullmatch(text, found[first - 1].end(), found[first].start()):
            first -= 1
            units.setdefault(first, units[place])
    for place in sorted(units):  # on through a bracket, an interval, a list of values of merit
        bracket = BRACKET.match(text, (UNIT.match(text, found[place].end()) or found[place]).end())
        for later in range(place + 1, len(found)):
            listed = units[place] == "" and LIST.fullmatch(text, found[later - 1].end(), found[later].start())
            if not listed and not (bracket and found[later].end() <= bracket.end()):
                break
            units.setdefault(later, units[place])
    return [Figure(found[place].group(), unit) for place, unit in sorted(units.items())]


def rows_of(block: str) -> list[list[str]]:
    """Cells of a Markdown table; nothing for what is none."""
    lines = [line.strip() for line in block.splitlines() if line.strip().startswith("|")]
    if len(lines) < 2 or not re.fullmatch(r"[|\-: ]+", lines[1]):
        return []
    rows = [re.split(r"(?<!\\)\|", line.strip("|") if line.count("|") > 1 else line) for line in lines]
    return [[cell.strip() for cell in row] for row in [rows[0], *rows[2:]]]


def named_unit(text: str) -> str | None:
    """The last unit that a heading names; none and a figure of merit is no unit; None where neither is."""
    units = UNIT_NAMED.findall(text)
    if units:
        return UNITS[units[-1]]
    return "" if MERIT_NAMED.search(text) else None


def of_table(block: str, caption: str) -> list[Figure]:
    """Measured numbers of a table: by its headings, or the line above that ends in a colon."""
    rows = rows_of(block)
    if not rows:
        return []
    whole = named_unit(rows[0][0]) if rows[0][0] else None
    if whole is None and caption.rstrip().endswith(":"):
        whole = named_unit(caption)
    found: list[Figure] = []
    for row in rows[1:]:
        for place, cell in enumerate(row):
            heading = rows[0][place] if place < len(rows[0]) else ""
            unit = named_unit(heading) if place else None
            unit = whole if unit is None and place else unit
            own = of_prose(cell)
            if unit is None:
                found += own
            else:
                known = {figure.text: figure for figure in own}
                found += [known.get(n, Figure(n, unit)) for n in numbers(cell)]
    return found


def numbers(cell: str) -> list[str]:
    """All numbers of a cell."""
    return [number.group() for number in NUMBER.finditer(cell.replace("*", ""))]


def shown_by(page: str) -> set[tuple[float, str]]:
    """Every number in the tables of a result page, by value and unit."""
    found: set[tuple[float, str]] = set()
    for section in sections(page):
        for block, _ in blocks(section):
            rows = rows_of(block)
            if not rows or not any(rows[0]):
                continue
            for row in rows[1:]:
                beside = row[rows[0].index("unit")] if "unit" in rows[0] else ""
                for place, cell in enumerate(row):
                    known = {figure.text: figure.unit for figure in of_prose(cell) if figure.unit}
                    named = [named_unit(text) for text in (rows[0][place], beside, row[0], rows[0][0])]
                    unit = next((word for word in named if word), "")
                    found |= {(Figure(n, "").value, known.get(n, unit)) for n in numbers(cell)}
    return found


def absent(page: str, results: dict[str, set[tuple[float, str]]], own: str = "") -> list[Figure]:
    """Measured numbers of a page that no table of results holds.

    Args:
        page: Its text.
        results: The numbers of each result page, by its name.
        own: The page's name, where it is a result page itself.
    """
    missing: list[Figure] = []
    for section in sections(page):
        linked = {own} if own else set(LINK.findall(section))
        there = set().union(*(results.get(name, set()) for name in linked))
        for block, before in blocks(section):
            table = bool(rows_of(block))
            if table and own:
                continue
            figures = of_table(block, before) if table else of_prose(block)
            missing += [figure for figure in figures if not _in(figure, there)]
    return missing


def _in(figure: Figure, there: set[tuple[float, str]]) -> bool:
    near = figure.half_step * (1 + 1e-9)
    return any(unit == figure.unit and abs(value - figure.value) <= near for value, unit in there)
