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


def test_every_page_is_in_the_contents() -> None:
    listed = set(re.findall(r"^([\w/-]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert pages - {"index"} <= listed


@pytest.mark.slow
def test_sphinx_builds_them_without_a_warning(tmp_path: Path) -> None:
    out = run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path])
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "theory.html").is_file()
