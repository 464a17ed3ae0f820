"""Where a run's files go."""

import datetime
from pathlib import Path

from omegaconf import DictConfig


def output_dir(cfg: DictConfig) -> Path:
    """The run's folder; made up where the caller of ``compose()`` gave none."""
    if cfg.paths.output_dir is None:
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
        cfg.paths.output_dir = str(Path(cfg.paths.outputs) / cfg.task_name / "runs" / stamp)
    folder = Path(cfg.paths.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
