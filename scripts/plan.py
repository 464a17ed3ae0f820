"""Plans a construct in a CT: ``python scripts/plan.py ct=CT labels=LABELS``; YAML, STL, NIfTI, picture."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("plan"))
