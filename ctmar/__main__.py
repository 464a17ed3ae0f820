"""``python -m ctmar JOB …``; run by its path it is the command of a process that a job starts."""

import sys
from pathlib import Path

if not __package__:
    # The package's own folder is no place to import from: its parent is.
    sys.path[0] = str(Path(__file__).parents[1])

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
