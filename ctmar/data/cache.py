"""Simulated cases on disk: one archive a case, written whole or not at all, read without pickle."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ctmar
from ctmar.sample import IMAGE_FIELDS, SINOGRAM_FIELDS, MARSample

PACKAGES = ("anatomy", "completion", "implants", "operators", "physics", "scenes")
MODULES = ("geometry.py", "sample.py", "units.py", "data/segmentation.py", "data/simulate.py")


def fingerprint(settings: dict[str, Any], files: Iterable[str | Path] = ()) -> str:
    """A name for all that decides what a case holds: settings, input files, the simulating code.

    Args:
        settings: JSON-able settings of body, scenes, scanner, geometry and seed.
        files: Input files or folders; their size and modification time count.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in files:
        path = Path(file)
        for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if part.is_file():
                stat = part.stat()
                digest.update(f"{part.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    root = Path(ctmar.__file__).parent
    sources = [root / name for name in MODULES]
    for package in PACKAGES:
        sources += sorted(path for kind in ("*.py", "*.csv") for path in (root / package).rglob(kind))
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def save_case(path: Path, sample: MARSample) -> None:
    """Writes an unbatched sample; nothing is left at ``path`` if it fails half-way."""
    arrays = {name: getattr(sample, name).numpy() for name in SINOGRAM_FIELDS + IMAGE_FIELDS}
    arrays |= {f"fill_{name}": fill.numpy() for name, fill in sample.fills.items()}
    arrays["mu_water"] = sample.mu_water.numpy()
    text = json.dumps({"case_id": sample.case_id, "parameters": sample.parameters})
    arrays["about"] = np.frombuffer(text.encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    # np.savez appends .npz to names that lack it; a file object is taken as it is.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_case(path: Path) -> MARSample | None:
    """The sample at ``path``; None where there is none, or none that can be read whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays.pop("about").tobytes())
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        fills = {
            name.removeprefix("fill_"): tensors.pop(name)
            for name in list(tensors)
            if name.startswith("fill_")
        }
        return MARSample(**tensors, fills=fills, **about)  # type: ignore[arg-type]
    except (FileNotFoundError, EOFError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
