"""Generators: metal in the wanted slices, everything sampled on record, nothing hidden in a cache."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants import Plan, RandomPlan, build, build_random_metal
from ctmar.implants.construct import changes
from ctmar.implants.hardware import ScrewShaft
from ctmar.implants.mesh import Mesh
from ctmar.implants.shapes import Cylinder
from ctmar.implants.surface import triangles, write_stl
from ctmar.phantoms.procedural import build_body
from ctmar.scenes import MixedGenerator, RandomGenerator, RealisticGenerator
from ctmar.scenes.areas import metal_areas_mm2
from ctmar.scenes.generators import _landmarks, metal_area_mm2

GENERATORS = [RealisticGenerator(), RandomGenerator(), MixedGenerator(0.5)]
IDS = ["realistic", "random", "mixed"]


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_body(1, levels=("L1", "L2", "L3"), spacing_mm=(2.0, 2.0, 3.0))


@pytest.fixture(scope="module")
def slices(anatomy):
    return range(2, len(anatomy.hu) - 2)


@pytest.mark.parametrize("generator", GENERATORS, ids=IDS)
def test_the_center_slice_is_wanted_and_holds_metal(generator, anatomy, slices):
    for seed in range(6):
        scene = generator.sample(anatomy, slices, np.random.default_rng(seed))
        assert scene.center_slice in slices
        cut = scene.slices((0,), ImageGrid((256, 256), 1.4))
        assert sum(image.sum() for image in cut.metal.values()) * 1.4**2 > 15.0


@pytest.mark.parametrize("generator", GENERATORS, ids=IDS)
def test_the_same_seed_gives_the_same_scene_whatever_came_before(generator, anatomy, slices):
    _landmarks.cache_clear()
    first = generator.sample(anatomy, slices, np.random.default_rng(5))
    generator.sample(anatomy, slices, np.random.default_rng(6))
    second = generator.sample(anatomy, slices, np.random.default_rng(5))
    assert first.parameters == second.parameters
    assert (first.parts, first.pose, first.center_slice) == (second.parts, second.pose, second.center_slice)
    assert generator.sample(anatomy, slices, np.random.default_rng(7)).parameters != first.parameters


@pytest.mark.parametrize("generator", GENERATORS, ids=IDS)
def test_the_parameters_are_plain_and_rebuild_the_metal(generator, anatomy, slices):
    scene = generator.sample(anatomy, slices, np.random.default_rng(2))
    told = json.loads(json.dumps(scene.parameters))
    assert told == scene.parameters
    if told["kind"] == "realistic":
        assert build(Plan.from_dict(told["plan"])) == scene.parts
    else:
        assert build_random_metal(RandomPlan.from_dict(told["plan"])) == scene.parts
    assert told["center_slice"] == scene.center_slice
    assert told["pose"] == {"rotation_deg": scene.pose.rotation_deg, "shift_mm": list(scene.pose.shift_mm)}


def test_poses_stay_within_their_limits_and_vary(anatomy, slices):
    generator = RandomGenerator(max_rotation_deg=4.0, max_shift_mm=6.0)
    poses = [generator.sample(anatomy, slices, np.random.default_rng(n)).pose for n in range(25)]
    turns, shifts = np.array([p.rotation_deg for p in poses]), np.array([p.shift_mm for p in poses])
    assert np.abs(turns).max() <= 4.0 and np.ptp(turns) > 4.0
    assert np.abs(shifts).max() <= 6.0 and (np.ptp(shifts, axis=0) > 6.0).all()


@pytest.mark.parametrize(
    ("ratio", "kinds"), [(0.0, {"random"}), (1.0, {"realistic"}), (0.5, {"random", "realistic"})]
)
def test_the_ratio_says_how_often_a_scene_is_realistic(anatomy, slices, ratio, kinds):
    generator = MixedGenerator(ratio)
    scenes = [generator.sample(anatomy, slices, np.random.default_rng(n)) for n in range(12)]
    assert {scene.parameters["kind"] for scene in scenes} == kinds


def test_realistic_metal_is_in_and_behind_the_spine(anatomy, slices):
    scene = RealisticGenerator().sample(anatomy, slices, np.random.default_rng(3))
    vertebra = (anatomy.labels >= 26) & (anatomy.labels <= 50)
    for part in scene.parts:
        if part.name.endswith(("left screw", "right screw")):
            points = np.argwhere(vertebra)[:, ::-1] * np.asarray(anatomy.spacing_mm)
            assert (part.shape.signed_distance(points) < 0).sum() > 20
    rods = [part for part in scene.parts if part.name.endswith("rod")]
    middle = anatomy.spacing_mm[1] * np.nonzero(vertebra)[1].mean()
    assert rods and all(part.shape.bounds_mm()[0][1] > middle for part in rods)


def test_no_room_is_one_line_that_names_the_slices(anatomy):
    for body, wanted in (
        (replace(anatomy, labels=np.zeros_like(anatomy.labels)), range(4, 9)),
        (anatomy, range(0, 1)),
    ):
        expected = f"no vertebra in slices {wanted.start}-{wanted[-1]} of .* has room for a pedicle screw"
        with pytest.raises(CtmarError, match=expected) as caught:
            RealisticGenerator().sample(body, wanted, np.random.default_rng(0))
        assert "\n" not in str(caught.value)


def test_areas_by_counting_are_those_of_the_slices(anatomy, slices):
    scene = RealisticGenerator().sample(anatomy, slices, np.random.default_rng(4))
    areas = metal_areas_mm2(anatomy, scene.parts, slices)
    exact = np.array([metal_area_mm2(anatomy, scene.parts, k) for k in slices])
    np.testing.assert_allclose(areas, exact, atol=0.04 * exact.max())
    assert exact.max() > 100 and metal_areas_mm2(anatomy, (), slices).sum() == 0


def test_a_rich_construct_is_a_plain_one_and_more(anatomy, slices):
    generator = RealisticGenerator(construct="rich", habits={"cage": 1.0, "laminectomy": 1.0})
    scene = generator.sample(anatomy, slices, np.random.default_rng(1))
    again = Plan.from_dict(json.loads(json.dumps(scene.parameters["plan"])))
    assert build(again) == scene.parts and changes(again) == scene.changes
    assert any("laminectomy" in change.name for change in scene.changes)
    assert RealisticGenerator().sample(anatomy, slices, np.random.default_rng(1)).changes == ()


def test_shafts_can_come_from_stl_files(anatomy, slices, tmp_path):
    for diameter in (4.0, 9.0):
        own = ScrewShaft((0.0, 0.0, 0.0), (0.0, -1.0, 0.0), 40.0, diameter)
        write_stl(tmp_path / f"{diameter}.stl", triangles(own, 0.5))
    files = [str(tmp_path / f"{diameter}.stl") for diameter in (4.0, 9.0)]
    scene = RealisticGenerator(screw_meshes=files).sample(anatomy, slices, np.random.default_rng(0))
    plain = RealisticGenerator().sample(anatomy, slices, np.random.default_rng(0))
    screws = scene.parameters["plan"]["screws"]
    # No screw is planned as thick as 9 mm, so all take the thin file; the rest of the plan stays.
    assert {screw["mesh"] for screw in screws} == {files[0]}
    assert [s["entry_mm"] for s in screws] == [s["entry_mm"] for s in plain.parameters["plan"]["screws"]]
    shafts = [part.shape for part in scene.parts if part.name.endswith("left screw")]
    assert shafts and all(isinstance(shape, Mesh) for shape in shafts)


def test_an_stl_file_that_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(CtmarError, match=r"none\.stl, which does not exist"):
        RealisticGenerator(screw_meshes=[str(tmp_path / "none.stl")])


def test_random_metal_needs_a_body(anatomy):
    air = replace(anatomy, hu=np.full_like(anatomy.hu, -1000.0))
    with pytest.raises(CtmarError, match="random metal needs slices with body"):
        RandomGenerator().sample(air, range(3, 6), np.random.default_rng(0))


@pytest.mark.parametrize("generator", GENERATORS, ids=IDS)
def test_slices_outside_the_volume_are_refused(generator, anatomy):
    for wanted in (range(0), range(5, 999), range(-2, 4)):
        with pytest.raises(CtmarError, match="slices must lie in 0 to"):
            generator.sample(anatomy, wanted, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixedGenerator(1.5), r"realistic_ratio must lie in \[0, 1\], got 1.5"),
        (lambda: RealisticGenerator(max_shift_mm=-1.0), "max_shift_mm must be 0 or more, got -1.0"),
        (lambda: RealisticGenerator(levels=(3, 2)), "levels must be"),
        (lambda: RealisticGenerator(construct="huge"), "construct must be one of plain, rich, got 'huge'"),
        (lambda: RealisticGenerator(habits={"cage": 1.0}), "habits must go with construct=rich"),
        (lambda: RandomGenerator(materials=[]), "materials must be a list such as"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(CtmarError, match=message):
        make()


def test_a_generator_tells_once_that_no_mesh_fits(tmp_path, anatomy, slices, caplog):
    write_stl(tmp_path / "thick.stl", triangles(Cylinder((0.0, 0.0, 0.0), (0.0, -35.0, 0.0), 5.0), 0.4))
    generator = RealisticGenerator(screw_meshes=str(tmp_path))
    scenes = [generator.sample(anatomy, slices, np.random.default_rng(seed)) for seed in range(2)]
    screws = [screw for scene in scenes for screw in scene.parameters["plan"]["screws"]]
    assert {screw["mesh"] for screw in screws} == {None} and max(s["diameter_mm"] for s in screws) < 9.0
    (line,) = caplog.messages
    assert "stays parametric: no mesh fits (thick.stl 10.0 × 35 mm)" in line
