"""Each measured number of the pages is found in a generated table, or comes from a file that is named."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctmar.jobs.cli import COMMANDS, JOBS
from ctmar.report.record import LARGEST_BYTES, read_records
from ctmar.report.result_pages import INDEX, written
from tests.docs.measured import Figure, absent, of_prose, of_table, shown_by

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONSTANTS: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(
    (RESULTS / "constants.yaml").read_text(encoding="utf-8")
)
MOST_CONSTANTS = 60
"""What is told apart by hand stays little."""
TABLES = {page.stem: shown_by(page.read_text(encoding="utf-8")) for page in RESULTS.glob("*.md")}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def lacking(page: Path) -> list[str]:
    """Measured numbers of a page that stand in no table and in no line of the constants."""
    own = page.stem if page.parent == RESULTS else ""
    known = CONSTANTS.get(name_of(page), {})
    found = absent(page.read_text(encoding="utf-8"), TABLES, own)
    return [str(figure) for figure in found if str(figure) not in known]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_measured_number_is_found_in_a_table_of_results(page: Path) -> None:
    assert lacking(page) == []


@pytest.mark.parametrize("page", CONSTANTS)
def test_every_constant_is_used_and_is_in_the_file_that_it_names(page: str) -> None:
    own = Path(page).stem if page.startswith("docs/results/") else ""
    used = {str(figure) for figure in absent((ROOT / page).read_text(encoding="utf-8"), TABLES, own)}
    assert set(CONSTANTS[page]) <= used
    for told in CONSTANTS[page].values():
        assert explained(told), told


def explained(told: Mapping[str, Any]) -> bool:
    """Whether a constant's source is there: code or a config that holds its words, or a publication."""
    if set(told) == {"cites"}:
        return re.search(r"\b(?:19|20)\d\d\b", told["cites"]) is not None
    file = ROOT / told["file"]
    of_code = file.suffix in (".py", ".yaml") and not file.is_relative_to(ROOT / "docs")
    return of_code and len(told["as"]) > 5 and told["as"] in file.read_text(encoding="utf-8")


def test_constants_are_few_and_their_sources_can_be_wrong() -> None:
    assert sum(map(len, CONSTANTS.values())) <= MOST_CONSTANTS
    assert explained({"cites": "Zhang & Yu, IEEE Trans. Med. Imaging 37:1370 (2018)"})
    assert not explained({"cites": "well known"})
    assert not explained({"file": "ctmar/units.py", "as": "-1024.0, 4095.0"})
    assert not explained({"file": "docs/results/constants.yaml", "as": "docs/geometry.md"})


def test_the_pages_are_what_the_records_give() -> None:
    """A page edited by hand, or a record without its page, fails: `python scripts/results.py pages`."""
    records = read_records(RESULTS)
    texts = written(RESULTS, records)
    assert {page.stem for page in RESULTS.glob("*.md")} == {*records, INDEX}
    for path, text in texts.items():
        assert path.read_bytes().decode("utf-8") == text, f"{name_of(path)}: python scripts/results.py pages"


def test_what_is_to_be_run_again_is_there() -> None:
    lines = [line for r in read_records(RESULTS).values() for line in (r.made.command, *r.rerun) if line]
    assert len(lines) > 20
    for line in lines:
        program, what, *_ = shlex.split(line)
        known = (ROOT / what).is_file() if program == "python" else what in (*JOBS, *COMMANDS, "demo", "test")
        assert known and program in ("python", "ctmar", "make"), line


def test_records_are_small_and_name_no_machine() -> None:
    for path in (RESULTS / "data").iterdir():
        text = path.read_text(encoding="utf-8")
        assert path.suffix == ".json" and len(text.encode()) <= LARGEST_BYTES
        assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "/work/", "C:\\"))


RESULT = """# A page
| method | near RMSE, HU | AUC | off, % |
|---|---|---|---|
| LI | 57.3 (50.1 to 60.9) | 0.93 (0.90 to 0.96) | 41 (38–44) |

| what | measured | unit |
|---|---|---|
| time | 12.5 | s |
"""
KNOWN = {"mine": shown_by(RESULT)}
LINK = "[measured](docs/results/mine.md)"


@pytest.mark.parametrize(
    "text",
    [
        f"{LINK}: 57 HU, and 57.3 HU.",
        f"From 50 to 61 HU ({LINK}).",
        f"An AUC of 0.93 (0.90–0.96), {LINK}.",
        f"{LINK} takes 41 % (38–44) off in 12.5 s.",
        "`--threshold 999 HU` and\n```\n999 HU\n```\n",
        "512 × 512 pixels of 0.7 mm, 360 views, 120 kV, 20 mm of metal, 95 % interval, 180 cases.",
        f"{LINK}\n\n| method | RMSE, HU |\n|---|---|\n| LI of 12 cases | 57 |\n",
    ],
)
def test_numbers_that_are_there_are_found(text: str) -> None:
    assert absent(text, KNOWN) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f"{LINK}: 58 HU.", ["58 HU"]),
        (f"{LINK}: 57.4 HU.", ["57.4 HU"]),
        ("57 HU, without a link.", ["57 HU"]),
        (f"# One\n{LINK}\n# Another\n57 HU.", ["57 HU"]),
        ("[elsewhere](docs/results/other.md): 57 HU", ["57 HU"]),
        (f"{LINK} takes 57 %.", ["57 %"]),
        (f"{LINK}: 41 dB.", ["41 dB"]),
        (f"{LINK} falls to 11, 22 and 57 HU.", ["11 HU", "22 HU"]),
        (f"{LINK}: 57 HU (11–61).", ["11 HU"]),
        (f"{LINK}, RMSE in HU: LI 57, mine 11, the second look 12.", ["11 HU", "12 HU"]),
        (f"{LINK}, AUC: 0.93 by LI, 0.99 by mine", ["0.99"]),
        (f"{LINK}: correlation of 0.123", ["0.123"]),
        (f"{LINK}\n\n| method | RMSE, HU |\n|---|---|\n| LI | **99** |\n", ["99 HU"]),
        (f"{LINK} RMSE in HU:\n\n| method | all |\n|---|---|\n| LI | 99 ± 57 |\n", ["99 HU"]),
        (
            f"{LINK}: 14 s, 2.5×, 3 minutes, 4 GB, 5 ms, 6 cases a second",
            "14 s;2.5 ×;3 min;4 GB;5 ms;6 cases a second",
        ),
    ],
)
def test_a_made_up_number_is_found(text: str, missing: list[str] | str) -> None:
    wanted = missing.split(";") if isinstance(missing, str) else missing
    assert [str(figure) for figure in absent(text, KNOWN)] == wanted


def test_a_made_up_number_in_a_real_page_is_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "evaluation.md"
    text = page.read_text(encoding="utf-8") + "\nNMAR leaves 1234.5 HU.\n"
    assert Figure("1234.5", "HU") in absent(text, TABLES)


def test_a_result_page_holds_the_numbers_of_its_own_words() -> None:
    assert absent(RESULT + "\nIn words 57 HU.\n", KNOWN, "mine") == []
    assert [str(f) for f in absent(RESULT + "\nIn words 58 HU.\n", KNOWN, "mine")] == ["58 HU"]
    assert of_table("| a |\n|---|\n| 1 |", "") == [] and of_prose("no number") == []
