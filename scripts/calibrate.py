"""The uncertainty of weights, fitted on validation cases: ``scripts/calibrate.py FILE [OVERRIDE ...]``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("calibrate"))
