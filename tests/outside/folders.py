"""A user's folder beside the package: files written as a page shows them, commands called from it."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.children import run

CTMAR = Path(sys.executable).parent / "ctmar"
SMALL = (
    "geometry=tiny",
    "anatomy=procedural_small",
    "data.fills=[li]",
    "data.num_workers=0",
    "evaluation.lesions=false",
    "evaluation.num_panels=0",
)
"""A run of seconds."""
TRAINED = (
    *SMALL,
    "data.num_cases={train:2,val:1,test:1}",
    "data.batch_size=1",
    "model.method.network.channels=[4,8]",
    "model.method.wrap_views=8",
    "trainer.max_epochs=1",
    "extras.progress_bar=false",
)
"""A training of seconds, and its evaluation."""
NO_NOISE = ("scanner.tube.kvp=null", "scanner.noise.photons_per_ray=null")
"""One energy and no noise: line integrals are what closed forms say."""


def write(folder: Path, texts: dict[str, str]) -> None:
    """Writes files by their names."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def ctmar(folder: Path, job: str, *overrides: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The installed command, called in the folder; its ``configs`` are added."""
    (folder / "configs").mkdir(exist_ok=True)
    return run([CTMAR, job, "--config-dir=configs", *overrides], cwd=folder, **env)


def well(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed that ended well."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def simulated(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Arrays of the one case that ``ctmar simulate`` writes, ``(slice, ...)``, and what was sampled."""
    well(ctmar(folder, "simulate", *SMALL, "split=test", "num_cases=1", f"folder={name}", *overrides))
    with h5py.File(folder / name / "test" / "shard-00000.h5") as file:
        (group,) = file.values()
        held = {key: np.asarray(group[key]) for key in group}
    told = json.loads((folder / name / "test" / "cases.jsonl").read_text(encoding="utf-8"))
    trace = np.unpackbits(held["metal_trace"], count=held["measured"].size).astype(bool)
    trace = trace.reshape(held["measured"].shape)
    path = np.zeros(trace.shape)
    path[trace] = held["metal_path_mm"]
    return {**held, "metal_trace": trace, "metal_path_mm": path, "told": told}


def rows(folder: Path, run_dir: str) -> list[dict[str, str]]:
    """The rows of a run's ``cases.csv``."""
    with (folder / run_dir / "evaluation" / "cases.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
