"""A checkpoint as weights with a card, and those weights through the evaluation."""

import json
import sys
from pathlib import Path

import pytest
import torch

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config.build import build_model
from ctmar.config.composing import composed, plain
from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import from_checkpoint
from ctmar.jobs.cli import main
from ctmar.jobs.correct import method_from_checkpoint
from ctmar.jobs.evaluate import run as evaluate_run
from ctmar.jobs.export import card_text, describe
from ctmar.jobs.export import run as export_run
from ctmar.jobs.train import train
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import Pretrained, load
from ctmar.learned.weights import read
from tests.children import run
from tests.tiny_runs import SMALL_NETWORK, TINY


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_exported_weights_score_as_their_checkpoint_did(tiny, tmp_path: Path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    train(tiny("seed=3", "trainer.max_epochs=1"))
    best, file = tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "out" / "mine.safetensors"
    options = [f"ckpt_path={best}", f"output={file}", "method=model", "commit=abc"]
    options.append(f"summary={tmp_path / 'run' / 'evaluation' / 'summary.json'}")
    export_run(tiny(*options, job="export", bare=True))
    card = load(file).card
    assert (card["seed"], card["commit"], card["epochs"], card["steps"]) == (3, "abc", 1, 2)
    found = card["figures"]["means"]["model"]["rmse_hu_near"]
    own = summary_of(tmp_path / "run")["methods"]["model"]
    assert found == own["rmse_hu_near"]["mean"]
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    assert "## Limits" in text and "4 simulated cases" in text and f"| {found:.4g} |" in text
    assert str(tmp_path) not in text and str(tmp_path) not in json.dumps(card)
    # The same cases: the seed is the run's.
    weights = ["model=pretrained", f"model.weights={file}", "model.symmetries=1", "seed=3"]
    evaluate_run(tiny(*weights, job="evaluate", folder="again"))
    assert summary_of(tmp_path / "again")["methods"]["model"] == own

    before = read(file)[1]
    cases = [*TINY, *SMALL_NETWORK, f"paths.cache_dir={tmp_path}/cache", "--cases", "4", "--test-cases", "3"]
    monkeypatch.setattr(sys, "argv", ["ctmar", str(file), *cases, "--coverage", "0.8"])
    assert main("calibrate") == 0
    about, state = read(file)
    assert all(torch.equal(state[name], value) for name, value in before.items())
    told = about["card"].pop("uncertainty")
    assert about["card"] == card and told["coverage"] == 0.8 and len(told["coverage_by_width"]) == 5
    assert "4 validation cases: 0.8 of the errors within; 3 test cases" in capsys.readouterr().out
    said = [line for line in file.with_suffix(".md").read_text(encoding="utf-8").splitlines() if line]
    assert [line for line in said if line in text.splitlines()] == [
        line for line in text.splitlines() if line
    ]
    assert "to hold 0.8 of the errors" in "".join(set(said) - set(text.splitlines()))


def test_a_card_tells_of_the_scanners_and_the_fill() -> None:
    cfg = composed("train", ["experiment=images_physics", "paths.output_dir=."])
    card = describe(cfg, {"epoch": 0, "global_step": 1}, "abc")
    assert len(card["trained_on"]["data"]["scans"]) == 11 and "simulated scanners" in card["limits"][1]
    text = card_text("mine", card, 5)
    assert "as a residual to physics;" in text and "by 11 scanners (standard, soft," in text
    assert "one dose and tube voltage" not in text
    usual = describe(composed("train", ["paths.output_dir=."]), {"epoch": 0, "global_step": 1}, "abc")
    assert "residual to NMAR" in card_text("mine", usual, 5) and "one dose" in usual["limits"][1]


def test_what_cannot_be_exported_is_said(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CtmarError, match="does not exist"):
        export_run(tiny("ckpt_path=absent.ckpt", "output=a.safetensors", job="export", bare=True))


class OwnInputs(NetworkMethod):
    """The same network, shown something else."""

    def inputs_of(self, scan, fill):  # type: ignore[no-untyped-def]
        return 0.5 * super().inputs_of(scan, fill)


class OwnImage(NetworkMethod):
    """A completion that shows another image than that of its rays."""

    own_image = True  # type: ignore[assignment]

    def finish(self, scan, corrected_hu, uncorrected_hu):  # type: ignore[no-untyped-def]
        return uncorrected_hu


def own_build(**options) -> NetworkMethod:  # type: ignore[no-untyped-def]
    """A plain model with something in it that no option tells."""
    model = NetworkMethod(**options)
    model.generator.register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def checkpoint(tiny, path: Path, *overrides: str) -> Path:  # type: ignore[no-untyped-def]
    """A run's checkpoint without the run, its weights drawn."""
    cfg = tiny(*overrides)
    model = build_model(cfg)
    torch.nn.init.normal_(model.method.generator.net.head.weight, std=0.05)  # type: ignore[union-attr, arg-type]
    config = plain(cfg)
    torch.save({"state_dict": model.state_dict(), "epoch": 0, "global_step": 2, CONFIG_KEY: config}, path)
    return path


def export(tiny, ckpt: Path) -> Path:  # type: ignore[no-untyped-def]
    file = ckpt.parent / "out" / "mine.safetensors"
    export_run(tiny(f"ckpt_path={ckpt}", f"output={file}", "commit=abc", job="export", bare=True))
    return file


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("OwnInputs", r"got tests\.jobs\.test_export\.OwnInputs, .* with CTMAR_TRUST=tests"),
        ("own_build", r"may name classes of ctmar's .* got 'tests\.jobs\.test_export\.own_build'"),
    ],
)
def test_an_export_that_would_be_something_else_is_refused(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    message: str,
) -> None:
    monkeypatch.setenv("CTMAR_TRUST", "tests")
    ckpt = checkpoint(tiny, tmp_path / "a.ckpt", f"model.method._target_=tests.jobs.test_export.{target}")
    with pytest.raises(CtmarError, match=message):
        export(tiny, ckpt)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_a_graph_answers_as_its_network_without_ctmar(tiny, tmp_path: Path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    ckpt, file = checkpoint(tiny, tmp_path / "a.ckpt"), tmp_path / "out" / f"mine{suffix}"
    export_run(tiny(f"ckpt_path={ckpt}", f"output={file}", "commit=abc", job="export", bare=True))
    method = from_checkpoint(str(ckpt))
    assert isinstance(method, NetworkMethod)
    beam = tiny().geometry.beam
    inputs = torch.randn(3, 6, beam.num_angles, beam.det_count)
    with torch.no_grad():
        wanted = method.residual_scale * method.generator(inputs)
    assert wanted.abs().max() > 0.01
    torch.save(inputs, tmp_path / "in")
    read = {
        ".pt2": "torch.export.load('out/mine.pt2').module()",
        ".pt": "torch.jit.load('out/mine.pt')",
    }[suffix]
    code = (
        "import sys, torch; assert not any(m.startswith('ctmar') for m in sys.modules);"
        f" torch.save({read}(torch.load('in', weights_only=True)), 'found')"
    )
    out = run([sys.executable, "-c", code], cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    found = torch.load(tmp_path / "found", weights_only=True)
    assert torch.allclose(found, wanted, atol=1e-5, rtol=0)
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    assert "`(batch, 6, views, bins)` to `(batch, 1, views, bins)`" in card
    assert "measured, trace, fill" in card


def test_a_checkpoint_is_taken_as_what_it_is_or_not_at_all(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CTMAR_TRUST", "tests")
    target = "model.method._target_=tests.jobs.test_export"
    inputs = checkpoint(tiny, tmp_path / "inputs.ckpt", f"{target}.OwnInputs", "data.source=image")
    image = checkpoint(tiny, tmp_path / "image.ckpt", f"{target}.OwnImage")
    assert type(from_checkpoint(str(inputs))) is OwnInputs
    assert type(method_from_checkpoint(inputs)[0].network) is OwnInputs
    with pytest.raises(
        CtmarError, match=r"completion alone, got tests\.jobs\.test_export\.OwnImage, which has"
    ):
        method_from_checkpoint(image)
    monkeypatch.delenv("CTMAR_TRUST")
    for take in (method_from_checkpoint, from_checkpoint):
        with pytest.raises(CtmarError, match="CTMAR_TRUST=tests accepts that package"):
            take(inputs if take is method_from_checkpoint else str(inputs))  # type: ignore[arg-type]


BEHIND_PHYSICS = [
    "model@model.method.fill=physics",
    "input@model.method.inputs=[measured,trace,fill,path,difference,fill_nmar,deviation]",
]


@pytest.mark.parametrize("kind", ["unet", "cgan", "physics"])
def test_an_export_corrects_scans_as_its_checkpoint_does(tiny, tmp_path: Path, make_case, kind: str) -> None:  # type: ignore[no-untyped-def]
    options = ["geometry.grid.spacing_mm=4.0", "scanner.trace_epsilon_mm=0.5", "scanner.reference_kev=60.0"]
    model = BEHIND_PHYSICS if kind == "physics" else [f"model={kind}"]
    ckpt = checkpoint(tiny, tmp_path / "a.ckpt", *model, "data.source=image", *options)
    (own, scale), (exported, again) = (method_from_checkpoint(x) for x in (ckpt, export(tiny, ckpt)))
    assert isinstance(own, Pretrained) and isinstance(exported, Pretrained)
    assert own.trained == exported.trained and scale == again
    scan = make_case(views=48, bins=93).scan
    assert torch.equal(own.complete(scan).sinogram, exported.complete(scan).sinogram)
