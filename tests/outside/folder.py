"""A user's folder: a Python file or two, a folder of configs, and commands called in it."""

import csv
import json
import sys
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Any

import h5py
import numpy as np

from tests.children import run

SMALL = ("geometry=tiny", "anatomy=procedural_small", "data=random", "data.fills=[li]", "data.num_workers=0",
         "evaluation.lesions=false", "evaluation.num_panels=0", "extras.num_threads=1",
         "extras.progress_bar=false")  # fmt: skip
"""Of a training or an evaluation that takes seconds; a benchmark has cases of its own."""
ANY_METAL = ("geometry=tiny", "anatomy=procedural_small", "data.fills=[li]", "data.num_workers=0",
          "evaluation.lesions=false", "evaluation.num_panels=0")  # fmt: skip
"""The same of any metal."""
NO_NOISE = ("scanner.tube.kvp=null", "scanner.noise.photons_per_ray=null")
"""One energy and no noise: line integrals are what closed forms say."""
NETWORK = ("model.method.network.channels=[4,8]", "model.method.wrap_views=4", "model.fill=li",
           "trainer.max_epochs=1", "trainer.precision=32-true", "data.num_cases={train:2,val:1,test:1}",
           "data.batch_size=2")  # fmt: skip


def write(folder: Path, files: dict[str, str]) -> Path:
    """Writes files by their paths in the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder


def ctmar(folder: Path, *arguments: str, **env: str) -> CompletedProcess[str]:
    """Calls the installed command in the folder."""
    command = [Path(sys.executable).parent / "ctmar", *arguments]
    return run(command, cwd=folder, **{"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", **env})


def done(folder: Path, *arguments: str, **env: str) -> CompletedProcess[str]:
    """Calls it and expects it to end well."""
    out = ctmar(folder, *arguments, **env)
    assert out.returncode == 0, f"{out.stdout}\n{out.stderr}"
    return out


def refused(folder: Path, *arguments: str, **env: str) -> str:
    """Calls it and expects the one line that answers a mistake."""
    out = ctmar(folder, *arguments, **env)
    assert out.returncode == 2 and "Traceback" not in out.stderr, f"{out.stdout}\n{out.stderr}"
    (line,) = [line for line in out.stderr.splitlines() if line.startswith("error: ")]
    return line


def summary(run_folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder / "evaluation/summary.json").read_text(encoding="utf-8"))
    return found


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def simulated(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Arrays of the one case that ``ctmar simulate`` writes, ``(slice, ...)``, and what was sampled."""
    (folder / "configs").mkdir(exist_ok=True)
    done(
        folder,
        "simulate",
        "--config-dir=configs",
        *ANY_METAL,
        "split=test",
        "num_cases=1",
        f"folder={name}",
        *overrides,
    )
    with h5py.File(folder / name / "test" / "shard-00000.h5") as file:
        (group,) = file.values()
        held = {key: np.asarray(group[key]) for key in group}
    told = json.loads((folder / name / "test" / "cases.jsonl").read_text(encoding="utf-8"))
    trace = np.unpackbits(held["metal_trace"], count=held["measured"].size).astype(bool)
    trace = trace.reshape(held["measured"].shape)
    path = np.zeros(trace.shape)
    path[trace] = held["metal_path_mm"]
    return {**held, "metal_trace": trace, "metal_path_mm": path, "told": told}


def cases(run_folder: Path) -> list[dict[str, str]]:
    """The rows of a run's ``cases.csv``."""
    return rows(run_folder / "evaluation/cases.csv")
