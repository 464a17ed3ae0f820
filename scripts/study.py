"""One training under several choices, scored on the same tests: ``scripts/study.py NAME [OVERRIDE ...]``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("study"))
