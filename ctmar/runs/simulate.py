"""A data set on disk: simulated cases and a manifest that says how they came about."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

import ctmar
from ctmar.data.simulate import SPLITS
from ctmar.errors import CtmarError
from ctmar.runs.build import build_data, recipe, set_threads
from ctmar.runs.folder import output_dir


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Simulates the cases that are missing in the folder; the same command resumes."""
    set_threads(cfg)
    if cfg.split not in SPLITS:
        raise CtmarError(f"split must be one of {', '.join(SPLITS)}, got {cfg.split!r}")
    folder = Path(cfg.folder) if cfg.folder is not None else output_dir(cfg)
    cfg.data.num_cases = {split: cfg.num_cases if split == cfg.split else 1 for split in SPLITS}
    slices = cfg.model.get("slices", 3) or 3
    manifest = {"schema": 1, "ctmar": ctmar.__version__, "split": cfg.split, "config": recipe(cfg, slices)}
    _require_same(folder / "manifest.json", manifest)
    data = build_data(cfg, slices)
    data.sets[cfg.split].folder = folder
    data.simulator.scene(cfg.split, 0)  # what is wrong with the input is said before anything is written
    # Before the cases: a set that was interrupted must know its recipe too.
    _write(folder / "manifest.json", manifest | {"num_cases": cfg.num_cases})
    data.prepare(cfg.split)
    print(f"{cfg.num_cases} cases in {folder / cfg.split}")


def _write(path: Path, manifest: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    os.replace(partial, path)


def _require_same(path: Path, manifest: dict[str, object]) -> None:
    """Refuses to add cases of one recipe to a folder of another."""
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(before.get(key) != manifest[key] for key in ("schema", "split", "config")):
        raise CtmarError(f"folder must be empty or of the same recipe, {path.parent} was made by another")
