"""A data set on disk: simulated cases in shards, and a manifest that says how they came about."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import ctmar
from ctmar.config.build import build_simulator, set_threads
from ctmar.config.cases import MANIFEST, SCHEMA, case_settings, read_manifest, require_settings
from ctmar.config.settings import check_settings
from ctmar.data.dataset import CaseDataset, simulate_ahead
from ctmar.data.fingerprint import code_digest
from ctmar.data.setup import SPLITS
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.jobs.folder import output_dir


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Simulates the cases that are missing in the folder; the same command resumes.

    The folder gets ``manifest.json`` (the settings), ``SPLIT/shard-*.h5`` (the cases) and, once a split is
    whole, ``SPLIT/cases.jsonl``: each case's seed, digest and everything that was sampled for it.
    """
    check_settings(cfg)
    set_threads(cfg)
    counts = _counts(cfg)
    part, parts = _part(cfg)
    folder = Path(cfg.folder) if cfg.folder is not None else output_dir(cfg)
    slices = OmegaConf.select(cfg, "model.method.slices") or 3
    store = _store(cfg, folder, case_settings(cfg, slices))
    simulator = build_simulator(cfg, slices)
    for split in counts:
        simulator.scene(split, 0)  # what is wrong with the input is said before anything is written
    # Before the cases: a set that was interrupted must know its settings too.
    write_text(folder / MANIFEST, json.dumps(_manifest(cfg, store, slices), indent=2))
    for split, count in counts.items():
        mine = [i for i in range(count) if i // store.shard_cases % parts == part]
        if cfg.verify:
            broken = store.verify(split, mine)
            print(f"{split}: {len(mine)} cases verified, {len(broken)} broken")
        _fill(CaseDataset(simulator, split, count, store, in_memory=False), mine, int(cfg.data.num_workers))
        absent = store.missing(split, range(count))
        if not absent:
            _list(store, simulator, split, count)
        print(f"{count - len(absent)} of {count} cases in {folder / split}")


def _fill(data: CaseDataset, cases: Sequence[int], workers: int) -> None:
    """Simulates what is missing and packs it."""
    assert data.store is not None
    todo = [(f"case {data.split}-{n:05d}", data, n) for n in data.store.missing(data.split, cases)]
    for reason in simulate_ahead(todo, workers, f"simulating {data.split}"):
        if reason is not None:
            raise CtmarError(reason)
    data.store.pack(data.split, cases)


def _list(store: CaseStore, simulator: Simulator, split: str, count: int) -> None:
    """One line a case: its number's seed, digest of its content, all that was sampled."""
    lines = [
        json.dumps({"seed": simulator.entropy(split, index)} | told)
        for index, told in enumerate(store.about(split, range(count)))
    ]
    write_text(store.folder / split / "cases.jsonl", "\n".join(lines) + "\n")


def _manifest(cfg: DictConfig, store: CaseStore, slices: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "ctmar": ctmar.__version__,
        "code": code_digest(),
        "dtype": store.dtype,
        "shard_cases": store.shard_cases,
        "config": case_settings(cfg, slices),
    }


def _store(cfg: DictConfig, folder: Path, wanted: dict[str, Any]) -> CaseStore:
    """The folder's store; what is there must be of these settings, made by this code."""
    store = CaseStore(folder, str(cfg.dtype), cfg.shard_cases)
    before = read_manifest(folder)
    if before is not None:
        require_settings(folder, before, wanted)
        for key, value in (("dtype", store.dtype), ("shard_cases", store.shard_cases)):
            if before[key] != value:
                raise CtmarError(f"{key} must be the folder's own, {before[key]!r}, got {value!r}")
        if before["code"] != code_digest():
            raise CtmarError(
                f"{folder} was made by other code (ctmar {before['ctmar']}): it can be read by"
                " data.cache=…, but cases of this version do not belong in it"
            )
    return store


def _counts(cfg: DictConfig) -> dict[str, int]:
    """Cases by split, from ``num_cases`` as one number or as {split: number}."""
    asked = cfg.num_cases
    counts = dict(asked) if isinstance(asked, Mapping) else {cfg.split: asked}
    for split, count in counts.items():
        if split not in SPLITS:
            raise CtmarError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise CtmarError(f"num_cases must be a positive whole number, got {count!r}")
    return counts


def _part(cfg: DictConfig) -> tuple[int, int]:
    """Which share of the shards this job makes: ``part`` of ``parts``."""
    part, parts = cfg.part, cfg.parts
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (part, parts))
    if not whole or not 0 <= part < parts:
        raise CtmarError(f"part must be a whole number from 0 to parts - 1, got {part!r} of {parts!r}")
    return part, parts
