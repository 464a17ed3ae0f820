"""Several sources as one: in proportion, each number of each source once, splits kept apart."""

from collections import Counter

import pytest

from ctmar.anatomy.mixture import Mixture
from ctmar.errors import CtmarError


class Numbered:
    """Stands in for a source and returns what it was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pick(self, split: str, index: int):
        return (self.name, split, index), range(1, 3)


def mixture(**parts: int) -> Mixture:
    return Mixture({name: Numbered(name) for name in parts}, parts)


def test_shares_hold_in_every_round_and_each_number_comes_once() -> None:
    both = mixture(a=3, b=2)
    places = [both.place(index) for index in range(50)]
    for start in range(0, 50, 5):
        assert Counter(name for name, _ in places[start : start + 5]) == {"a": 3, "b": 2}
    for name, count in (("a", 30), ("b", 20)):
        assert [place for source, place in places if source == name] == list(range(count))


def test_the_body_is_its_sources_own() -> None:
    both = mixture(a=1, b=1)
    assert both.pick("val", 5) == (("b", "val", 2), range(1, 3))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a": 1}, "parts must name the sources a, b, got a"),
        ({"a": 1, "b": 0}, "parts.b must be a positive whole number, got 0"),
        ({"a": 1, "b": True}, "parts.b must be a positive whole number, got True"),
    ],
)
def test_bad_parts_are_named(parts: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Mixture({"a": Numbered("a"), "b": Numbered("b")}, parts)
    with pytest.raises(CtmarError, match="index must be at least 0, got -1"):
        mixture(a=1).place(-1)
