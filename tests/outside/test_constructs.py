"""Constructs planned with a user's own alloys and meshes, from the command line."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh

from ctmar.implants import Plan
from ctmar.phantoms import build_spine
from tests.outside.folder import done, refused, write

pytestmark = pytest.mark.slow

CONFIGS = "--config-dir=configs"
NITINOL = "# @package scanner.materials.nitinol\nformula: NiTi\ndensity_g_cm3: 6.45\n"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Overrides that name a CT and its labels."""
    folder = tmp_path_factory.mktemp("patient")
    spine = build_spine(3, ("L2", "L3"), (1.5, 1.5, 2.0))
    for name, values in (("ct", spine.hu.astype(np.int16)), ("labels", spine.labels)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(spine.spacing_mm)
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    return f"ct={folder}/ct.nii.gz", f"labels={folder}/labels.nii.gz"


def test_an_alloy_of_ones_own_is_planned_and_replayed(tmp_path: Path, patient: tuple[str, str]) -> None:
    write(tmp_path, {"configs/material/nitinol.yaml": NITINOL})
    alloys = {"a": "nitinol", "b": "Ti-6Al-4V/nitinol"}
    for folder, alloy in alloys.items():
        done(tmp_path, "plan", CONFIGS, *patient, "+material=nitinol", f"alloy={alloy}", f"folder={folder}")
    a, b = (Plan.load(tmp_path / folder / "plan.yaml") for folder in alloys)
    assert a.materials() == ("nitinol",) and b.materials() == ("Ti-6Al-4V", "nitinol")
    assert {rod.material for rod in b.rods} == {"nitinol"}
    again = (*patient, "plan=a/plan.yaml", "folder=again")
    done(tmp_path, "plan", CONFIGS, "+material=nitinol", *again)
    assert (tmp_path / "a/construct.stl").read_bytes() == (tmp_path / "again/construct.stl").read_bytes()
    line = refused(tmp_path, "plan", *again)
    assert line.startswith("error: material must be one of water, ") and line.endswith("got 'nitinol'")


def bolt(folder: Path, diameter: float, length: float) -> None:
    """A closed cylinder from its head at y = 0 towards -y."""
    ends = [[0.0, -length, 0.0], [0.0, 0.0, 0.0]]
    trimesh.creation.cylinder(radius=diameter / 2, segment=ends).export(folder / f"{diameter}x{length}.stl")


def test_screws_take_the_meshes_that_fit_and_stay_where_none_does(
    tmp_path: Path, patient: tuple[str, str]
) -> None:
    done(tmp_path, "plan", *patient, "folder=planned")
    planned = Plan.load(tmp_path / "planned/plan.yaml").screws
    thin, long = (
        min(s.diameter_mm for s in planned),
        max(s.length_mm for s in planned),
    )
    for name in ("thick", "fitting"):
        (tmp_path / name).mkdir()
    bolt(tmp_path / "thick", 9.0, long)
    bolt(tmp_path / "thick", thin - 0.5, long + 30.0)
    told = done(tmp_path, "plan", *patient, "screw_meshes=thick", "folder=stayed").stdout
    assert Plan.load(tmp_path / "stayed/plan.yaml").screws == planned
    assert told.count("stays parametric: no mesh fits") == len(planned)
    for screw in planned:
        bolt(tmp_path / "fitting", thin - 0.5, screw.length_mm)
    bolt(tmp_path / "fitting", 9.0, long)
    told = done(tmp_path, "plan", *patient, "screw_meshes=fitting", "folder=taken").stdout
    taken = Plan.load(tmp_path / "taken/plan.yaml").screws
    assert "stays parametric" not in told
    for before, after in zip(planned, taken, strict=True):
        assert after.mesh == f"fitting/{thin - 0.5}x{before.length_mm}.stl"
        assert after.diameter_mm == pytest.approx(thin - 0.5, abs=0.05)
        np.testing.assert_allclose(after.tip_mm, before.tip_mm)
