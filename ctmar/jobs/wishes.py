"""What ``ctmar correct`` and ``ctmar inspect`` share: what is asked of a scan, and a progress bar."""

import argparse
import sys
from typing import Any

from ctmar.clinical.request import Request
from ctmar.errors import CtmarError


def wish_of(arguments: argparse.Namespace, also: tuple[str, ...] = (), overwrite: bool = False) -> Request:
    """What is asked of the metal and the series."""
    return Request(
        high_hu=arguments.threshold,
        low_hu=arguments.threshold_low,
        min_area_mm2=arguments.min_area,
        series=arguments.series,
        also=also,
        overwrite=overwrite,
    )


def set_threads(threads: int | None) -> None:
    """Torch's threads, where a number is given."""
    if threads is None:
        return
    if threads < 1:
        raise CtmarError(f"--threads must be 1 or more, got {threads}")
    import torch

    torch.set_num_threads(threads)


class Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet or not sys.stderr.isatty()
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, what: str, done: int, total: int) -> None:
        """Moves the bar of ``what``."""
        if self.quiet:
            return
        from tqdm import tqdm

        if what != self._what:
            if self._bar is not None:
                self._bar.close()
            self._what, self._bar = what, tqdm(total=total, desc=what, unit="slice", leave=False)
        self._bar.update(done - self._bar.n)

    @staticmethod
    def say(line: str) -> None:
        """A line to the reader, above the bar."""
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)

    @staticmethod
    def silent(line: str) -> None:
        """No line."""
