"""What a user types, and the one line that answers what cannot be."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctmar.jobs.cli import COMMANDS, JOBS, main
from tests.children import run

ROOT = Path(__file__).parents[2]


def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *overrides: str, job: str = "train") -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.outputs={tmp_path}/outputs", *overrides])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return main(job)


TINY_DATA = [
    "geometry=tiny",
    "data.num_cases={train:1,val:1,test:1}",
    "data.num_workers=0",
    "data.cache=null",
]
BAD = {
    "unknown group": (["model=nope"], "Could not find 'model/nope'"),
    "no name of an option": (
        ["callbacks=null"],
        "callbacks must be one of its options, or a list of them, got null (~callbacks takes",
    ),
    "unknown key": (["data.nope=1"], "Could not override 'data.nope'"),
    "missing value": (["anatomy=files"], "anatomy.ct must be given (anatomy.ct=...), got nothing"),
    "missing file": (
        ["anatomy=files", "anatomy.ct=/no/ct.nii", "anatomy.labels=/no/l.nii"],
        "does not exist",
    ),
    "detector too short": (["geometry.beam.det_count=50"], "detector must cover the image"),
    "wrong type": (
        ["geometry.grid.spacing_mm=wide"],
        "geometry.grid.spacing_mm must be a number, got 'wide'",
    ),
    "unfit argument": (["+scanner.nope=1"], "nope"),
    "source": (["data.source=dicom"], "data.source must be one of raw, image, got 'dicom'"),
    "no cases": (["data.num_cases.train=0"], "num_cases.train must be a positive whole number, got 0"),
    "negative seed": (["seed=-1"], "seed must be a whole number from 0 on, got -1"),
    "two slices": (["model.slices=2"], "slices must be"),
    "missing checkpoint": (["ckpt_path=/no/such.ckpt"], "does not exist"),
    "body larger than the field": (
        ["geometry.grid.shape=[32,32]", "geometry.beam.det_count=47", "anatomy=procedural_small"],
        "the image must cover the body",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides, message = BAD[name]
    assert call(monkeypatch, tmp_path, *TINY_DATA, *overrides) == 2
    error = capfd.readouterr().err.strip()
    assert error.startswith("error: ") and message in error
    assert "\n" not in error and "Traceback" not in error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def write_volume(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (3.0, 3.0, 3.0)) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    sitk.WriteImage(image, str(path))


def volumes() -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    ct = np.full((40, 40, 40), -1000, np.int16)
    ct[:, 8:32, 6:34] = 40
    labels = np.zeros(ct.shape, np.uint8)
    labels[10:30, 18:28, 16:24] = 29
    nan = ct.astype(np.float32)
    nan[20, 20, 20] = np.nan
    return {
        "labels of another grid": (ct, labels[:, :, :-2], "label"),
        "no vertebra": (ct, np.zeros_like(labels), "vertebra"),
        "NaN voxels": (nan, labels, "NaN|finite"),
        "two axes": (ct[0], labels[0], "3|axes|dimension"),
        "no room for hardware": (ct, labels, "pedicle|room|whole|vertebra"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", volumes())
def test_a_bad_volume_is_one_line_and_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import re

    ct, labels, message = volumes()[name]
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "ct.nii.gz", ct)
    write_volume(tmp_path / "in" / "labels.nii.gz", labels)
    files = [f"anatomy.ct={tmp_path}/in/ct.nii.gz", f"anatomy.labels={tmp_path}/in/labels.nii.gz"]
    assert call(monkeypatch, tmp_path, *TINY_DATA, "anatomy=files", *files) == 2
    error = capfd.readouterr().err.strip()
    assert "Traceback" not in error
    last = error.splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last)
    assert not [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]


def test_help_names_the_groups_and_answers_at_once() -> None:
    out = run([sys.executable, ROOT / "train.py", "--help"], limit=20)
    for group in ("anatomy:", "data: ", "geometry:", "model: ", "scanner:", "thorax", "cgan"):
        assert group in out.stdout


@pytest.mark.parametrize("job", JOBS)
def test_help_is_one_screen_with_examples_first(job: str) -> None:
    out = run([sys.executable, "-m", "ctmar", job, "--help"], limit=60)
    lines = out.stdout.splitlines()
    assert out.returncode == 0 and len(lines) <= 50
    assert lines[2].startswith("  python ") and "--cfg job" in out.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples(command: str) -> None:
    out = run([sys.executable, "-m", "ctmar", command, "--help"], limit=60)
    assert len(out.stdout.splitlines()) <= 60
    assert f"\n  ctmar {command} " in out.stdout.partition("\npositional arguments")[0]


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("ctmar ev", "train evaluate simulate"),
        ("ctmar train model=", "model=cgan model=fsnmar"),
        ("ctmar benchmark benchmark=", "benchmark=spine-v1"),
    ],
)
def test_a_shell_completes_jobs_groups_and_options(line: str, choices: str) -> None:
    out = run([sys.executable, "-m", "ctmar", "-sc", "query=bash"], limit=60, COMP_LINE=line)
    assert out.returncode == 0 and choices in out.stdout


def test_console_command_without_a_job_says_which_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    out = run([sys.executable, "-c", "from ctmar.jobs.cli import main; raise SystemExit(main())"])
    assert out.returncode == 2 and "train|evaluate|simulate|plan" in out.stderr


def run_job(tmp_path: Path, cache: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    from tests.tiny_runs import SMALL_NETWORK, TINY

    every = [
        *TINY,
        *SMALL_NETWORK,
        f"paths.outputs={tmp_path}/outputs",
        f"paths.cache_dir={cache}",
        *overrides,
    ]
    flags = [o for o in every if o.startswith("-")]  # argparse wants them before the overrides
    command = [sys.executable, str(ROOT / "train.py"), *flags, *(o for o in every if o not in flags)]
    return run(command, cwd=tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")


@pytest.mark.slow
def test_a_sweep_runs_every_combination(tmp_path: Path, cache: Path) -> None:
    out = run_job(tmp_path, cache, "-m", "model=unet,cgan", "model.slices=1,3", "trainer.max_epochs=1")
    assert out.returncode == 0, out.stderr
    summaries = list(tmp_path.glob("outputs/train/multiruns/*/*/evaluation/summary.json"))
    assert sorted(path.parts[-3] for path in summaries) == ["0", "1", "2", "3"]
    assert out.stdout.count("near RMSE") == 4


@pytest.mark.slow
@pytest.mark.parametrize("acquisition", ["aapm", "helical"])
def test_one_batch_through_a_scanner_of_its_own_geometry(acquisition: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "debug=fdr", "anatomy=procedural_small"]
    command += [f"geometry/acquisition={acquisition}", f"paths.outputs={tmp_path}/outputs"]
    out = run(command, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "near RMSE" in out.stdout and "largest change off the trace 0" in out.stdout


@pytest.mark.slow
def test_loggers_side_by_side_and_wandb_offline(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    out = run_job(tmp_path, cache, "logger=[csv,wandb,tensorboard]")
    assert out.returncode == 0, out.stderr
    (run,) = (tmp_path / "outputs/train/runs").iterdir()
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert list(run.glob("tensorboard/**/events.out*"))
    lines = (run / "csv" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "test/model/rmse_hu_near" in lines[0]


def test_an_ascii_terminal_does_not_end_a_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny_runs import TINY

    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        overrides = ["model=li", *TINY, "evaluation.num_panels=0", f"paths.cache_dir={cache}"]
        assert call(patch, tmp_path, *overrides) == 0
    terminal.flush()
    out = written.getvalue()
    assert b"near RMSE" in out and out.isascii()
    assert b"?" in out  # the ± of the table, which an ASCII terminal cannot show


@pytest.mark.parametrize("override", ["metric=[[]]", "logger=[[csv]]", "model.inputs=[[]]"])
def test_a_list_of_options_that_holds_a_list_is_one_line(
    override: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, tmp_path, override) == 2
    assert capfd.readouterr().err.startswith("error: what a group's list holds must be names of its options")
