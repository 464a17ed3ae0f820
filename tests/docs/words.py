"""Sentences of a page, and how many words they have.

Prose is what is left without code, tables, headings, pictures and directives. A sentence ends at ``.``, ``!``
or ``?`` before a blank, and with its paragraph or item. A word of code and a formula are one word, a link's
target is none. ``python -m tests.docs.words [N]`` prints median and 90th percentile of each page, and the N
longest sentences.
"""

import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NO_PROSE = re.compile(r"^(```|~~~).*?^\1\s*$|<!--.*?-->|\$\$.*?\$\$", re.MULTILINE | re.DOTALL)
NO_LINE = re.compile(r"^\s*(?:\||#|!\[|:|---)")
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+", re.MULTILINE)
END = re.compile(r"(?<=[.!?])[*)\"”]*\s+(?=[*(\[“\"`]*(?:[^\sa-z]|(?:ctmar|wandb)\b))")
NO_END = re.compile(r"\b(e\.g|i\.e|eq|Ed|Fig|vol|cf|et al|St)\.")


def paragraphs(page: str) -> Iterator[str]:
    """Paragraphs and items of lists, each on one line."""
    text = NO_PROSE.sub("\n\n", page)
    text = "\n".join("" if NO_LINE.match(line) else line for line in text.splitlines())
    for block in re.split(r"\n\s*\n", ITEM.sub("\n\n", text)):
        if words := block.split():
            yield " ".join(words)


def sentences(page: str) -> list[str]:
    """Sentences of a page's prose."""
    found = []
    for paragraph in paragraphs(page):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)
        text = NO_END.sub(r"\1", re.sub(r"`[^`]*`|\$[^$]+\$", "X", text))
        found += [part for part in END.split(text) if length(part) > 1]
    return found


def length(sentence: str) -> int:
    """Words of a sentence."""
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def figures(pages: list[Path]) -> tuple[int, float, float]:
    """Number of sentences, the median of their words, and the 90th percentile."""
    lengths = [length(s) for page in pages for s in sentences(page.read_text(encoding="utf-8"))]
    if len(lengths) < 2:
        return len(lengths), float(sum(lengths)), float(sum(lengths))
    return len(lengths), statistics.median(lengths), statistics.quantiles(lengths, n=10)[-1]


def prose() -> list[Path]:
    """README and the pages; those of results are generated."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(page for page in pages if page.parent.name != "results")]


def main() -> None:
    """Prints a line a page, one for all, and the longest sentences."""
    pages = prose()
    for page in pages:
        print(page.relative_to(ROOT), *figures([page]))
    print("all", *figures(pages))
    all_of_them = [(p, s) for p in pages for s in sentences(p.read_text(encoding="utf-8"))]
    longest = sorted(all_of_them, key=lambda pair: -length(pair[1]))
    for page, sentence in longest[: int(sys.argv[1]) if len(sys.argv) > 1 else 0]:
        print(f"{length(sentence)} {page.relative_to(ROOT)}: {sentence}")


if __name__ == "__main__":
    main()
