"""Procedural bodies for data sets: a body serves one split alone."""

import numpy as np
import pytest

from ctmar.anatomy.labels import VERTEBRAE
from ctmar.errors import CtmarError
from ctmar.phantoms import ProceduralSpine, source


def small(**arguments):
    options = {
        "num_bodies": {"train": 2, "val": 1, "test": 1},
        "levels": ["L2"],
        "spacing_mm": [4.0, 4.0, 5.0],
    }
    return ProceduralSpine(**{**options, **arguments})


def test_bodies_return_after_their_number_and_differ_between_splits():
    spine = small()
    assert spine.pick("train", 0)[0] is spine.pick("train", 2)[0]
    seeds = {spine.body_seed(s, i) for s in ("train", "val", "test") for i in range(10)}
    assert len(seeds) == 4
    assert small(seed=1).body_seed("train", 0) not in seeds


def test_a_case_depends_on_split_and_index_alone():
    first = small().pick("val", 3)
    source._body.cache_clear()
    spine = small()
    spine.pick("train", 1)
    again = spine.pick("val", 3)
    assert np.array_equal(first[0].hu, again[0].hu) and first[1] == again[1]


def test_the_range_holds_vertebrae_with_a_slice_to_spare():
    anatomy, slices = small().pick("test", 0)
    bone = np.isin(anatomy.labels, VERTEBRAE).any(axis=(1, 2))
    assert len(slices) > 3 and bone[slices.start - 1 : slices.stop + 1].all()
    assert slices.start >= 1 and slices.stop <= len(bone) - 1


def test_a_shared_body_cannot_be_written_to():
    anatomy, _ = small().pick("val", 0)
    with pytest.raises(ValueError, match="read-only"):
        anatomy.hu[0, 0, 0] = 5.0


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(CtmarError, match="one of train, val, test for anatomy procedural, got 'valid'"):
        small().pick("valid", 0)
    with pytest.raises(CtmarError, match="index must be at least 0, got -1"):
        small().pick("train", -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_bodies": {"train": 0}}, "num_bodies.train must be a positive whole number, got 0"),
        ({"num_bodies": {"dev": 1}}, "num_bodies must name train, val or test, got 'dev'"),
        ({"seed": -2}, "seed must be a whole number from 0, got -2"),
    ],
)
def test_bad_procedural_arguments_are_refused(arguments, message):
    with pytest.raises(CtmarError, match=message):
        small(**arguments)
