"""Operations: devices of known size where they belong, in reach of plans, habits that decide how often."""

from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy.landmarks import find_canal, find_pedicles, find_vertebrae
from ctmar.anatomy.landmarks.vertebral_bodies import discs, vertebral_body
from ctmar.errors import CtmarError
from ctmar.implants import Plan, build, plan_construct
from ctmar.implants.construct import BODY_HU, changes
from ctmar.implants.elsewhere import clip, filling, gold_marker, hip, lead, stent
from ctmar.implants.kinds import SOLIDS, solid
from ctmar.implants.placing import breach_mm, grade
from ctmar.implants.plan import Device
from ctmar.implants.shapes import Tube
from ctmar.implants.spinal import (
    anterior_plate,
    cage,
    cement,
    cleared,
    cross_link,
    hook,
    interspinous,
    laminar_wire,
    laminectomy,
)
from ctmar.implants.surgery import Habits, _styled, sample_surgery
from ctmar.physics.materials import MATERIALS, METALS

EVERYTHING = dict.fromkeys(
    ("cage", "laminectomy", "cross_link", "cement", "conical", "cannulated", "monoaxial"), 1.0
)


CHEESE = Plan((), (), (Device("sphere", "x", "", {"center_mm": [0, 0, 0], "radius_mm": 1}),))


@pytest.fixture(scope="module")
def landmarks(toy_spine):
    canal = find_canal(toy_spine)
    return find_pedicles(toy_spine), find_vertebrae(toy_spine, canal), canal


def counted(shape, step=0.25):
    low, high = shape.bounds_mm()
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return float((shape.signed_distance(points) < 0).sum()) * step**3


def surgeries(landmarks, count, **habits):
    pedicles, vertebrae, canal = landmarks
    shares = dict.fromkeys(("misplaced", "lamina", "skipped", *EVERYTHING), 0.0) | habits
    return [
        sample_surgery(
            pedicles,
            vertebrae,
            np.random.default_rng(seed),
            habits=Habits.of(shares),
            canal=canal,
            levels=(3, 3),
            unilateral_probability=0.0,
        )
        for seed in range(count)
    ]


def test_bodies_and_discs_have_the_size_of_the_toy(landmarks):
    _, vertebrae, _ = landmarks
    for vertebra in vertebrae:
        body = vertebral_body(vertebra)
        np.testing.assert_allclose(body.size_mm, [46, 34, 26], atol=4.0)
        assert body.center_mm[1] == pytest.approx(35.0, abs=3.0)
    between = discs(vertebrae)
    assert [disc.name for disc in between] == ["L2/L3", "L1/L2"]
    for disc, height in zip(between, (37.5, 72.5), strict=True):
        assert disc.center_mm[2] == pytest.approx(height, abs=2.0)
        assert disc.size_mm[2] == pytest.approx(9.0, abs=2.5)


def test_a_cage_lies_in_its_disc_with_graft_and_three_markers(landmarks):
    disc = discs(landmarks[1])[0]
    for kind, pieces in (("TLIF", 1), ("PLIF", 2), ("LLIF", 1), ("ALIF", 1)):
        devices = cage(disc, kind)
        assert sum(d.material == "PEEK" for d in devices) == pieces
        assert sum(d.material == "tantalum" for d in devices) == 3 * pieces
        for device in devices:
            low, high = solid(device.kind, device.numbers).bounds_mm()
            assert (np.abs((low + high) / 2 - disc.center_mm) < [24, 16, 3]).all(), device.name
            assert high[2] - low[2] < disc.size_mm[2] + 4
    porous = cage(disc, "ALIF", "porous titanium")
    part = build(Plan((), (), porous))[0]
    assert part.material == "Ti-6Al-4V" and part.fill == pytest.approx(0.35)
    with pytest.raises(CtmarError, match="a cage must be one of TLIF"):
        cage(disc, "XLIF")


def test_a_cages_walls_enclose_a_window(landmarks):
    disc = discs(landmarks[1])[0]
    device = next(d for d in cage(disc, "TLIF") if d.kind == "cage")
    size, wall = np.array(device.numbers["size_mm"]), device.numbers["wall_mm"]
    full, window = size.prod(), (size[0] - 2 * wall) * (size[1] - 2 * wall) * size[2]
    assert counted(solid("cage", device.numbers)) == pytest.approx(full - window, rel=0.06)


def test_what_is_anatomy_is_no_metal(landmarks):
    _, vertebrae, _ = landmarks
    disc, bone = discs(vertebrae)[0], vertebrae[0]
    body = vertebral_body(bone)
    devices = (
        cleared(disc),
        *cage(disc, "TLIF"),
        laminectomy(bone),
        cement(body, body.center_mm, 7.0, np.random.default_rng(0)),
    )
    plan = Plan((), (), devices)
    assert {part.material for part in build(plan)} == {"tantalum"}
    assert {change.hu for change in changes(plan)} == set(BODY_HU.values())
    assert len(build(plan)) + len(changes(plan)) == len(devices)


