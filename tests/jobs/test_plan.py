"""``scripts/plan.py``: files that agree with one another, replays, one line for what cannot be."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ctmar.anatomy.labels import LEVEL_TO_ID
from ctmar.errors import CtmarError
from ctmar.implants import Plan
from ctmar.jobs.cli import main
from ctmar.phantoms import build_spine


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A CT and its labels as files, off the scanner's origin."""
    import SimpleITK as sitk

    folder = tmp_path_factory.mktemp("patient")
    spine = build_spine(3, ("L2", "L3"), (1.5, 1.5, 2.0))
    for name, values in (("ct", spine.hu.astype(np.int16)), ("labels", spine.labels)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(spine.spacing_mm)
        image.SetOrigin((-20.0, 30.0, 500.0))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    return folder / "ct.nii.gz", folder / "labels.nii.gz"


def plan(monkeypatch: pytest.MonkeyPatch, patient: tuple[Path, Path], folder: Path, *more: str) -> int:
    files = [f"ct={patient[0]}", f"labels={patient[1]}", f"folder={folder}", f"paths.outputs={folder}/out"]
    monkeypatch.setattr(sys, "argv", ["plan.py", *files, *more])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return main("plan")


@pytest.mark.slow
def test_a_plan_is_written_and_replayed_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
    patient: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import SimpleITK as sitk

    assert plan(monkeypatch, patient, tmp_path / "a", "levels=[L2,L3]", "alloy=titanium_cobalt") == 0
    told = capfd.readouterr().out
    assert told.count("screw") == 4 and "CoCrMo" in told
    assert plan(monkeypatch, patient, tmp_path / "b", f"plan={tmp_path}/a/plan.yaml") == 0
    for name in ("plan.yaml", "construct.stl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    metal, labels = (sitk.ReadImage(str(path)) for path in (tmp_path / "a/construct.nii.gz", patient[1]))
    assert metal.GetSize() == labels.GetSize() and metal.GetOrigin() == labels.GetOrigin()
    inside = sitk.GetArrayFromImage(labels)[sitk.GetArrayFromImage(metal) > 0]
    assert (inside == LEVEL_TO_ID["L3"]).sum() > 50
    stl = np.frombuffer(
        (tmp_path / "a/construct.stl").read_bytes()[84:],
        np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]),
    )["c"]
    where = np.argwhere(sitk.GetArrayFromImage(metal) > 0).mean(axis=0)[::-1]
    center = np.array(metal.TransformContinuousIndexToPhysicalPoint(where.tolist()))
    np.testing.assert_allclose(stl.reshape(-1, 3).mean(axis=0), center, atol=6.0)
    assert (tmp_path / "a/picture.png").stat().st_size > 20_000


@pytest.mark.slow
def test_a_seed_samples_a_construct(
    monkeypatch: pytest.MonkeyPatch, patient: tuple[Path, Path], tmp_path: Path
) -> None:
    plans = []
    for seed, folder in ((1, "a"), (1, "b"), (2, "c")):
        assert plan(monkeypatch, patient, tmp_path / folder, f"seed={seed}") == 0
        plans.append(Plan.load(tmp_path / folder / "plan.yaml"))
    assert plans[0] == plans[1] != plans[2]


BAD = {
    "level": (["levels=[T5]"], "levels must be among those found"),
    "levels": (["levels=L3"], "levels must be null or a list"),
    "alloy": (
        ["alloy=gould"],
        "alloy must be one of titanium, titanium_cobalt, steel or a material",
    ),
    "material": (["+scanner.materials.gum={formula:Xx,density_g_cm3:1}"], "material gum: formula must be a"),
    "meshes": (["screw_meshes=[none.stl]"], "a mesh must be an STL file, got none.stl"),
    "rod": (["rod_diameter_mm=9"], "rod_diameter_mm must be one of 4.75"),
    "seed": (["seed=-1"], "seed must be null or a whole number from 0 on, got -1"),
    "plan": (["plan=/no/plan.yaml"], "a plan must be a readable YAML file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    patient: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    overrides, message = BAD[name]
    assert plan(monkeypatch, patient, tmp_path / "a", *overrides) == 2
    error = capfd.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error
    assert not (tmp_path / "a" / "plan.yaml").exists()


def test_a_plan_for_another_patient_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    patient: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "far.yaml").write_text(
        "screws: []\nrods:\n- {side: left, centers_mm: [[900, 0, 0], [900, 0, 50]], diameter_mm: 5.5,"
        " overhang_mm: 5.0, material: 316L}\n",
        encoding="utf-8",
    )
    assert plan(monkeypatch, patient, tmp_path / "a", f"plan={tmp_path}/far.yaml") == 2
    assert "a plan must lie in the CT" in capfd.readouterr().err
    (tmp_path / "bad.yaml").write_text("!!python/object/apply:os.system ['echo']\n", encoding="utf-8")
    assert plan(monkeypatch, patient, tmp_path / "a", f"plan={tmp_path}/bad.yaml") == 2
    assert "a plan must be a readable YAML file" in capfd.readouterr().err


def test_a_pelvis_that_is_not_there_is_one_line() -> None:
    from ctmar.jobs.plan import _anchors

    spine = build_spine(0, ("L2", "L3"), (2.0, 2.0, 3.0))
    assert _anchors(spine, None) == ()
    with pytest.raises(CtmarError, match="S2AI screws need sacrum and hip bones in the labels"):
        _anchors(spine, "S2AI")
    with pytest.raises(CtmarError, match="pelvis must be null or one of S1, S2AI, iliac, got 'S2'"):
        _anchors(spine, "S2")


def test_a_plan_without_a_volume_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plan.py", f"folder={tmp_path}", f"paths.outputs={tmp_path}/out"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main("plan") == 2
    assert capfd.readouterr().err == "error: ct must be given (ct=...), got nothing\n"
