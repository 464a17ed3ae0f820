"""Label conventions."""

import numpy as np
import pytest

from ctmar.anatomy import labels as ids
from ctmar.errors import CtmarError


def test_levels_have_the_ids_of_totalsegmentator():
    expected = {"S1": 26, "L5": 27, "L1": 31, "T12": 32, "T1": 43, "C7": 44, "C1": 50}
    assert {level: ids.LEVEL_TO_ID[level] for level in expected} == expected
    assert len(ids.LEVEL_TO_ID) == 25
    assert all(ids.LEVEL_TO_ID[ids.ID_TO_LEVEL[number]] == number for number in ids.VERTEBRAE)


@pytest.mark.parametrize(
    ("verse", "level"), [(1, "C1"), (7, "C7"), (8, "T1"), (19, "T12"), (20, "L1"), (24, "L5")]
)
def test_verse_vertebrae_become_the_same_levels(verse, level):
    translated = ids.to_totalsegmentator(np.array([[0, verse]]), "verse")
    assert translated.tolist() == [[0, ids.LEVEL_TO_ID[level]]]
    assert translated.dtype == np.uint8


def test_verse_sacrum_stays_a_sacrum_and_extra_vertebrae_fuse_with_none():
    assert ids.to_totalsegmentator(np.array([25, 26, 28]), "verse").tolist() == [0, ids.SACRUM, 0]


@pytest.mark.parametrize(
    ("found", "convention"),
    [
        ([1, 5, 31, 79], "totalsegmentator"),
        ([26, 27, 28], "totalsegmentator"),
        ([], "totalsegmentator"),
        ([17, 18, 19, 20, 21], "verse"),
        ([17, 18, 20, 21], "verse"),
        ([22, 23, 24, 26], "verse"),
        ([18, 19, 28, 20], "verse"),
    ],
)
def test_the_convention_is_detected_from_the_ids(found, convention):
    assert ids.detect(np.array([0, *found])) == convention


def test_ids_of_no_convention_ask_for_its_name():
    organs_and_lumbar = np.array([0, 1, 5, 18, 27, 28])
    with pytest.raises(CtmarError, match="say totalsegmentator or verse"):
        ids.to_totalsegmentator(organs_and_lumbar)
    assert ids.to_totalsegmentator(organs_and_lumbar, "totalsegmentator").max() == 28


@pytest.mark.parametrize(
    ("values", "convention", "message"),
    [
        ([300], "totalsegmentator", "must lie in 0 to 255, got 300 to 300"),
        ([-1], "auto", "must lie in 0 to 255, got -1 to -1"),
        ([40], "verse", "at most 28, got 40"),
        ([20], "atlas", "convention must be one of auto, totalsegmentator, verse, plain:LEVEL, got 'atlas'"),
    ],
)
def test_bad_labels_are_named(values, convention, message):
    with pytest.raises(CtmarError, match=message):
        ids.to_totalsegmentator(np.array(values), convention)


def test_tissue_groups_do_not_share_ids():
    groups = {name: set(members) for name, members in ids.TISSUES.items() if name != "spine"}
    assert groups["bone"] >= set(ids.TISSUES["spine"])
    for name, members in groups.items():
        for other, others in groups.items():
            assert name == other or not members & others, (name, other)
