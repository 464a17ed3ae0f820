"""Image panels of a few validation cases, to whatever loggers there are."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

from ctmar.case import Case, Scan
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case
from ctmar.files import file_stem
from ctmar.methods import Method, Uncorrected
from ctmar.methods.elsewhere import FunctionMethod
from ctmar.report.canvas import figure_rgb, save_figure
from ctmar.report.panels import panel_figure
from ctmar.training.fit import Fit


class ImagePanels(Callback):
    """Reconstructs the first validation cases and logs their panels.

    wandb gets images, TensorBoard too, both against the epoch (a GAN's ``global_step`` counts both
    optimisers); beside the csv logger's metrics PNGs are saved in ``panels/`` of the run's folder.

    Args:
        filter: Of the FBP, as in :meth:`RayTransform.fbp`.
        every_n_epochs: Panels after each n-th epoch.
        num_cases: How many cases, the first of the validation set.
        folder: Where PNGs go; None is ``panels`` in the csv logger's folder, and nowhere without one.
    """

    def __init__(
        self,
        filter: str = "ram-lak",
        every_n_epochs: int = 1,
        num_cases: int = 2,
        folder: str | Path | None = None,
    ) -> None:
        if every_n_epochs < 1 or num_cases < 1:
            raise CtmarError(
                f"every_n_epochs and num_cases must be positive, got {every_n_epochs} and {num_cases}"
            )
        self.filter = filter
        self.every_n_epochs, self.num_cases = every_n_epochs, num_cases
        self.folder = Path(folder) if folder is not None else None
        self._pictures: dict[str, NDArray[np.uint8]] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the last epoch's cases."""
        self._pictures = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Case,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Completes, reconstructs and draws the cases of this batch that are among the first."""
        if not self._due(trainer) or dataloader_idx:
            return
        for index in range(len(batch)):
            if len(self._pictures) == self.num_cases:
                return
            self._add(batch.one(index).to("cpu"), cast(Fit, pl_module), trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands the panels to the loggers."""
        if not self._pictures:
            return
        epoch = trainer.current_epoch
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                import wandb

                images = [wandb.Image(rgb, caption=name) for name, rgb in self._pictures.items()]
                logger.experiment.log({"val/panels": images, "epoch": epoch})
            elif isinstance(logger, TensorBoardLogger):
                for name, rgb in self._pictures.items():
                    logger.experiment.add_image(f"val/{name}", rgb, epoch, dataformats="HWC")
        self._pictures = {}

    def _due(self, trainer: Trainer) -> bool:
        """Whether this epoch's panels are asked for, and anyone takes them."""
        epoch = trainer.current_epoch + 1
        loggers = (WandbLogger, TensorBoardLogger, CSVLogger)
        taken = self.folder is not None or any(isinstance(logger, loggers) for logger in trainer.loggers)
        first = trainer.is_global_zero and not trainer.sanity_checking
        return taken and first and epoch % self.every_n_epochs == 0

    def _png_folder(self, trainer: Trainer) -> Path | None:
        if self.folder is not None:
            return self.folder
        folders = [logger.save_dir for logger in trainer.loggers if isinstance(logger, CSVLogger)]
        return Path(folders[0]) / "panels" if folders else None

    def _add(self, case: Case, module: Fit, trainer: Trainer) -> None:
        """Draws one case: uncorrected, its fills, the module's completion and the clean sinogram's FBP."""
        methods: dict[str, Method] = {"uncorrected": Uncorrected()}
        methods |= {name: FunctionMethod(partial(_fill, name), name) for name in case.scan.fills}
        result = evaluate_case(methods | {"model": module.method}, case, self.filter)
        center = case.center()
        figure = panel_figure(
            result.images_hu,
            center.truth.reference_hu[0, 0],
            center.scan.metal_mask[0, 0],
            body_mask=center.truth.body_mask[0, 0],
            rmse_near=result.near_rmse(),
        )
        self._pictures[result.case_id] = figure_rgb(figure)
        folder = self._png_folder(trainer)
        if folder is not None:
            save_figure(figure, folder / f"epoch{trainer.current_epoch:04d}-{file_stem(result.case_id)}.png")


def _fill(name: str, scan: Scan) -> Tensor:
    return scan.fills[name]
