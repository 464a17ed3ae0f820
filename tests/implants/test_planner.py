"""Constructs: surgeon's rules kept, plans that survive JSON, one line where there is no room."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy.landmarks import Canal, find_canal, find_pedicles, find_vertebrae
from ctmar.errors import CtmarError
from ctmar.implants import METALS, Plan, build, plan_construct, sample_construct
from ctmar.implants.placing import breach_mm, grade, misplaced
from ctmar.implants.rules import screw_diameter_mm, screw_length_mm


@pytest.fixture(scope="module")
def pedicles(toy_spine):
    return find_pedicles(toy_spine)


@pytest.fixture(scope="module")
def canal(toy_spine):
    return find_canal(toy_spine)


def plans(pedicles, canal, count=40, **options):
    return [
        sample_construct(pedicles, np.random.default_rng(n), canal=canal, **options) for n in range(count)
    ]


@pytest.mark.parametrize(
    ("width", "diameter"),
    [(3.9, None), (4.0, 4.0), (5.1, 4.0), (6.25, 5.0), (6.3, 5.0), (8.0, 6.0), (20.0, 7.5)],
)
def test_a_screw_takes_four_fifths_of_the_isthmus_in_standard_sizes(width, diameter):
    assert screw_diameter_mm(width) == diameter


@pytest.mark.parametrize(("depth", "length"), [(23.9, None), (24.0, 20.0), (48.9, 40.0), (49.0, 45.0)])
def test_a_screw_ends_four_millimetres_behind_the_anterior_cortex(depth, length):
    assert screw_length_mm(depth) == length


def test_screws_keep_the_rules(pedicles, canal):
    sizes = {(p.level, p.side): p for p in pedicles}
    for plan in plans(pedicles, canal):
        for screw in plan.screws:
            pedicle = sizes[screw.level, screw.side]
            assert screw.diameter_mm <= max(4.0, 0.8 * pedicle.width_mm) and screw.diameter_mm % 0.5 == 0
            assert screw.length_mm <= pedicle.depth_mm - 4.0 and screw.length_mm % 5 == 0
            turn = np.degrees(np.arccos(min(1.0, np.dot(screw.direction, pedicle.direction))))
            assert turn < 12.0


def test_screws_stay_out_of_the_canal(toy_spine, pedicles, canal):
    wild = {"angle_jitter_deg": 12.0, "entry_jitter_mm": 3.0, "unilateral_probability": 0.0, "levels": (3, 3)}
    rng = np.random.default_rng(0)
    points = rng.uniform([20, 30, 5], [75, 90, 108], (60000, 3))
    points = points[canal.contains(points)]

    def breaches(some):
        parts = [
            part for plan in some for part in build(plan) if part.name.endswith(("left screw", "right screw"))
        ]
        assert len(parts) > 60
        return sum(bool((part.shape.signed_distance(points) < -0.5).any()) for part in parts)

    assert breaches(plans(pedicles, canal, 20, **wild)) == 0
    assert breaches(plans(pedicles, None, 20, **wild)) > 0


def test_a_turned_screw_is_measured_in_the_bone_it_takes(toy_spine, pedicles, canal):
    def shortest_gap(vertebrae):
        gaps = []
        for plan in plans(pedicles, canal, 15, vertebrae=vertebrae, angle_jitter_deg=8.0, levels=(3, 3)):
            for screw in plan.screws:
                line = screw.tip_mm + np.arange(0.0, 15.0, 0.25)[:, None] * screw.direction
                k, j, i = np.rint(line / toy_spine.spacing_mm).astype(int).T[::-1]
                bone = toy_spine.labels[k.clip(0, len(toy_spine.labels) - 1), j, i] > 0
                gaps.append(0.25 * np.argmin(np.append(bone, False)))
        return min(gaps)

    assert shortest_gap(find_vertebrae(toy_spine, canal)) >= 3.0
    assert shortest_gap(()) < 3.0


def test_no_screw_where_the_canal_cannot_be_avoided(toy_spine, pedicles):
    everywhere = Canal(np.ones(toy_spine.labels.shape, bool), toy_spine.spacing_mm)
    with pytest.raises(CtmarError, match="a screw must stay out of the canal"):
        sample_construct(pedicles, np.random.default_rng(0), canal=everywhere)


def test_constructs_vary_and_cover_neighbouring_levels_that_reach_the_slices(pedicles, canal):
    order = ["L3", "L2", "L1"]
    found = plans(pedicles, canal, 60, z_mm=(85.0, 95.0))
    runs = {tuple(dict.fromkeys(screw.level for screw in plan.screws)) for plan in found}
    assert runs == {("L2", "L1"), ("L3", "L2", "L1")}
    assert all("L1" in run and list(run) == [n for n in order if n in run] for run in runs)
    one_sided = sum(len({screw.side for screw in plan.screws}) == 1 for plan in found)
    assert 2 <= one_sided <= 20
    assert {plan.rods[0].material for plan in found} == set(METALS)
    assert {plan.screws[0].material for plan in found} == {"Ti-6Al-4V", "316L"}


def test_alloys_can_be_chosen(pedicles, canal):
    for plan in plans(pedicles, canal, 5, alloys={"titanium_cobalt": 1.0}):
        assert {screw.material for screw in plan.screws} == {"Ti-6Al-4V"}
        assert {rod.material for rod in plan.rods} == {"CoCrMo"}
    (plan,) = plans(pedicles, canal, 1, alloys={"Ti-6Al-4V/nitinol": 1.0})
    assert plan.materials() == ("Ti-6Al-4V", "nitinol")
    (plan,) = plans(pedicles, canal, 1, alloys={"nitinol": 1.0})
    assert plan.materials() == ("nitinol",)
    with pytest.raises(CtmarError, match=r"alloys must give weights .* got \{'gold': -1\}"):
        plans(pedicles, canal, 1, alloys={"gold": -1})


def test_the_rod_lies_in_every_head_and_runs_along_z(pedicles, canal):
    plan = sample_construct(
        pedicles, np.random.default_rng(1), canal=canal, levels=(3, 3), unilateral_probability=0
    )
    parts = {part.name: part for part in build(plan)}
    assert len(parts) == 6 * 3 + 2
    for screw in plan.screws:
        rod = parts[f"{screw.side} rod"].shape
        assert rod.signed_distance(screw.rod_center_mm) == pytest.approx(-rod.radius_mm, abs=0.1)
        assert parts[f"{screw.level} {screw.side} head"].shape.signed_distance(screw.rod_center_mm) > 2.0
        assert screw.rod_center_mm[1] > screw.entry_mm[1]
    for side in ("left", "right"):
        low, high = parts[f"{side} rod"].shape.bounds_mm()
        assert (high - low)[2] > 70 + 2 * 7 and (high - low)[:2].max() < 20


def test_a_plan_survives_json_and_builds_the_same(pedicles, canal):
    plan = sample_construct(pedicles, np.random.default_rng(2), canal=canal)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert build(again) == build(plan)


def test_a_broken_plan_is_refused():
    with pytest.raises(CtmarError, match="a plan must hold screws and rods"):
        Plan.from_dict({"screws": [{"level": "L1"}], "rods": []})


def test_the_same_seed_gives_the_same_plan(pedicles, canal):
    one, two, other = (sample_construct(pedicles, np.random.default_rng(n), canal=canal) for n in (3, 3, 4))
    assert one == two != other


def test_no_room_is_one_line(pedicles):
    thin = [replace(pedicle, width_mm=3.0) for pedicle in pedicles]
    for some, z_mm in ((thin, (0.0, 100.0)), (pedicles, (500.0, 600.0)), ((), (0.0, 100.0))):
        with pytest.raises(CtmarError, match="a screw needs a whole vertebra with room") as caught:
            sample_construct(some, np.random.default_rng(0), z_mm=z_mm)
        assert "\n" not in str(caught.value)


def test_a_plan_survives_yaml_to_the_last_bit(pedicles, canal, tmp_path):
    plan = sample_construct(pedicles, np.random.default_rng(5), canal=canal)
    plan.save(tmp_path / "plan.yaml")
    again = Plan.load(tmp_path / "plan.yaml")
    assert again == plan and build(again) == build(plan)
    assert str(plan).count("\n") == len(plan.screws) + len(plan.rods) - 1 and "L1" in str(plan)


def test_a_rod_is_told_with_the_heads_it_has(pedicles, canal):
    one, two = (plan_construct(pedicles, canal=canal, levels=levels) for levels in (["L3"], ["L2", "L3"]))
    assert "left  rod   5.50 mm through 1 head  " in str(one)
    assert "right rod   5.50 mm through 2 heads  " in str(two)


def test_the_rules_alone_give_the_largest_screws_on_the_axes(pedicles, canal, toy_spine):
    vertebrae = find_vertebrae(toy_spine, canal)
    plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae, levels=["L1", "L2"], alloy="steel")
    assert plan == plan_construct(
        pedicles, canal=canal, vertebrae=vertebrae, levels=["L2", "L1"], alloy="steel"
    )
    assert {(s.level, s.side) for s in plan.screws} == {
        (n, s) for n in ("L1", "L2") for s in ("left", "right")
    }
    for screw in plan.screws:
        pedicle = next(p for p in pedicles if (p.level, p.side) == (screw.level, screw.side))
        np.testing.assert_allclose(screw.direction, pedicle.direction)
        assert screw.diameter_mm == screw_diameter_mm(pedicle.width_mm) and screw.material == "316L"
    with pytest.raises(CtmarError, match=r"levels must be among those found \(L3, L2, L1\), got T4"):
        plan_construct(pedicles, levels=["T4", "L1"])


def test_screws_are_misplaced_by_grade(pedicles, toy_spine, canal):
    bones = {v.level: v for v in find_vertebrae(toy_spine, canal)}
    plan = plan_construct(pedicles, canal=canal, vertebrae=tuple(bones.values()))
    for screw, pedicle in zip(plan.screws, pedicles, strict=True):
        assert grade(breach_mm(screw, pedicle, bones[screw.level])) == "A"
        for wanted, (low, high) in {"B": (0.25, 2), "C": (2, 4), "D": (4, 6), "E": (6, 99)}.items():
            moved = misplaced(screw, pedicle, bones[screw.level], wanted, outwards=False)
            assert moved is not None and low < breach_mm(moved, pedicle, bones[screw.level]) <= high
            inwards = np.sign(moved.entry_mm[0] - screw.entry_mm[0])
            assert inwards == (-1 if screw.side == "left" else 1)
