"""The list of a user's phantom scans: a CSV table of which method, dose and contrast lie where."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import REFERENCE
from ctmar.evaluation.cases import UNCORRECTED

COLUMNS = ("method", "dose", "contrast_hu", "path")
SLICES = "slices"
"""A further column, which may be left out or empty."""
CHOICE = re.compile(r"(\d+)(?:-(\d+))?")


class Condition(NamedTuple):
    """What images have in common that are each other's realisations."""

    method: str
    dose: float
    contrast_hu: float
    """0 without the lesion."""

    def __str__(self) -> str:
        lesion = f"with {self.contrast_hu:+g} HU" if self.contrast_hu else "without the lesion"
        return f"{self.method} at dose {self.dose:g} {lesion}"


@dataclass(frozen=True)
class Row:
    """One line of the list.

    Attributes:
        file: The list's own name, for errors.
        line: Number of the line in it.
        condition: Method, dose and contrast.
        path: A folder or a file of images.
        first: First slice of each series or volume that counts, from 1; None for all slices.
        last: The last one.
    """

    file: str
    line: int
    condition: Condition
    path: Path
    first: int | None = None
    last: int | None = None

    def chosen(self, slices: int) -> range:
        """Which slices of a series of so many count.

        Raises:
            CtmarError: The series has fewer.
        """
        if self.first is None or self.last is None:
            return range(slices)
        if self.last > slices:
            raise CtmarError(f"slices must be of the {slices} of each series, got {self.first}-{self.last}")
        return range(self.first - 1, self.last)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Puts the line in front of what is wrong with its images."""
        try:
            yield
        except CtmarError as error:
            raise CtmarError(f"{self.file}, line {self.line}: {error}") from None


def read_list(file: Path) -> list[Row]:
    """The rows of a list whose conditions belong together.

    Comma, semicolon or tab, whatever the spreadsheet wrote; paths are relative to the list's folder. Rows of
    the same condition add up.

    Args:
        file: CSV with :data:`COLUMNS`, and :data:`SLICES` where not all slices of a series count.

    Raises:
        CtmarError: No such file or table, a value that is none, or a condition without its counterparts.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CtmarError(
            f"the study must be a readable CSV file, got {file}: {type(error).__name__}"
        ) from None
    heading = text.partition("\n")[0]
    separator = max(",;\t", key=heading.count)
    table = csv.DictReader(text.splitlines(), delimiter=separator, skipinitialspace=True)
    names = [str(name).strip() for name in table.fieldnames or ()]
    if set(names) not in ({*COLUMNS}, {*COLUMNS, SLICES}):
        raise CtmarError(
            f"{file.name}: the first line must be {','.join(COLUMNS)} and, if need be, {SLICES},"
            f" got {heading.strip()!r}"
        )
    table.fieldnames = names
    rows = [_row(file, table.line_num, cells) for cells in table if any(cells.values())]
    _check(file, {row.condition for row in rows})
    return rows


def _row(file: Path, line: int, cells: dict[str, Any]) -> Row:
    where = f"{file.name}, line {line}"
    if None in cells or not cells["method"] or not cells["path"]:  # None has what is too much
        raise CtmarError(f"{where}: must hold {', '.join(COLUMNS)}, got {list(cells.values())}")
    told = {name: (value or "").strip() for name, value in cells.items()}
    dose, contrast = (_number(told[name], f"{where}: {name}") for name in ("dose", "contrast_hu"))
    if dose <= 0:
        raise CtmarError(f"{where}: dose must be positive, got {dose:g}")
    if told["method"] == REFERENCE and contrast:
        raise CtmarError(f"{where}: a {REFERENCE} must be without the lesion, contrast 0, got {contrast:g}")
    first = last = None
    if told.get(SLICES):
        match = CHOICE.fullmatch(told[SLICES].replace(" ", ""))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise CtmarError(f"{where}: {SLICES} must be a number from 1 or first-last, got {told[SLICES]!r}")
    path = Path(told["path"]).expanduser()
    condition = Condition(told["method"], dose, contrast)
    return Row(file.name, line, condition, path if path.is_absolute() else file.parent / path, first, last)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CtmarError(f"{what} must be a number, got {text!r}")
    return value


def _check(file: Path, conditions: set[Condition]) -> None:
    """Refuses conditions without what they are compared with."""
    found = {(c.dose, c.contrast_hu) for c in conditions if c.method == UNCORRECTED}
    if not any(contrast for _, contrast in found):
        raise CtmarError(
            f"{file.name}: must list {UNCORRECTED} with a lesion (contrast_hu other than 0), got none"
        )
    for dose, _ in sorted(found):
        if (dose, 0.0) not in found:
            raise CtmarError(f"{file.name}: must list {Condition(UNCORRECTED, dose, 0.0)}, got none")
    for method in methods_in(conditions):
        theirs = {(c.dose, c.contrast_hu) for c in conditions if c.method == method}
        for there, absent in ((theirs, found - theirs), (found, theirs - found)):
            if absent:
                lacking = Condition(method if there is theirs else UNCORRECTED, *min(absent))
                raise CtmarError(f"{file.name}: must list {lacking}, the counterpart of others, got none")


def methods_in(conditions: Sequence[Condition] | set[Condition]) -> list[str]:
    """The methods that are judged."""
    return sorted({c.method for c in conditions} - {REFERENCE})
