"""STL solids: exact volumes, the same metal as their parametric twins, one line for broken files."""

import numpy as np
import pytest

from ctmar.anatomy import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.implants import Plan, build
from ctmar.implants.fitting import mesh_files, parametric, with_meshes
from ctmar.implants.hardware import ScrewShaft
from ctmar.implants.mesh import Mesh, screw_mesh, shaft_size_mm
from ctmar.implants.plan import ScrewPlan
from ctmar.implants.shapes import Cylinder, Part, Sphere, Union
from ctmar.implants.surface import triangles, write_stl
from ctmar.operators import RayTransform
from ctmar.scenes import Pose, Scene

BOX = np.array(
    [
        [[0, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [1, 1, 0], [1, 0, 0]],
        [[0, 0, 1], [1, 1, 1], [0, 1, 1]],
        [[0, 0, 1], [1, 0, 1], [1, 1, 1]],
        [[0, 0, 0], [1, 0, 1], [0, 0, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 0, 1]],
        [[0, 1, 0], [0, 1, 1], [1, 1, 1]],
        [[0, 1, 0], [1, 1, 1], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 1]],
        [[0, 0, 0], [0, 1, 1], [0, 1, 0]],
        [[1, 0, 0], [1, 1, 1], [1, 0, 1]],
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
    ],
    dtype=float,
)


@pytest.fixture
def box(tmp_path):
    """A box of 6 × 4 × 10 mm with a corner at the origin."""
    write_stl(tmp_path / "box.stl", BOX * (6.0, 4.0, 10.0))
    return str(tmp_path / "box.stl")


def still(spacing=(0.7, 0.7, 0.7), slices=80):
    hu = np.zeros((slices, 60, 60), np.float32)
    return Anatomy("still", hu, hu.astype(np.uint8), spacing)


