"""The commands for a user's scan: arguments, lines, exit statuses."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.clinical import STORED, correct
from ctmar.config.build import build_model, make, method_of
from ctmar.config.composing import plain
from ctmar.errors import CtmarError
from ctmar.jobs import arguments
from ctmar.jobs.cli import main
from ctmar.jobs.correct import NETWORKS, method_from_checkpoint, network_method
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import Pretrained, save
from ctmar.stored import MetalRule, find_metal, stored_scan
from ctmar.stored.virtual import virtual_ray
from tests.children import run
from tests.scans.dicom_maker import write_series
from tests.stored.test_slices import errors
from tests.stored_images import SPACING_MM
from tests.tiny_runs import Compose

ROOT = Path(__file__).parents[2]
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


def ctmar(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["ctmar", *map(str, words)])
    return main()


@pytest.fixture
def folder(with_rods: Scan, tmp_path: Path) -> Path:
    write_series(tmp_path / "in", with_rods[0][None].clip(-1024, 3071))
    return tmp_path / "in"


def test_the_light_names_are_those_of_the_package() -> None:
    from ctmar.clinical.request import EXTRAS
    from ctmar.stored.methods import DEFAULT_METHOD, STORED

    assert set(arguments.METHODS) == {*STORED, *NETWORKS} and arguments.METHODS[0] == DEFAULT_METHOD
    assert arguments.EXTRAS == EXTRAS


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("clipped", [True, False])
def test_the_shipped_networks_lessen_the_error(clipped: bool, name: str, with_rods: Scan) -> None:
    stored = with_rods[0].clip(-1024, 3071) if clipped else with_rods[0]
    method = network_method(name, clipped)
    network = method if name == "pretrained" else method.methods["pretrained"]  # type: ignore[attr-defined]
    assert isinstance(network, Pretrained) and method.name == name
    assert network.card["trained_on"]["data"].get("extended_scale", False) != clipped
    corrected = correct(stored[None], (SPACING_MM, SPACING_MM, 2.0), method=method)[0]
    assert errors(corrected, with_rods) < 0.8 * errors(stored, with_rods)


def test_the_mean_is_half_of_the_network_and_half_of_mbhc(with_rods: Scan) -> None:
    image = torch.from_numpy(with_rods[0]).float()
    bright = torch.from_numpy(find_metal(with_rods[0], SPACING_MM**2, MetalRule(2500, 2000)))
    scan = stored_scan(image[None], bright[None], virtual_ray(tuple(image.shape), SPACING_MM)).scan
    with torch.inference_mode():
        mean, network = (network_method(name).complete(scan).sinogram for name in NETWORKS[::-1])
        mbhc = STORED["mbhc"].complete(scan).sinogram
    torch.testing.assert_close(mean, (network + mbhc) / 2)
    assert (network - mbhc).abs().max() > 0.1


def small_network(tiny: Compose, folder: Path, *overrides: str) -> Path:
    """A checkpoint of a run that has just begun."""
    cfg = tiny("anatomy=procedural_small", *overrides)
    model, path = build_model(cfg), folder / "mine.ckpt"
    assert isinstance(model, torch.nn.Module)
    torch.save({"state_dict": model.state_dict(), CONFIG_KEY: plain(cfg)}, path)
    return path


@pytest.mark.parametrize("extended", [False, True])
def test_a_runs_network_takes_images_of_any_sampling(
    extended: bool,
    tiny: Compose,
    with_rods: Scan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = small_network(tiny, tmp_path, "data.source=image", f"data.extended_scale={str(extended).lower()}")
    method, known = method_from_checkpoint(path)
    assert known is extended and isinstance(method, Pretrained) and method.name == "model"
    assert not method.training and capsys.readouterr().err == ""
    # Before training its head is zero: what comes out is its fill.
    volume, voxel = with_rods[0][None], (SPACING_MM, SPACING_MM, 2.0)
    by_network, by_nmar = (correct(volume, voxel, method=m) for m in (method, "nmar"))
    assert np.array_equal(by_network, by_nmar)


def test_a_network_for_raw_data_is_taken_and_told(
    tiny: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method_from_checkpoint(small_network(tiny, tmp_path, "data.source=raw"))
    assert "trained on data.source=raw; stored images want image" in capsys.readouterr().err


def test_an_image_network_is_refused(tiny: Compose, tmp_path: Path) -> None:
    path = small_network(tiny, tmp_path, "data.source=image", "model.refine.kind=joint")
    with pytest.raises(CtmarError, match="checkpoint must be of a completion alone"):
        method_from_checkpoint(path)


def test_a_network_of_a_beam_that_does_not_close_is_refused(tiny: Compose, tmp_path: Path) -> None:
    options = ("data.source=image", "model.method.wrap_views=0", "+geometry.beam.det_offset_mm=0.7")
    path = small_network(tiny, tmp_path, *options)
    with pytest.raises(CtmarError, match="uniform views over π and a centred detector"):
        method_from_checkpoint(path)


def test_weights_whose_card_tells_nothing_of_their_data_are_taken(tiny: Compose, tmp_path: Path) -> None:
    cfg = tiny("data.source=image")
    network, node = method_of(build_model(cfg)), plain(cfg)["model"]["method"]
    assert isinstance(network, NetworkMethod)
    save(tmp_path / "mine.safetensors", network, node, make(cfg.geometry.beam), {"seed": 3})
    method, extended = method_from_checkpoint(tmp_path / "mine.safetensors")
    assert isinstance(method, Pretrained) and not extended and method.symmetries == 1


@pytest.mark.parametrize(
    ("extended", "line"), [(True, "values are cut off"), (False, "holds metal's own HU")]
)
def test_a_network_of_the_other_scale_is_told(
    extended: bool,
    line: str,
    tiny: Compose,
    tmp_path: Path,
    with_rods: Scan,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = small_network(tiny, tmp_path, "data.source=image", f"data.extended_scale={str(extended).lower()}")
    for scale, told in ((extended, False), (not extended, True)):
        hu = with_rods[0] if scale else with_rods[0].clip(-1024, 3071)
        image = sitk.GetImageFromArray(hu[None].astype(np.int32))
        image.SetSpacing((2.0, 2.0, 2.0))
        sitk.WriteImage(image, str(tmp_path / f"{scale}.nii"))
        words = ("correct", tmp_path / f"{scale}.nii", tmp_path / f"{scale}.out.nii", "--checkpoint", path)
        assert ctmar(monkeypatch, *words) == 0
        assert (line in capfd.readouterr().err) is told


def test_methods_of_the_configs_are_known_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ctmar(monkeypatch, "correct", folder, folder.parent / "out", "--method", "zero") == 0
    assert "1 of 1 slices corrected by zero" in capfd.readouterr().err
    assert ctmar(monkeypatch, "correct", folder, folder.parent / "other", "--method", "magic") == 2
    said = capfd.readouterr().err.strip()
    assert "magic" in said.splitlines()[-1] and "Traceback" not in said
    assert not (folder.parent / "other").exists()


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
        "import sys\nfrom ctmar.jobs.cli import main\nsys.argv = ['ctmar', sys.argv[1], '--help']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    out = run([sys.executable, "-c", code, name])
    assert out.stdout.startswith(f"usage: ctmar {name}") and out.stdout.endswith("0 False\n")


def test_a_slice_as_a_nifti_file(
    with_rods: Scan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    image = sitk.GetImageFromArray(with_rods[0][None].astype(np.int16))
    image.SetSpacing((2.0, 2.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "in.nii.gz"))
    assert ctmar(monkeypatch, "correct", tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", "--quiet") == 0
    assert capfd.readouterr().err == "" and (tmp_path / "out.nii.gz").is_file()
