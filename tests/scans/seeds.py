"""Many seeds of a fuzzer, each in an empty folder."""

import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from ctmar.scans.dicom.files import quiet_pydicom


def run_seeds(
    one: Callable[[int, Path], str], seeds: range, named: Callable[[int], str] = lambda seed: ""
) -> int:
    """Runs the seeds and prints what became of them; the number that failed.

    Args:
        one: Tries a seed in an empty folder, and says how it ended.
        seeds: The seeds.
        named: What else is said of a seed that failed.
    """
    quiet_pydicom()
    torch.set_num_threads(1)
    seen: Counter[str] = Counter()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                seen[one(seed, Path(folder))] += 1
            except Exception:
                seen["failed"] += 1
                print(f"seed {seed}{named(seed)}:\n{traceback.format_exc()}", flush=True)
    print(dict(seen))
    return seen["failed"]
