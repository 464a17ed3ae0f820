"""Trains and evaluates a completion: ``python train.py model=cgan data=realistic``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("train"))
