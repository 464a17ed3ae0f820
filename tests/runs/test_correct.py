"""The commands for a user's scan: arguments, lines, exit statuses."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ctmar.runs import arguments
from ctmar.runs.cli import main
from tests.children import run
from tests.clinical.conftest import with_rods  # noqa: F401
from tests.clinical.dicom_maker import write_series

ROOT = Path(__file__).parents[2]
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def ctmar(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["ctmar", *map(str, words)])
    return main()


@pytest.fixture
def folder(with_rods: Scan, tmp_path: Path) -> Path:  # noqa: F811
    write_series(tmp_path / "in", with_rods[0][None].clip(-1024, 3071))
    return tmp_path / "in"


def test_the_light_names_are_those_of_the_package() -> None:
    from ctmar.clinical.job import EXTRAS
    from ctmar.clinical.methods import DEFAULT_METHOD, METHODS

    assert set(arguments.METHODS) == {*METHODS, "pretrained"} and arguments.METHODS[0] == DEFAULT_METHOD
    assert arguments.EXTRAS == EXTRAS


def test_a_series_is_corrected_and_inspected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / "out"
    assert ctmar(monkeypatch, "correct", folder, out, "--method", "li") == 0
    said = capfd.readouterr()
    assert "1 of 1 slices corrected by li" in said.err and not said.out
    assert (out / "ct_0001.dcm").is_file()
    assert ctmar(monkeypatch, "inspect", folder) == 0
    said = capfd.readouterr()
    assert "CT series 3: 1 slices, kernel B40" in said.out and "metal in 1 slices, 1 to 1" in said.out
    assert "Secret" not in said.out + said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("correct", "/no/such", "OUT"), "does not exist"),
        (("correct", "IN", "OUT", "--threshold", "-5"), "metal thresholds"),
        (("correct", "IN", "OUT", "--threshold-low", "900"), "needs an upper one"),
        (("correct", "IN", "OUT", "--also", "gold"), "--also must be from"),
        (("correct", "IN", "OUT", "--threads", "0"), "--threads must be 1 or more"),
        (("correct", "IN", "OUT", "--checkpoint", "/no/such.ckpt"), "does not exist"),
        (("correct", "IN", "IN"), "apart from the input"),
        (("correct", "IN", "OUT", "--series", "9"), "must hold one CT series of that number"),
        (("inspect", "/no/such"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    places = {"IN": folder, "OUT": folder.parent / "out"}
    assert ctmar(monkeypatch, *(places.get(word, word) for word in words)) == 2
    error = capfd.readouterr().err.strip()
    assert error.splitlines()[-1].startswith("error: ") and message in error and "Traceback" not in error
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


def test_a_checkpoint_that_is_none_is_refused_unopened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = folder.parent / "bad.ckpt"
    bad.write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert ctmar(monkeypatch, "correct", folder, folder.parent / "out", "--checkpoint", bad) == 2
    assert "must be a checkpoint of ctmar" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["correct", "inspect"])
def test_help_comes_without_torch(name: str) -> None:
    code = (
        "import sys\nfrom ctmar.runs.cli import main\nsys.argv = ['ctmar', sys.argv[1], '--help']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    out = run([sys.executable, "-c", code, name])
    assert out.stdout.startswith(f"usage: ctmar {name}") and out.stdout.endswith("0 False\n")


def test_a_slice_as_a_nifti_file(
    with_rods: Scan,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    image = sitk.GetImageFromArray(with_rods[0][None].astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "in.nii.gz"))
    assert ctmar(monkeypatch, "correct", tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", "--quiet") == 0
    assert capfd.readouterr().err == "" and (tmp_path / "out.nii.gz").is_file()