def volume(shape, pose=None, anatomy=None):
    anatomy = anatomy or still()
    scene = Scene(anatomy, (Part("x", "316L", shape),), len(anatomy.hu) // 2, pose or Pose())
    half = len(anatomy.hu) // 2
    cut = scene.slices(range(-half, half), ImageGrid((100, 100), 0.7))
    return float(cut.metal["316L"].sum()) * 0.7**2 * anatomy.spacing_mm[2]


def test_a_box_knows_inside_outside_and_its_distance(box):
    mesh = Mesh(box, (10.0, 10.0, 10.0))
    near = np.array([[13.0, 12.0, 20.2], [9.9, 12.0, 15.0], [13.0, 10.15, 15.0], [15.8, 13.9, 12.0]])
    np.testing.assert_allclose(mesh.signed_distance(near), [0.2, 0.1, -0.15, -0.1], atol=0.02)
    far = np.array([[13.0, 12.0, 15.0], [13.0, 12.0, 21.0], [90.0, 12.0, 15.0]])
    np.testing.assert_allclose(mesh.signed_distance(far), [-2.0, 1.0, 2.0], atol=0.15)
    assert mesh.volume_mm3 == pytest.approx(240.0)
    low, high = mesh.bounds_mm()
    np.testing.assert_allclose([low, high], [[10, 10, 10], [16, 14, 20]])


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_fills_its_volume_at_any_pose(box, seed):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    axes *= np.sign(np.linalg.det(axes))
    mesh = Mesh(box, (20.6, 20.6, 27.0), tuple(map(tuple, axes)))
    assert volume(mesh, Pose(float(rng.uniform(-30, 30)))) == pytest.approx(240.0, rel=0.01)


def test_a_screw_stands_with_its_tip_where_the_plan_wants_it(tmp_path):
    own = Cylinder((0.0, 0.0, 0.0), (0.0, -30.0, 0.0), 3.0, 0.5)
    write_stl(tmp_path / "screw.stl", triangles(own, 0.3))
    direction = np.array([0.2, -0.9, 0.3]) / np.linalg.norm([0.2, -0.9, 0.3])
    mesh = screw_mesh(str(tmp_path / "screw.stl"), np.array([5.0, 6.0, 7.0]), direction)
    on_axis = np.array([5.0, 6.0, 7.0]) - np.array([[1.0], [15.0], [28.0], [-1.0]]) * direction
    assert (mesh.signed_distance(on_axis)[:3] < 0).all() and mesh.signed_distance(on_axis)[3] > 0


@pytest.mark.slow
def test_a_screw_and_its_stl_twin_give_the_same_sinogram(tmp_path):
    screw = ScrewShaft((10.0, 30.0, 20.0), (0.6, -0.7, 0.15), 30.0, 6.0)
    write_stl(tmp_path / "twin.stl", triangles(screw, 0.15))
    twin = Mesh(str(tmp_path / "twin.stl"))
    assert twin.volume_mm3 == pytest.approx(volume(screw, anatomy=still()), rel=0.02)
    grid = ImageGrid((100, 100), 0.7)
    ray = RayTransform(grid, ParallelBeam(90, 145, 0.7), "torch")
    sinograms = []
    for shape in (screw, twin):
        scene = Scene(still((0.7, 0.7, 2.0), 24), (Part("x", "Ti-6Al-4V", shape),), 11)
        import torch

        metal = torch.from_numpy(scene.slices((-1, 0, 1), grid).metal["Ti-6Al-4V"])
        sinograms.append(ray.forward(metal).numpy())
    first, second = sinograms
    assert np.linalg.norm(first - second) / np.linalg.norm(first) < 0.02
    assert second.sum() == pytest.approx(first.sum(), rel=0.02)


@pytest.mark.parametrize("name", ["D4.5L35", "D5L45", "D6L50"])
@pytest.mark.slow
def test_real_screws_fill_their_volume(data_dir, name):
    path = str(data_dir / "screws" / f"{name}.stl")
    mesh = screw_mesh(path, np.array([24.0, 14.0, 10.0]), np.array([0.1, -0.3, -0.95]))
    assert volume(mesh, Pose(7.0), still(slices=110)) == pytest.approx(mesh.volume_mm3, rel=0.01)


BROKEN = {
    "open": (BOX[:-1], "a mesh must be closed, got holes"),
    "empty": (BOX[:0], "a mesh must"),
    "metres": (BOX * 3000, "a mesh must measure at most 400 mm, got 3000 mm"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_meshes_are_one_line(tmp_path, name):
    faces, message = BROKEN[name]
    write_stl(tmp_path / "bad.stl", faces)
    with pytest.raises(CtmarError, match=message) as caught:
        Mesh(str(tmp_path / "bad.stl"))
    assert "\n" not in str(caught.value)


def test_what_is_no_mesh_is_refused(tmp_path):
    with pytest.raises(CtmarError, match="which does not exist"):
        Mesh(str(tmp_path / "none.stl"))
    (tmp_path / "text.stl").write_text("hello", encoding="utf-8")
    with pytest.raises(CtmarError, match="a mesh must"):
        Mesh(str(tmp_path / "text.stl"))
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(CtmarError, match="a mesh must be an STL file"):
        Mesh(str(tmp_path / "model.pkl"))


def test_a_changed_file_is_read_anew(tmp_path):
    import os

    path = tmp_path / "ball.stl"
    write_stl(path, triangles(Sphere((0.0, 0.0, 0.0), 4.0), 0.4))
    first = Mesh(str(path)).volume_mm3
    write_stl(path, triangles(Sphere((0.0, 0.0, 0.0), 6.0), 0.4))
    os.utime(path, ns=(1, 1))
    assert Mesh(str(path)).volume_mm3 > 3 * first


def bolt(folder, diameter, length, head=0.0):
    """A bolt's STL file: a shaft below y = 0, or below a head of this height and twice the thickness."""
    shaft = Cylinder((0.0, 0.0, 0.0), (0.0, -length - head, 0.0), diameter / 2)
    whole = Union((shaft, Cylinder((0.0, 0.0, 0.0), (0.0, -head, 0.0), diameter))) if head else shaft
    path = folder / f"{diameter:g}x{length:g}.stl"
    write_stl(path, triangles(whole, 0.2))
    return str(path)


def planned(*sizes):
    """A plan of screws of these diameters and lengths."""
    at = (10.0, 40.0, 10.0), (0.0, -1.0, 0.0)
    return Plan(tuple(ScrewPlan("L1", "left", *at, *size, "316L") for size in sizes), ())


def test_a_screw_that_no_mesh_fits_stays_as_it_was_planned(tmp_path):
    plan = planned((5.0, 35.0))
    assert with_meshes(plan, [bolt(tmp_path, 8.0, 35.0)]) == plan
    assert with_meshes(plan, [bolt(tmp_path, 5.0, 45.0)]) == plan
    assert with_meshes(plan, [bolt(tmp_path, 5.0, 25.0)]) == plan
    assert with_meshes(plan, [str(tmp_path / "5x45.stl")], length_tolerance_mm=10.0).screws[0].mesh


def test_a_meshs_shaft_is_measured_below_its_head(tmp_path):
    for head in (0.0, 6.0):
        diameter, length = shaft_size_mm(bolt(tmp_path, 5.0, 35.0, head))
        assert diameter == pytest.approx(5.0, abs=0.05) and length == pytest.approx(35.0, abs=0.3)


@pytest.mark.parametrize("name", ["D4.5L35", "D5L45", "D6L50"])
def test_real_screws_have_the_size_in_their_name(data_dir, name):
    found = shaft_size_mm(str(data_dir / "screws" / f"{name}.stl"))
    wanted = [float(number) for number in name[1:].split("L")]
    assert found[0] == pytest.approx(wanted[0], abs=0.01)
    assert 1.0 < found[1] - wanted[1] < 2.0  # up to where a round head is wider than the shaft


def test_of_a_folder_the_thickest_fitting_mesh_nearest_in_length_is_taken(tmp_path):
    for size in ((4.0, 30.0), (5.0, 30.0), (5.0, 34.0), (6.0, 36.0), (6.0, 60.0)):
        bolt(tmp_path, *size)
    plan = with_meshes(planned((5.5, 35.0), (6.5, 35.0), (4.5, 35.0), (3.5, 35.0)), tmp_path)
    names = [screw.mesh and screw.mesh.rpartition("/")[2] for screw in plan.screws]
    assert names == ["5x34.stl", "6x36.stl", "4x30.stl", None]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CtmarError, match="screw_meshes must name STL files or a folder of them"):
        mesh_files(tmp_path / "empty")


def test_what_found_no_mesh_is_told_in_a_line(tmp_path):
    given = planned((5.5, 35.0), (3.5, 35.0))
    bolt(tmp_path, 5.0, 35.0)
    plan = with_meshes(given, tmp_path)
    (line,) = parametric(plan, tmp_path)
    assert line.startswith("L1 left screw 3.5 × 35 mm stays parametric: no mesh fits")
    assert "5x35.stl 5.0 × 35 mm" in line and "mesh 5x35.stl" in str(plan)
    assert "mesh" not in str(given)


def test_each_screw_takes_the_mesh_that_fits(tmp_path):
    paths = [bolt(tmp_path, diameter, 30.0) for diameter in (4.0, 6.0)]
    screws = tuple(
        ScrewPlan("L1", side, (10.0, 40.0, 10.0), (0.0, -1.0, 0.0), size, 25.0, "316L")
        for side, size in (("left", 5.5), ("right", 6.5))
    )
    plan = with_meshes(Plan(screws, ()), paths)
    assert [screw.mesh for screw in plan.screws] == paths
    parts = build(plan)
    assert [part.name for part in parts] == ["L1 left screw", "L1 right screw"]
    for part in parts:
        assert part.shape.bounds_mm()[0][1] == pytest.approx(15.0, abs=0.2)
    assert Plan.from_dict(plan.to_dict()) == plan
