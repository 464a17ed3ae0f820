"""A data set on disk: simulated cases and a manifest that says how they came about."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

import ctmar
from ctmar.data.simulate import SPLITS
from ctmar.errors import CtmarError
from ctmar.runs.build import build_data, output_dir, plain, set_threads


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Simulates the cases that are missing in the folder; the same command resumes."""
    set_threads(cfg)
    if cfg.split not in SPLITS:
        raise CtmarError(f"split must be one of {', '.join(SPLITS)}, got {cfg.split!r}")
    folder = Path(cfg.folder) if cfg.folder is not None else output_dir(cfg)
    cfg.data.num_cases = {split: cfg.num_cases if split == cfg.split else 1 for split in SPLITS}
    manifest = {"schema": 1, "ctmar": ctmar.__version__, "split": cfg.split, "config": _recipe(cfg)}
    _require_same(folder / "manifest.json", manifest)
    data = build_data(cfg, cfg.model.get("slices", 3) or 3)
    data.sets[cfg.split].folder = folder
    data.prepare(cfg.split)
    manifest |= {"num_cases": cfg.num_cases}
    partial = folder / ".manifest.json.part"
    partial.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    os.replace(partial, folder / "manifest.json")
    print(f"{cfg.num_cases} cases in {folder / cfg.split}")


def _recipe(cfg: DictConfig) -> dict[str, object]:
    """What decides the content of a case."""
    everything = plain(cfg)
    recipe = {key: everything[key] for key in ("anatomy", "geometry", "projector", "scanner", "seed")}
    recipe["data"] = {key: everything["data"][key] for key in ("generator", "source", "metal", "fills")}
    return recipe


def _require_same(path: Path, manifest: dict[str, object]) -> None:
    """Refuses to add cases of one recipe to a folder of another."""
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(before.get(key) != manifest[key] for key in ("schema", "split", "config")):
        raise CtmarError(f"folder must be empty or of the same recipe, {path.parent} was made by another")
