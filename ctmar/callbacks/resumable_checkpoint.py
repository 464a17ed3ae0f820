"""A checkpoint callback to resume from: the last epoch is kept, and the best weights move with the run."""

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class ResumableCheckpoint(ModelCheckpoint):
    """``ModelCheckpoint`` whose ``last.ckpt`` is of the last epoch, and whose best moves with the run.

    Lightning 2.6 writes ``last.ckpt`` where the best one improved alone: a kill lost what came after it.

    Lightning forgets the best score where the folder differs, so that a resumed run would end with
    other weights than an unbroken one. Here the best checkpoint of the interrupted run is copied
    into the new folder and its score kept; where its file is gone, the search starts anew.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state of the interrupted run under this run's folder."""
        best = Path(state_dict.get("best_model_path") or "")
        if self.dirpath is None or state_dict.get("dirpath") == self.dirpath:
            super().load_state_dict(state_dict)
        elif best.is_file():
            folder = Path(self.dirpath)
            folder.mkdir(parents=True, exist_ok=True)
            own = str(folder / best.name)
            shutil.copy2(best, own)
            kept: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": own, "last_model_path": ""}
            if state_dict.get("kth_best_model_path"):
                kept |= {"kth_best_model_path": own, "best_k_models": {own: state_dict["best_model_score"]}}
            super().load_state_dict(state_dict | kept)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the epoch, where Lightning does so after the training's part of it."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the epoch, where Lightning does so after validation."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: Trainer) -> None:
        """Writes ``last.ckpt`` where this epoch's weights are in no checkpoint yet."""
        due = self._every_n_epochs >= 1 and (trainer.current_epoch + 1) % self._every_n_epochs == 0
        if due and self.save_last and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
