"""Exports a checkpoint as safetensors with a card: ``python scripts/export.py ckpt_path=… output=…``."""

import sys

from ctmar.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("export"))
