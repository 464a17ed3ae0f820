"""``kill -9`` at random moments: ``python -m tests.clinical.killed [TIMES]``.

Each run is a fork of this process, which has everything imported, so that the moments fall into the work
itself. Every second one replaces an output that is there.
"""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from ctmar.clinical.job import Request, correct_file
from ctmar.stored.methods import STORED
from tests.scans.dicom_maker import pixels, write_series
from tests.scans.fuzz import volume

SLICES = 24


def start(source: Path, output: Path, overwrite: bool) -> int:
    """A correction in a process of its own; its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            correct_file(
                source,
                output,
                lambda clipped: STORED["nmar"],
                Request(overwrite=overwrite),
                lambda line: None,
            )
            status = 0
        finally:
            os._exit(status)
    return pid


def state(output: Path, names: set[str], good: np.ndarray) -> str:
    """What stands at the output's place."""
    if not output.exists():
        return "absent"
    same = {path.name for path in output.iterdir()} == names
    return "whole" if same and np.array_equal(pixels(output / "ct_0002.dcm"), good) else "half"


def main(times: int = 20, seed: int = 0) -> None:
    """Prints what was found after each kill, and fails on anything half-written."""
    torch.set_num_threads(1)
    generator, seen = np.random.default_rng(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", Path(folder) / "out"
        write_series(source, np.repeat(volume(), SLICES // 3, 0))
        before = {path.name: path.read_bytes() for path in source.iterdir()}
        began = time.monotonic()
        assert os.waitpid(start(source, output, False), 0)[1] == 0
        duration = time.monotonic() - began
        names, good = {path.name for path in output.iterdir()}, pixels(output / "ct_0002.dcm")
        for turn in range(times):
            overwrite = turn % 2 == 1
            if output.exists() and not overwrite:
                output.rename(Path(folder) / f"done-{turn}")
            pid = start(source, output, overwrite)
            time.sleep(duration * float(generator.uniform(0.0, 1.1)))
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)[1]
            left = sum(path.name.startswith(".") for path in Path(folder).iterdir())
            found = state(output, names, good)
            seen[f"{'killed' if ended else 'done'}, {found}"] += 1
            print(f"{turn}: {'killed' if ended else 'done'}, output {found}, {left} hidden", flush=True)
            assert found != "half"
            assert before == {path.name: path.read_bytes() for path in source.iterdir()}
        assert os.waitpid(start(source, output, True), 0)[1] == 0
        assert state(output, names, good) == "whole"
        assert not [path for path in Path(folder).iterdir() if path.name.startswith(".")]
    print(f"{dict(seen)}; a rerun completes and leaves nothing hidden")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
