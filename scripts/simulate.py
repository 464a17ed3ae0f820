"""Writes simulated cases to disk: ``python scripts/simulate.py data=realistic num_cases=100``; resumable."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("simulate"))
