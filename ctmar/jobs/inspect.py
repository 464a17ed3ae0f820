"""``ctmar inspect FOLDER``: what is in it, in lines on standard output."""

import argparse

from ctmar.clinical.inspection import inspect
from ctmar.jobs.wishes import Bar, set_threads, wish_of


def run(arguments: argparse.Namespace) -> None:
    """Prints what the input holds."""
    set_threads(arguments.threads)
    with Bar(quiet=False) as bar:
        inspect(arguments.input, wish_of(arguments), bar.update, lambda line: print(line, flush=True))
