"""Checkpoints and weights of earlier versions: ``python scripts/tools/convert.py FILE OUT``."""

import sys

from ctmar.jobs.convert import main

if __name__ == "__main__":
    sys.exit(main())
