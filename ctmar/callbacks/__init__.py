"""Lightning callbacks: image panels, a line an epoch, and the end of a wandb run."""

from ctmar.callbacks.epoch_line import EpochLine
from ctmar.callbacks.image_panels import ImagePanels
from ctmar.callbacks.resumable_checkpoint import ResumableCheckpoint
from ctmar.callbacks.resumable_csv import ResumableCSV
from ctmar.callbacks.wandb_end import finish_wandb
from ctmar.callbacks.weight_average import EMA

__all__ = ["EMA", "EpochLine", "ImagePanels", "ResumableCSV", "ResumableCheckpoint", "finish_wandb"]
