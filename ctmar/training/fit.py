"""Fitting a network to the error on the trace."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.learned.network import NetworkMethod
from ctmar.learned.refined import ERROR_HU
from ctmar.learned.weights import generator_weights
from ctmar.losses import Loss, Term, trace_mse
from ctmar.methods.base import compose, filled
from ctmar.operators import RayTransform
from ctmar.training.augment import Augment
from ctmar.training.finite import require_finite_loss, require_finite_weights
from ctmar.training.freezing import freeze as freeze_layers
from ctmar.training.freezing import keep_statistics
from ctmar.training.optimizer import Optimizer
from ctmar.training.refine import Refine, refined_errors, scored_region

STEPS, AS_THEY_ARE, NOT_REFINED = Optimizer(), Augment(), Refine()
"""The defaults: AdamW, cases as they are, no image network."""


class Fit(pl.LightningModule):
    """Fits the network of a method: the U-Net alone, and the base of the GAN.

    Args:
        method: What is fitted.
        loss: ``L_2``: the error on the trace.
        terms: What is added to it in training, by name, each with its weight.
        optimizer: How steps are made.
        augment: New cases by symmetries. With a refinement they are mirrored but not turned.
        refine: Whether an image network is fitted behind the completion.
        start: What the generator starts from: the checkpoint of a U-Net or cGAN of the same architecture,
            a ``.safetensors`` file of ctmar's, or the name of weights that it ships.
        freeze: Patterns of parameters that stay as they are (``method.generator.net.body.model.0.*``).
        compile: Let ``torch.compile`` fuse the generator; pays on GPUs.

    Attributes:
        players: Optimiser steps that a batch adds to ``global_step`` and takes from ``max_steps``.
    """

    players = 1

    def __init__(
        self,
        method: NetworkMethod,
        loss: Loss,
        terms: Mapping[str, Term] | None = None,
        optimizer: Optimizer = STEPS,
        augment: Augment = AS_THEY_ARE,
        refine: Refine = NOT_REFINED,
        start: str | None = None,
        freeze: Sequence[str] = (),
        compile: bool = False,
    ) -> None:
        super().__init__()
        if refine.kind == "after" and not start:
            raise CtmarError(
                "refine=after needs the fitted completion that stays as it is: generator_checkpoint, got none"
            )
        self.method, self.loss, self.steps, self.augment, self.refine = (
            method,
            loss,
            optimizer,
            augment,
            refine,
        )
        method.refinement = refine.network(method.slices)
        self.terms = {name: term for name, term in (terms or {}).items() if term.weight}
        self.start, self.freeze_patterns, self.compile_generator = start, tuple(freeze), compile
        self.val_loss, self.val_error, self.val_fill = MeanMetric(), MeanMetric(), MeanMetric()
        self.val_image, self.val_refined = MeanMetric(), MeanMetric()

    @property
    def logged_names(self) -> tuple[str, ...]:
        """What an epoch logs: figures that a callback may watch."""
        refined = ("val/rmse_image_hu", "val/rmse_refined_hu")
        of_images = refined if self.method.refinement is not None else ()
        return "train/loss", "val/loss", "val/rmse_trace", "val/rmse_fill", *of_images

    def check(self, ray: RayTransform) -> None:
        """Raises a CtmarError where cases of this geometry cannot be trained on."""
        self.method.check(ray)
        self.augment.check(ray)

    def setup(self, stage: str) -> None:
        """Before a fit: loads ``start``, freezes, compiles, hands on ``accumulate``.

        A resumed run overwrites what was loaded with its own state.
        """
        if stage != "fit":
            return
        if self.start:
            self.start_from(self.start)
        if self.refine.kind == "after":
            self.requires_grad_(False)
            self._image_network.requires_grad_(True)
        if self.automatic_optimization and self.steps.accumulate > 1:
            self.trainer.accumulate_grad_batches = self.steps.accumulate
        freeze_layers(self, self.freeze_patterns)
        if self.compile_generator:
            self.method.generator.compile(dynamic=True)

    def start_from(self, path: str) -> None:
        """Gives the generator weights at hand; a CtmarError where they do not fit."""
        generator = self.method.generator
        generator.load_state_dict(generator_weights(path, generator.state_dict()))

    def on_train_start(self) -> None:
        """Frozen layers keep the statistics of their norms too."""
        if self.refine.kind == "after":
            self.method.generator.eval()
        if self.freeze_patterns:
            keep_statistics(self)

    def training_step(self, case: Case, batch_idx: int) -> Tensor | None:
        """The loss of a batch; logs ``train/loss``."""
        case = self.training_case(case, batch_idx)
        if self.refine.kind == "after":
            return self.refinement_step(case, batch_idx)
        completed = self.method.complete(case.scan).sinogram
        loss = self.loss(completed, case) + self.further_terms(completed, case)
        return self.logged(loss, case, batch_idx)

    def refinement_step(self, case: Case, batch_idx: int) -> Tensor:
        """The loss of a batch with ``refine=after``; logs ``train/loss``."""
        with torch.no_grad():
            completed = self.method.complete(case.scan).sinogram
        return self.logged(refined_errors(self.method, case, completed)[1], case, batch_idx)

    def logged(self, loss: Tensor, case: Case, batch_idx: int) -> Tensor:
        """The loss, known to be finite and logged."""
        self.require_finite(loss, case, batch_idx)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(case))
        return loss

    def training_case(self, case: Case, batch_idx: int) -> Case:
        """Slices, bins and fills to train on, augmented; without refinement its images are stale."""
        case = self.selected(case)
        scan, refined = self.method.ready(case.scan), self.method.refinement is not None
        if not refined:
            # The network sees no other bins, and the loss is 0 there: inputs and loss take half the time.
            window = self.method.window_of(scan)
            case = Case(scan.bins(window), replace(case.truth, clean=case.truth.clean[..., window]))
        else:
            case = Case(scan, case.truth)
        return self.augment(case, (self.current_epoch, batch_idx, self.global_rank), images=refined)

    def selected(self, case: Case) -> Case:
        """The slices of a case that the network works on."""
        chosen = self.method.select(case.scan)
        return case if chosen.slices == case.scan.slices else case.center()

    def further_terms(self, completed: Tensor, case: Case) -> Tensor:
        """The weighted sum of what is added to ``L_2`` in training; 0 where nothing is."""
        total = torch.zeros((), device=completed.device)
        for term in self.terms.values():
            total = total + term.weight * term(completed, case)
        if self.refine.kind == "joint":
            total = total + self.refine.weight * refined_errors(self.method, case, completed)[1]
        return total

    def on_validation_epoch_start(self) -> None:
        """A checkpoint follows each validation: weights that are no numbers end the run before it."""
        require_finite_weights(self, f"the weights after epoch {self.current_epoch + 1}")

    def require_finite(self, loss: Tensor, case: Case, batch_idx: int) -> None:
        """Raises a CtmarError where a training loss is NaN or infinite: no step is made from it."""
        require_finite_loss(loss, case, f"the loss of epoch {self.current_epoch + 1}, batch {batch_idx + 1}")

    def validation_step(self, case: Case, batch_idx: int) -> None:
        """Gathers the loss, and the mean squared errors of network and fill, over all trace bins."""
        case = self.selected(case)
        scan, clean = self.method.ready(case.scan), case.truth.clean
        bins = scan.metal_trace.sum().clamp(min=1)
        completed = self.method.complete(scan).sinogram
        loss = self.loss(completed, case)
        # The mean would leave a NaN out, and call the rest the loss.
        require_finite_loss(loss, case, f"the validation loss of epoch {self.current_epoch + 1}")
        self.val_loss.update(loss, weight=bins)
        fill = compose(scan, filled(scan, self.method.fill))
        for metric, sinogram in ((self.val_error, completed), (self.val_fill, fill)):
            metric.update(trace_mse(sinogram, clean, scan.metal_trace), weight=bins)
        if self.method.refinement is not None:
            pixels = scored_region(case).sum().clamp(min=1)
            errors = refined_errors(self.method, Case(scan, case.truth), completed)
            for metric, error in zip((self.val_image, self.val_refined), errors, strict=True):
                metric.update(error, weight=pixels)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/loss`` as trained, ``val/rmse_trace`` and ``val/rmse_fill``.

        The loss is ``L_2``, with ``refine=joint`` and the image's weighted error, with ``after`` that alone.
        With refinement ``val/rmse_image_hu`` and ``val/rmse_refined_hu``, against the FBP of ``clean``, too.
        """
        loss = self.val_loss.compute()
        if self.method.refinement is not None:
            image, refined = self.val_image.compute(), self.val_refined.compute()
            loss = loss + self.refine.weight * refined if self.refine.kind == "joint" else refined
            self.log("val/rmse_image_hu", ERROR_HU * image.sqrt())
            self.log("val/rmse_refined_hu", ERROR_HU * refined.sqrt())
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/rmse_trace", self.val_error.compute().sqrt())
        self.log("val/rmse_fill", self.val_fill.compute().sqrt())
        for metric in (self.val_loss, self.val_error, self.val_fill, self.val_image, self.val_refined):
            metric.reset()

    @property
    def _image_network(self) -> nn.Module:
        assert self.method.refinement is not None
        return self.method.refinement

    def fitted_parameters(self) -> list[nn.Parameter]:
        """What the generator's optimiser steps: the generator, the refinement, or both."""
        parts: list[nn.Module] = [] if self.refine.kind == "after" else [self.method.generator]
        if self.method.refinement is not None:
            parts.append(self.method.refinement)
        return [parameter for part in parts for parameter in part.parameters()]

    def configure_optimizers(self) -> Any:
        """AdamW with the schedule, stepped every batch."""
        optimizer = self.steps.of(self.fitted_parameters())
        schedule = {"scheduler": self.scheduled(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def scheduled(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """The optimiser's schedule over this training."""
        manual = not self.automatic_optimization
        return self.steps.schedule(optimizer, self.trainer, self.players, manual)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips to the trainer's value where one is set, else to the model's own ``clip``."""
        self.clip_gradients(optimizer, gradient_clip_val or self.steps.clip, gradient_clip_algorithm)
