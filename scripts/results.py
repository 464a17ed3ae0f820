"""Result pages from what was measured: ``python scripts/results.py add FILE``, ``… pages``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("results"))
