"""The run's resolved config, carried in its checkpoints."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

CONFIG_KEY = "ctmar_config"


class ConfigInCheckpoint(Callback):
    """Puts a config of plain types into every checkpoint, so that its networks can be rebuilt.

    Args:
        config: Dicts, lists, numbers, strings and None; a checkpoint with it loads ``weights_only``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the config."""
        checkpoint[CONFIG_KEY] = self.config
