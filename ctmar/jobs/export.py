"""Export: a checkpoint's generator as safetensors or as a graph, and a card that says what it is."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

import ctmar
from ctmar.config.build import make
from ctmar.config.paired import is_paired
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.jobs.benchmark import from_checkpoint
from ctmar.jobs.evaluate import load_checkpoint
from ctmar.learned.graph import GRAPHS, save_graph
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import save
from ctmar.learned.weights import available

UNTOLD = ("_target_", "start")
"""Of the model's settings: its class, and a path of the machine that it was fitted on."""
METRICS = ("rmse_hu_near", "rmse_hu_body", "ssim_soft", "aapm_score")
BESIDE = ("uncorrected", "li", "nmar", "physics")
"""What a card tells of beside the weights, in this order."""
SCALES = {
    True: " with the metal's own HU",
    False: " cut off at 3071 HU",
    None: " cut off at 3071 HU or with the metal's own HU",
}
"""What a card says of images by ``data.extended_scale``."""
LIMITS = (
    "Not a medical device. The metal was simulated; no figure is from metal in a patient.",
    "One real chest and procedural spines, one dose and tube voltage: intervals speak of cases, not people.",
    "Trace and length in metal are inputs: an error of the segmentation becomes one of the image.",
    "What lies behind dense metal is estimated: lesions may be missed or made up (docs/evaluation.md).",
)
LIMITS_OF_SCANS = (
    "One real chest and procedural spines, simulated scanners: intervals speak of cases, not people."
)
"""In place of the second, of weights that have seen several ways to scan."""
LIMITS_OF_PAIRS = (
    "Not a medical device.",
    "Trained on pairs of a user's own, of which ctmar knows no more than their files: whether they show what"
    " metal does, and whose they are, is theirs to say.",
    *LIMITS[2:],
)
"""The same of weights that no simulated case has seen."""


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Writes the weights and their card."""
    checkpoint = load_checkpoint(str(cfg.ckpt_path))
    model = from_checkpoint(str(cfg.ckpt_path))
    if not isinstance(model, NetworkMethod):
        raise CtmarError(f"ckpt_path must be of a U-Net or cGAN, got a {type(model).__name__}")
    trained = config_of(checkpoint)
    refine = OmegaConf.select(trained, "model.refine.kind") or "none"
    if refine != "none":
        raise CtmarError(f"exported weights must be of a completion alone, got model.refine={refine}")
    output = Path(str(cfg.output))
    card = describe(trained, checkpoint, cfg.commit or commit_at_hand())
    if cfg.summary is not None:
        card["figures"] = figures(Path(str(cfg.summary)), str(cfg.method))
    beam = make(trained.geometry.beam)
    if output.suffix in GRAPHS:
        card["graph"] = {"channels": list(model.inputs), "slices": model.slices, **model.units._asdict()}
        card["graph"]["differs"] = save_graph(output, model, beam)
    else:
        node: Any = OmegaConf.to_container(trained.model.method, resolve=True)
        save(output, model, node, beam, card)
    text = card_text(output.stem, card, sum(p.numel() for p in model.generator.parameters()))
    write_text(output.with_suffix(".md"), text)
    print(f"{output} ({output.stat().st_size / 1e6:.1f} MB) and {output.with_suffix('.md').name}")


def describe(trained: DictConfig, checkpoint: dict[str, Any], commit: str) -> dict[str, Any]:
    """Where the weights come from, as plain types."""
    settings: Any = OmegaConf.to_container(trained, resolve=True)
    data, own = settings["data"], is_paired(trained)
    kept = ("scanner", "geometry") if own else ("anatomy", "scanner", "geometry")
    described = {key: _without_paths(settings[key]) for key in kept}
    told = ("_target_", "source") if own else ("generator", "source", "metal")
    described["data"] = {key: data[key] for key in (*told, "num_cases", "batch_size")}
    if own:
        described["data"]["extended_scale"] = data.get("extended_scale", False)
    elif data["source"] == "image":
        described["data"]["metal"] = "threshold"  # whatever is configured: an image tells no other
        described["data"]["extended_scale"] = data.get("extended_scale", False)
    limits = LIMITS_OF_PAIRS if own else LIMITS
    if data.get("scans"):
        described["data"]["scans"] = list(data["scans"])
        limits = (LIMITS[0], LIMITS_OF_SCANS, *LIMITS[2:])
    start = settings["model"].get("start")
    return {
        "ctmar": ctmar.__version__,
        "torch": torch.__version__,
        "commit": commit,
        "seed": settings["seed"],
        "epochs": int(checkpoint["epoch"]) + 1,
        "steps": int(checkpoint["global_step"]),
        "trained_on": described,
        "mu_water": make(trained.scanner).mu_water,
        "started_from": start if start in available() else None,
        "model": {key: value for key, value in settings["model"].items() if key not in UNTOLD},
        "limits": list(limits),
    }


def figures(path: Path, method: str) -> dict[str, Any]:
    """Means of the summary for a method and the methods beside it."""
    if not path.is_file():
        raise CtmarError(f"summary must be a summary.json, got {path}, which does not exist")
    summary = json.loads(path.read_text(encoding="utf-8"))
    if method not in summary["methods"]:
        raise CtmarError(f"method must be one of {', '.join(summary['methods'])}, got {method!r}")
    shown = [name for name in (*BESIDE, method) if name in summary["methods"]]
    means = {
        name: {m: summary["methods"][name][m]["mean"] for m in METRICS if m in summary["methods"][name]}
        for name in dict.fromkeys(shown)
    }
    return {
        "test_set": summary.get("benchmark", {}).get("name", "test split"),
        "num_cases": summary["num_cases"],
        "means": means,
    }


def card_text(name: str, card: dict[str, Any], parameters: int) -> str:
    """The model card, in Markdown."""
    beam = card["trained_on"]["geometry"]["beam"]
    bins = f"{beam['num_angles']} views of {beam['det_count']} bins of {beam['det_spacing_mm']} mm"
    start = f"from `{card['started_from']}`, " if card.get("started_from") else ""
    lines = [
        f"# {name}",
        "",
        f"Completes the metal trace of a parallel-beam sinogram ({bins}; others are resampled), as a"
        f" residual to {_fill(card)}; {parameters:,} parameters. {_loading(card)}",
        "",
        f"- **Data**: {_data(card['trained_on'])}.",
        f"- **Training**: {start}seed {card['seed']}, commit {card['commit'][:12]}, {card['epochs']} epochs,"
        f" {card['steps']:,} steps of {card['trained_on']['data']['batch_size']} cases;"
        f" ctmar {card['ctmar']}, torch {card['torch']}.",
    ]
    if "figures" in card:
        lines += ["", *_table(card["figures"])]
    if "uncertainty" in card:
        lines += ["", _uncertainty(card["uncertainty"])]
    lines += ["", "## Limits", *(f"- {limit}" for limit in card["limits"])]
    return "\n".join(lines) + "\n"


def _loading(card: dict[str, Any]) -> str:
    """How the file is used."""
    if "graph" not in card:
        return "Load it with `model=pretrained model.weights=FILE`, or `ctmar.learned.pretrained.load(FILE)`."
    graph = card["graph"]
    return (
        f"A graph: `(batch, {len(graph['channels']) * graph['slices']}, views, bins)` to"
        f" `(batch, {graph['slices']}, views, bins)`, what is added to the fill, a line integral. Channels,"
        f" {graph['slices']} a name: {', '.join(graph['channels'])}; sinograms divided by"
        f" {graph['sinogram']:g}, lengths by {graph['path_mm']:g} mm (`ctmar.inputs.stack_inputs`)."
    )


def _data(trained_on: dict[str, Any]) -> str:
    """What the weights were trained on."""
    data, scale = trained_on["data"], ""
    if data["source"] == "image":
        scale = SCALES[data.get("extended_scale", False)]
    if "_target_" in data:
        count = data["num_cases"]["train"]
        pairs = "all pairs" if count is None else f"{count} pairs"
        return f"{pairs} of a user's own, by {data['_target_']}, source {data['source']}{scale}"
    own = trained_on["geometry"].get("acquisition") or {}
    scanned = f", scanned by {own['_target_'].rsplit('.', 1)[-1]} and rebinned" if "_target_" in own else ""
    if data.get("scans"):
        scanned += f", by {len(data['scans'])} scanners ({', '.join(data['scans'])})"
    metal_by = data["generator"]["_target_"].rsplit(".", 1)[-1]
    return (
        f"{data['num_cases']['train']} simulated cases; body {trained_on['anatomy']['name']},"
        f" metal by {metal_by}, source {data['source']}{scale}, metal from {data['metal']}{scanned}"
    )


def _fill(card: dict[str, Any]) -> str:
    """The class of the fill, as cards have told it."""
    name = str(card["model"]["method"]["fill"]["_target_"]).rpartition(".")[2]
    return name.lower() if name == "Physics" else name.upper()


def _table(found: dict[str, Any]) -> list[str]:
    # A file's card comes back in the order of the alphabet.
    means = found["means"]
    metrics = [metric for metric in METRICS if metric in next(iter(means.values()))]
    names = [name for name in BESIDE if name in means] + [name for name in means if name not in BESIDE]
    rows = [f"| {name} | " + " | ".join(_number(means[name][k]) for k in metrics) + " |" for name in names]
    return [
        f"Means over {found['num_cases']} cases of {found['test_set']}:",
        "",
        "| method | " + " | ".join(metrics) + " |",
        "|---" * (len(metrics) + 1) + "|",
        *rows,
    ]


def _uncertainty(told: dict[str, Any]) -> str:
    bands = ", ".join(f"{share:.2f}" for share in told["coverage_by_width"])
    sizes = ", ".join(f"{size:.3f}" for size in told["rms_by_width"])
    return (
        f"Uncertainty (`half_width`): made on {told['cases']} validation cases to hold {told['coverage']:g}"
        f" of the errors on the trace; it holds {told['test_coverage']:.2f} on {told['test_cases']} others"
        f" ({bands} from the narrowest fifth to the widest, where the errors' RMS is {sizes}); rank"
        f" correlation with the error {told['rank']:.2f}."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _without_paths(settings: Any) -> Any:
    """The settings with files by their names alone: where they lay on a disk says nothing."""
    if isinstance(settings, dict):
        named = {k: Path(v).name if k in ("ct", "labels") and v else v for k, v in settings.items()}
        return {key: _without_paths(value) for key, value in named.items()}
    return settings


def commit_at_hand() -> str:
    """The commit of the checkout that holds this code; ``unknown`` outside one."""
    here = Path(ctmar.__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, encoding="utf-8", check=False
    )
    return found.stdout.strip() or "unknown"
