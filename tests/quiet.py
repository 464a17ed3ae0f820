"""A trainer that keeps to itself: on the CPU, no bars, no logs, no files that were not asked for."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl


def quiet_trainer(folder: Path, **options: Any) -> pl.Trainer:
    """Lightning's trainer with ``folder`` as its own; ``options`` replace what is set here."""
    silent = dict.fromkeys(
        ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False
    )
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", devices=1, **silent | options)