def test_a_laminectomy_takes_the_lamina_and_leaves_body_and_pedicles(landmarks, toy_spine):
    _, vertebrae, _ = landmarks
    shape = solid("box", laminectomy(vertebrae[0]).numbers)
    z, y, x = np.nonzero(toy_spine.labels == 29)
    points = np.stack([x, y, z], axis=-1) * np.asarray(toy_spine.spacing_mm)
    gone = shape.signed_distance(points) < 0
    behind = points[:, 1] > 72
    middle = np.abs(points[:, 0] - 47.2) < 8
    assert gone[behind & middle].mean() > 0.9 and not gone[points[:, 1] < 62].any()


def test_hooks_wires_links_and_plates_reach_what_they_hold(landmarks):
    pedicles, vertebrae, canal = landmarks
    plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae)
    rods = [np.asarray(rod.centers_mm) for rod in plan.rods]
    link = cross_link(rods[0][1], rods[1][1], 5.5, "Ti-6Al-4V")
    for rod in rods:
        assert min(solid(d.kind, d.numbers).signed_distance(rod[1]) for d in link) < 0
    at = plan.screws[0].rod_center_mm
    for devices in (
        hook(vertebrae[0], "left", at, "316L"),
        (laminar_wire(vertebrae[0], "left", at, "316L"),),
    ):
        solids = [solid(d.kind, d.numbers) for d in devices]
        assert min(float(s.signed_distance(at)) for s in solids) < 4.0
        low = np.min([s.bounds_mm()[0] for s in solids], axis=0)
        assert low[1] < at[1] - 5
    lower, upper = (vertebral_body(v) for v in vertebrae[:2])
    plate = anterior_plate(lower, upper, "Ti-6Al-4V")
    slab = solid(plate[0].kind, plate[0].numbers)
    assert slab.bounds_mm()[1][1] < lower.center_mm[1] - 10 and len(plate) == 5
    for device in plate[1:]:
        start, end = np.array(device.numbers["start_mm"]), np.array(device.numbers["end_mm"])
        assert end[1] > start[1] + 15
    spacer = interspinous(vertebrae[0], vertebrae[1], "Ti-6Al-4V")
    assert {d.material for d in spacer} == {"Ti-6Al-4V", "PEEK"}


def test_metal_elsewhere_has_its_size():
    center = np.array([50.0, 60.0, 200.0])
    head, cup, neck, stem = hip(center, "left", 32.0)
    assert counted(solid(head.kind, head.numbers), 0.5) == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.02)
    shell = 2 / 3 * np.pi * (25**3 - 21**3)
    assert counted(solid(cup.kind, cup.numbers), 0.5) == pytest.approx(shell, rel=0.03)
    assert solid(cup.kind, cup.numbers).signed_distance(center + [-14, -3, 16]) < 0, "the cup lies above"
    assert stem.numbers["end_mm"][2] < center[2] - 120 and stem.numbers["end_mm"][0] > center[0]
    gold = gold_marker(center, (0, 0, 1))
    assert counted(solid(gold.kind, gold.numbers), 0.05) == pytest.approx(np.pi * 0.25 * 3, rel=0.03)
    folded = solid("tube", clip(center, (1, 0, 0), 8.0).numbers)
    low, high = folded.bounds_mm()
    assert high[0] - low[0] == pytest.approx(8.7, abs=0.01)
    assert solid("box", filling(center, 8.0).numbers).signed_distance(center) < -2
    path = np.stack([np.zeros(20), np.zeros(20), np.linspace(0, 80, 20)], axis=1)
    rings = stent(path, 26.0)
    assert len(rings) == 6
    for ring in rings:
        points = np.array(ring.numbers["points_mm"])
        np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 1]), 13.0, atol=1e-6)
    assert lead(path).numbers["radius_mm"] == 1.0
    parts = build(Plan((), (), (head, cup, neck, stem, gold, *rings, lead(path), filling(center, 5.0))))
    assert {part.material for part in parts} <= set(MATERIALS) and len(parts) == 13


def test_habits_decide_what_is_done(landmarks):
    for plan in surgeries(landmarks, 4):
        assert plan.devices == () and len(plan.screws) == 6
        assert all((s.core_taper, s.bore_mm, s.monoaxial) == (0.0, 0.0, False) for s in plan.screws)
    for plan in surgeries(landmarks, 4, **EVERYTHING):
        names = " ".join(device.name for device in plan.devices)
        for what in ("cage", "disc removed", "laminectomy", "cross-link", "cement"):
            assert what in names
        assert all(s.core_taper > 0 and s.bore_mm == 1.6 and s.monoaxial for s in plan.screws)


def test_inner_levels_are_skipped_and_the_rods_pass_on(landmarks):
    for plan in surgeries(landmarks, 3, skipped=1.0):
        assert {s.level for s in plan.screws} == {"L3", "L1"}
        assert all(len(rod.centers_mm) == 2 for rod in plan.rods)


