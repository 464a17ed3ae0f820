"""Random metal: inside the body, of the sizes asked for, replayable."""

import json

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.implants import METALS, RandomPlan, build_random_metal, sample_random_metal
from ctmar.implants.shapes import Ellipsoid

SPACING = (1.0, 1.5, 2.0)


@pytest.fixture
def body():
    mask = np.zeros((80, 100), bool)
    mask[20:50, 30:80] = True
    return mask


def sampled(body, seed, **options):
    return sample_random_metal(body, SPACING, 7, np.random.default_rng(seed), **options)


def test_every_piece_meets_the_slice_inside_the_body(body):
    for seed in range(40):
        plan = sampled(body, seed)
        assert 1 <= len(plan.pieces) <= 6
        for part in build_random_metal(plan):
            low, high = part.shape.bounds_mm()
            middle = (low + high) / 2
            assert low[2] < 14.0 < high[2]
            assert body[round(middle[1] / 1.5), round(middle[0])]
            if isinstance(part.shape, Ellipsoid) and max(part.shape.radii_mm) < 10.0:
                assert low[0] > 28.5 and high[0] < 80.5 and low[1] > 28.0 and high[1] < 75.5


def test_sizes_kinds_and_metals_cover_their_ranges(body):
    pieces = [piece for seed in range(80) for piece in sampled(body, seed, sizes_mm=(4.0, 20.0)).pieces]
    assert {piece.kind for piece in pieces} == {"ellipsoid", "bar", "blob"}
    assert {piece.material for piece in pieces} == set(METALS)
    lengths = np.array([2 * max(piece.numbers["radii_mm"]) for piece in pieces if piece.kind == "ellipsoid"])
    assert lengths.min() >= 4.0 and lengths.max() <= 20.0 and lengths.max() > 15.0


def test_a_plan_survives_json_and_builds_the_same(body):
    plan = sampled(body, 3, pieces=(6, 6))
    again = RandomPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan and build_random_metal(again) == build_random_metal(plan)
    assert sampled(body, 3, pieces=(6, 6)) == plan != sampled(body, 4, pieces=(6, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pieces": (0, 2)}, "pieces must be"),
        ({"sizes_mm": (5.0, 3.0)}, "sizes_mm must be"),
    ],
)
def test_impossible_wishes_are_refused(body, options, message):
    with pytest.raises(CtmarError, match=message):
        sampled(body, 0, **options)


def test_a_slice_without_body_is_refused(body):
    with pytest.raises(CtmarError, match="random metal needs body in slice 7, got none"):
        sampled(np.zeros_like(body), 0)


def test_an_unknown_kind_is_refused():
    with pytest.raises(CtmarError, match="kind must be one of"):
        build_random_metal(
            RandomPlan.from_dict({"pieces": [{"kind": "cube", "material": "316L", "numbers": {}}]})
        )
