"""Config values against annotations."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from ctmar.config.typed import check_types, fits
from ctmar.errors import CtmarError
from ctmar.methods.base import Method

FITS = [
    (1, int),
    (1, float),
    (0.5, float | None),
    (None, float | None),
    (True, bool),
    ("a", Literal["a", 1]),
    ([1, 2], tuple[int, int]),
    ([1, 2, 3], Sequence[float]),
    ({"a": 0.5}, Mapping[str, float]),
    ("x", Any),
    ("x", Method),
]
FITS_NOT = [
    (1.0, int),
    (True, int),
    (True, float),
    ("1", float),
    (1, bool),
    (None, int),
    ("b", Literal["a", 1]),
    ([1], tuple[int, int]),
    ([1, 2.5], tuple[int, int]),
    ("abc", Sequence[str]),
    ({"a": "much"}, Mapping[str, float]),
    ("x", Method | None),
]


@pytest.mark.parametrize("value,hint", FITS, ids=str)
def test_values_of_the_type_fit(value: Any, hint: Any) -> None:
    assert fits(value, hint)


@pytest.mark.parametrize("value,hint", FITS_NOT, ids=str)
def test_values_of_another_type_do_not(value: Any, hint: Any) -> None:
    assert not fits(value, hint)


@pytest.mark.parametrize(
    "node,message",
    [
        (
            {"_target_": "ctmar.geometry.ImageGrid", "shape": [64], "spacing_mm": 1.0},
            "grid.shape must be a list",
        ),
        (
            {"_target_": "ctmar.training.optimizer.Optimizer", "clip": "x"},
            "grid.clip must be a number, got 'x'",
        ),
        (
            {"a": [{"_target_": "ctmar.physics.Tube", "kvp": 80.5}]},
            r"grid.a\[0\].kvp must be a whole number or null, got 80.5",
        ),
    ],
)
def test_a_wrong_one_is_named_by_its_key(node: Any, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        check_types(node, "grid")


def test_what_cannot_be_read_passes() -> None:
    check_types({"_target_": "no.such.thing", "a": 1}, "x")
    check_types({"_target_": "ctmar.physics.Tube", "kvp": None, "unknown": "x"}, "scanner")
