"""Checkpoints that appear whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ctmar.files import write_bytes


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, gets it to the disk and gives it its name.

    Lightning writes to the system's temporary folder and moves; from another file system that is a copy over
    the last checkpoint, which a kill or a full disk leaves cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Saves to a local path; to a remote one (``s3://…``) as Lightning does."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        # Not straight into the file: torch turns a full disk into an error without its reason.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer())
