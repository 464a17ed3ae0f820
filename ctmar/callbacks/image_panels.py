"""Image panels of a few validation cases, to whatever loggers there are."""

from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case, has_own_image
from ctmar.operators import RayTransform
from ctmar.report.canvas import figure_rgb, file_stem, save_figure
from ctmar.report.panels import panel_figure
from ctmar.sample import MARSample


class Completes(Protocol):
    """What the callback asks of a module."""

    def complete(self, sample: MARSample) -> Tensor:
        """The completed sinogram, in the shape of ``sample.measured``."""
        ...


class ImagePanels(Callback):
    """Reconstructs the first validation cases and logs their panels.

    wandb gets images, TensorBoard too, both against the epoch (a GAN's ``global_step`` counts both
    optimisers); beside the csv logger's metrics PNGs are saved in ``panels/`` of the run's folder.
    A module without ``complete(sample)`` is an error.

    Args:
        ray: The geometry of the cases' images and sinograms.
        filter: Of the FBP, as in :meth:`RayTransform.fbp`.
        every_n_epochs: Panels after each n-th epoch.
        num_cases: How many cases, the first of the validation set.
        folder: Where PNGs go; None is ``panels`` in the csv logger's folder, and nowhere without one.
    """

    def __init__(
        self,
        ray: RayTransform,
        filter: str = "ram-lak",
        every_n_epochs: int = 1,
        num_cases: int = 2,
        folder: str | Path | None = None,
    ) -> None:
        if every_n_epochs < 1 or num_cases < 1:
            raise CtmarError(
                f"every_n_epochs and num_cases must be positive, got {every_n_epochs} and {num_cases}"
            )
        self.ray, self.filter = ray, filter
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
        batch: MARSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Completes, reconstructs and draws the cases of this batch that are among the first."""
        if not self._due(trainer) or dataloader_idx:
            return
        for index in range(batch.measured.shape[0]):
            if len(self._pictures) == self.num_cases:
                return
            self._add(case_of(batch, index), cast(Completes, pl_module), trainer)

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

    @torch.no_grad()
    def _add(self, sample: MARSample, module: Completes, trainer: Trainer) -> None:
        """Draws one case: uncorrected, its fills, the module's completion and the clean sinogram's FBP."""
        fills = {name: (lambda s, n=name: s.fills[n]) for name in sample.fills}
        own = module if has_own_image(module) else module.complete
        methods: dict[str, Any] = {"uncorrected": lambda s: s.measured} | fills | {"model": own}
        result = evaluate_case(methods, sample, self.ray, self.filter)
        center = sample.center()
        figure = panel_figure(
            result.images_hu,
            center.reference_hu[0, 0],
            center.metal_mask[0, 0],
            body_mask=center.body_mask[0, 0],
            rmse_near=result.near_rmse(),
        )
        self._pictures[result.case_id] = figure_rgb(figure)
        folder = self._png_folder(trainer)
        if folder is not None:
            save_figure(figure, folder / f"epoch{trainer.current_epoch:04d}-{file_stem(result.case_id)}.png")


def case_of(batch: MARSample, index: int) -> MARSample:
    """One case of a batch, as a batch of one."""
    take = slice(index, index + 1)
    fields: dict[str, Any] = {
        name: value[take] for name, value in batch._asdict().items() if not isinstance(value, dict)
    }
    return batch._replace(**fields, fills={name: fill[take] for name, fill in batch.fills.items()})