def test_screws_go_astray_at_the_stated_rate_and_grades(landmarks):
    pedicles, vertebrae, _ = landmarks
    found = {(p.level, p.side): p for p in pedicles}
    bones = {v.level: v for v in vertebrae}
    grades = []
    for plan in surgeries(landmarks, 40, misplaced=0.5):
        for screw in plan.screws:
            breach = breach_mm(screw, found[screw.level, screw.side], bones[screw.level])
            grades.append(grade(breach))
    share = np.mean([g != "A" for g in grades])
    assert 0.4 < share < 0.6
    counts = {name: grades.count(name) for name in "BCDE"}
    assert counts["B"] > counts["C"] > counts["D"] and min(counts.values()) > 0
    straight = surgeries(landmarks, 10)
    for plan in straight:
        for screw in plan.screws:
            assert breach_mm(screw, found[screw.level, screw.side], bones[screw.level]) < 2.0


def test_the_uppermost_screws_give_way_to_hooks_or_wires(landmarks):
    kinds = set()
    for plan in surgeries(landmarks, 12, lamina=1.0):
        assert {s.level for s in plan.screws} == {"L3", "L2"}
        names = {device.name for device in plan.devices}
        kinds |= {"wire" if "L1 left laminar wire" in names else "hook"}
        assert names >= {"L1 left laminar wire", "L1 right laminar wire"} or names >= {"L1 left hook"}
        assert all(len(rod.centers_mm) == 3 for rod in plan.rods)
    assert kinds == {"wire", "hook"}


def test_an_operation_survives_yaml_and_builds_the_same(landmarks, tmp_path):
    (plan,) = surgeries(landmarks, 1, misplaced=0.5, **EVERYTHING)
    plan.save(tmp_path / "plan.yaml")
    again = Plan.load(tmp_path / "plan.yaml")
    assert again == plan and build(again) == build(plan) and changes(again) == changes(plan)
    assert surgeries(landmarks, 1, misplaced=0.5, **EVERYTHING)[0] == plan


def test_screw_makes_change_the_metal(landmarks):
    pedicles, vertebrae, canal = landmarks
    plan = plan_construct(pedicles, canal=canal, vertebrae=vertebrae, levels=["L2"])
    plain_one = build(plan)[0].shape
    for change in ({"core_taper": 0.3}, {"bore_mm": 1.6}):
        other = build(replace(plan, screws=tuple(replace(s, **change) for s in plan.screws)))[0].shape
        assert 0.75 < counted(other) / counted(plain_one) < 0.95, change
    screw = plan.screws[0]
    bored = build(replace(plan, screws=(replace(screw, bore_mm=1.6),)))[0].shape
    middle = np.asarray(screw.entry_mm) + 15 * np.asarray(screw.direction)
    assert bored.signed_distance(middle) > 0 > plain_one.signed_distance(middle)


def test_screws_too_thin_for_a_bore_stay_solid(landmarks):
    pedicles, vertebrae, canal = landmarks
    screw = plan_construct(pedicles, canal=canal, vertebrae=vertebrae, levels=["L2"]).screws[0]
    screws = [replace(screw, diameter_mm=diameter) for diameter in (4.0, 4.5, 6.5)]
    styled = _styled(screws, Habits(cannulated=1.0), np.random.default_rng(0))
    assert [s.bore_mm for s in styled] == [0.0, 1.6, 1.6]
    for s in styled:
        build(Plan(screws=(s,), rods=()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Habits(cage=1.2), r"habits.cage must lie in \[0, 1\], got 1.2"),
        (lambda: Habits.of({"dance": 1.0}), "habits must be among misplaced, .* got 'dance'"),
        (lambda: solid("gear", {}), "kind must be one of sphere, .* got 'gear'"),
        (lambda: solid("box", {"center_mm": [0, 0, 0]}), "a box must have its numbers"),
        (lambda: build(CHEESE), "material must be the name of one"),
    ],
)
def test_impossible_operations_are_refused(make, message):
    with pytest.raises(CtmarError, match=message):
        make()


def test_every_kind_is_a_solid_with_a_box():
    numbers = {
        "center_mm": [1, 2, 3],
        "radius_mm": 4.0,
        "radii_mm": [2, 3, 4],
        "start_mm": [0, 0, 0],
        "end_mm": [0, 5, 9],
        "points_mm": [[0, 0, 0], [0, 5, 9]],
        "size_mm": [8, 9, 10],
        "wall_mm": 1.0,
        "normal": [0, 0, 1],
        "waves": [[1, 2, 0]],
        "amplitudes": [0.2],
        "phases": [0.0],
    }
    for kind in set(SOLIDS) - {"mesh"}:
        shape = solid(kind, numbers)
        low, high = shape.bounds_mm()
        assert (high > low).all() and counted(shape, 0.5) > 10, kind
    assert isinstance(solid("tube", numbers), Tube) and set(METALS) < set(MATERIALS)
