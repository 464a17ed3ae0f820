"""The csv logger of a run that goes on in its folder: the rows of the epochs before stay."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from ctmar.files import write_text


class ResumableCSV(CSVLogger):
    """``CSVLogger`` that can continue its file; Lightning's deletes what it finds in its folder."""

    @rank_zero_only
    def go_on_after(self, epoch: int) -> None:
        """Keeps the rows up to an epoch, counted from 0; what came after it is trained, and logged, again.

        Rows without an epoch, of the evaluation, stay until there are others.
        """
        if (Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE).is_file():
            self._experiment = _Continued(self.log_dir, epoch)


class _Continued(ExperimentWriter):
    """Appends to the rows of a file."""

    def __init__(self, log_dir: str, epoch: int) -> None:
        super().__init__(log_dir)
        self.file = Path(self.metrics_file_path)
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a kill may have cut the last one short
        reader = csv.DictReader(whole)
        rows = [row for row in reader if not row.get("epoch") or int(float(row["epoch"])) <= epoch]
        self.metrics_keys = list(reader.fieldnames or [])
        self._write(self.metrics_keys, rows)

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        """Records a row; one without an epoch takes the place of those of the run before."""
        if "epoch" not in metrics_dict:
            with self.file.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row.get("epoch")]
            self._write(self.metrics_keys, rows)
        super().log_metrics(metrics_dict, step)

    def _rewrite_with_new_header(self, fieldnames: Sequence[str]) -> None:
        with self.file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(fieldnames, rows)

    def _write(self, fieldnames: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.file, text.getvalue())

    def _check_log_dir_exists(self) -> None:
        """What is there is what goes on: nothing is deleted."""
