"""Compares runs case by case on one HTML page: ``python scripts/compare.py RUN...``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("compare"))
