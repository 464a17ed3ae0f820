"""Scores a checkpoint or a classical method: ``python scripts/evaluate.py ckpt_path=…``, or ``model=li``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("evaluate"))
