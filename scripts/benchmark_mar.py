"""Scores methods on the frozen test set: ``python scripts/benchmark_mar.py models=[uncorrected,li,nmar]``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("benchmark"))
