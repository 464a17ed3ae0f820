"""The pages hold together: links lead somewhere, every page is in the contents, Sphinx builds them."""

import re
import sys
from pathlib import Path

import pytest

from tests.children import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)")


def dead_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    links = LINK.findall(page.read_text(encoding="utf-8"))
    return [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert not dead_links(page)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[here](page.md) [there](gone.md) [out](https://example.org/x)", encoding="utf-8")
    assert dead_links(page) == ["gone.md"]


def listed_by(page: str) -> set[str]:
    """Names that stand on a line of their own, as in a table of contents."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^([\w./-]+)$", text, re.MULTILINE))


def test_every_page_is_in_the_contents() -> None:
    listed = listed_by("index") | {f"results/{name}" for name in listed_by("results/index")}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert pages - {"index"} <= listed


@pytest.mark.parametrize(
    "page", sorted({*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")}), ids=lambda page: page.stem
)
def test_a_page_says_at_its_head_for_whom_it_is(page: Path) -> None:
    title, told, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ") and told.startswith("*For ") and told.endswith("*")


OWN_EQUATION = re.compile(r"\bequations? (\d+)")
PAPERS_EQUATION = re.compile(r"(.{0,20})\beqs?\. ?\d", re.IGNORECASE | re.DOTALL)


def foreign(text: str) -> list[str]:
    """Where an equation is quoted without the year of its paper."""
    return [
        match[0] for match in PAPERS_EQUATION.finditer(text) if not re.search(r"\b(19|20)\d\d\b", match[1])
    ]


def test_equations_have_one_numbering() -> None:
    theory = (DOCS / "theory.md").read_text(encoding="utf-8")
    known = re.findall(r"\\tag\{(\d+)\}", theory)
    assert known == [str(number) for number in range(1, len(known) + 1)] and len(known) > 10
    for folder, suffix in (("docs", "md"), ("ctmar", "py"), ("configs", "yaml"), ("scripts", "py")):
        for path in sorted((ROOT / folder).rglob(f"*.{suffix}")):
            text = path.read_text(encoding="utf-8")
            assert foreign(text) == [], path
            assert set(OWN_EQUATION.findall(text)) <= set(known), path


def test_an_equation_of_nobody_is_found() -> None:
    assert foreign("the game of eq. 4") and not foreign("Wang 2018, eq. 4")


@pytest.mark.slow
def test_sphinx_builds_them_without_a_warning(tmp_path: Path) -> None:
    out = run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path])
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "theory.html").is_file()
