"""An evaluation's tables, pictures and page to wandb, online or offline."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger


def arrange(loggers: Iterable[Any]) -> None:
    """Tells wandb how to draw a run: losses against the epoch, and in tables their least values.

    A GAN's steps count both optimisers, so that curves of two kinds of model would not lie on one axis.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            run.define_metric("epoch", hidden=True)
            run.define_metric("train/*", step_metric="epoch", summary="min")
            run.define_metric("val/*", step_metric="epoch", summary="min")


def log_report(loggers: Iterable[Any], folder: Path) -> int:
    """Hands what an evaluation has written to every wandb logger.

    Args:
        loggers: A run's loggers; others than wandb's are left alone.
        folder: With ``cases.csv``, and ``lesions.csv``, ``panels/``, ``report.html`` where there are any.

    Returns:
        To how many loggers it was handed.
    """
    found = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    if not found:
        return 0
    import wandb

    content: dict[str, Any] = {
        f"evaluation/{path.stem}": _table(path) for path in sorted(folder.glob("*.csv"))
    }
    panels = sorted((folder / "panels").glob("*.png"))
    if panels:
        content["evaluation/panels"] = [wandb.Image(str(path), caption=path.stem) for path in panels]
    page = folder / "report.html"
    if page.is_file():
        content["evaluation/report"] = wandb.Html(page.read_text(encoding="utf-8"), inject=False)
    for logger in found:
        logger.experiment.log(content)
    return len(found)


def _table(path: Path) -> Any:
    """A CSV file as wandb's table, numbers as numbers."""
    import wandb

    with path.open(encoding="utf-8", newline="") as file:
        heading, *rows = list(csv.reader(file))
    data: list[Any] = [[_value(cell) for cell in row] for row in rows]
    return wandb.Table(columns=list(heading), data=data)


def _value(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
