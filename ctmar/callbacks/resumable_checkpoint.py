"""A checkpoint callback that takes the best weights along when a run resumes in a new folder."""

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint


class ResumableCheckpoint(ModelCheckpoint):
    """``ModelCheckpoint`` whose best checkpoint moves with the run.

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
