"""Completion by a network: a residual to a fill, learned on the trace."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.losses import (
    absolute,
    charbonnier,
    gradient_error,
    inconsistency,
    ramp_filtered,
    root_mean,
    trace_energy,
    trace_error,
    trace_mse,
    trace_ramp_energy,
)
from ctmar.models.augment import augment
from ctmar.models.base import compose
from ctmar.models.finite import require_finite_loss, require_finite_weights
from ctmar.models.freezing import freeze as freeze_layers
from ctmar.models.freezing import keep_statistics
from ctmar.models.inputs import build_inputs, check_inputs, cut_bins, fill_sinogram, trace_window
from ctmar.models.refinement import ERROR_HU, RefinedImages, Refinement, check_refine, scored_region
from ctmar.models.schedule import cosine_factor, time_share
from ctmar.models.weights import generator_weights
from ctmar.networks.holes import hole_unet
from ctmar.networks.unet import unet
from ctmar.networks.wrap import AngularWrap
from ctmar.sample import MARSample

LOSS_DOMAINS = ("sinogram", "ramp")
LOSSES = ("squared", "root", "absolute", "charbonnier")
"""Over all trace bins of the batch the mean square (the essay's), absolute or Charbonnier's error; or
over its cases the mean of the root mean square (``root``)."""
TERMS = ("gradient_weight", "image_weight", "consistency_weight")
SCHEDULERS = ("cosine", "none")


class NetworkCompletion(RefinedImages):
    """``completed = where(trace, fill + residual_scale * network(inputs), measured)``, and how to fit it.

    The base of the U-Net and of the cGAN. The network ends in a layer of zeros, so that it starts
    exactly at its fill. Arguments are plain numbers, strings and lists; they are saved as such, so that a
    checkpoint loads with ``weights_only=True``.

    Args:
        inputs: Channels by name, from :data:`ctmar.models.inputs.INPUTS`.
        fill: From :data:`ctmar.models.inputs.FILLS`; ``zero`` is the essay's plain form.
        slices: 1, or 3 adjacent slices as channels, all of which are completed.
        sinogram_scale: Divisor of the sinograms among the inputs; dimensionless.
        path_scale_mm: Divisor of the path length, mm.
        residual_scale: Factor of the network's output, dimensionless: near the error of the fill, or
            for ``zero`` near the sinogram itself.
        network: ``unet``, or ``gated`` or ``partial`` for convolutions that know of the trace
            (:mod:`ctmar.networks.holes`); these take ``channels`` and ``downscale`` and batch norm.
        channels: Channels of the U-Net's levels.
        num_res_units: Convolutions of a residual unit.
        norm: ``none``, ``batch``, ``group`` or ``instance``.
        downscale: See :class:`ctmar.networks.unet.SinogramUNet`.
        wrap_views: Views by which the angular axis is continued (0: not at all), for beams that wrap.
        margin_bins: Bins beyond the trace that the networks see on each side; ``None`` for all.
        generator_checkpoint: What the generator starts from: the checkpoint of a U-Net or cGAN of the same
            architecture, a ``.safetensors`` file of ctmar's, or the name of weights that it ships.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        scheduler: ``cosine`` after a short warm-up over the planned steps or ``trainer.max_time``,
            whichever is further on; or ``none``.
        clip: Largest norm of the gradient; 0 for no limit.
        loss_scale: Divisor of the sinogram in the loss.
        loss_domain: ``sinogram`` for the plain error (:func:`ctmar.losses.trace_mse`), ``ramp`` for the
            error as FBP weights it (:func:`ctmar.losses.trace_ramp_mse`).
        loss: From :data:`LOSSES`.
        gradient_weight: Of :func:`ctmar.losses.gradient_error`, added to the loss.
        image_weight: Of the mean square of the FBP of the error, in units of 100 HU.
        consistency_weight: Of :func:`ctmar.losses.inconsistency`.
        accumulate: Batches whose gradients are summed before a step; 1 for a step a batch.
        refine: From :data:`ctmar.models.refinement.REFINE`: an image network behind the completion. Its
            image can change rays that missed the metal; :meth:`complete` stays what it is. Training cases
            are then mirrored but not turned.
        refine_channels: Channels of the image network's levels.
        refine_weight: With ``joint``, of the image's mean square error in units of 100 HU, added to the loss.
        refine_filter: Of the FBP that the image network is fitted to.
        freeze: Patterns of parameters that stay as they are (``generator.net.body.model.0.*``).
        compile: Let ``torch.compile`` fuse the generator; pays on GPUs.
        augment_mirror: Mirror training cases left to right at random.
        augment_rotate_views: Turn training cases at random by up to this many views.
        augment_seed: Seed of the augmentation; a batch's draw depends on it, the epoch, the batch's
            number and the process only, so that resuming equals an unbroken run.

    Attributes:
        steps_per_batch: Optimiser steps that a batch adds to ``global_step`` and takes from ``max_steps``.
    """

    steps_per_batch = 1

    def __init__(
        self,
        *,
        inputs: Sequence[str] = ("measured", "trace", "fill", "path", "difference", "hardening"),
        fill: str = "nmar",
        slices: int = 1,
        sinogram_scale: float = 4.0,
        path_scale_mm: float = 50.0,
        residual_scale: float = 1.0,
        network: str = "unet",
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_units: int = 1,
        norm: str = "batch",
        downscale: int | Sequence[int] = 2,
        wrap_views: int = 16,
        margin_bins: int | None = 24,
        generator_checkpoint: str | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.999),
        scheduler: str = "cosine",
        clip: float = 1.0,
        loss_scale: float = 1.0,
        loss_domain: str = "ramp",
        loss: str = "squared",
        gradient_weight: float = 0.0,
        image_weight: float = 0.0,
        consistency_weight: float = 0.0,
        accumulate: int = 1,
        refine: str = "none",
        refine_channels: Sequence[int] = (16, 32, 64),
        refine_weight: float = 0.1,
        refine_filter: str = "ram-lak",
        freeze: Sequence[str] = (),
        compile: bool = False,
        augment_mirror: bool = False,
        augment_rotate_views: int = 0,
        augment_seed: int = 0,
    ) -> None:
        super().__init__()
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.save_plain(arguments)
        check_inputs(inputs, fill)
        _check_choice("loss_domain", loss_domain, LOSS_DOMAINS)
        _check_choice("loss", loss, LOSSES)
        _check_choice("scheduler", scheduler, SCHEDULERS)
        _check_choice("slices", slices, (1, 3))
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise CtmarError(f"accumulate must be a positive whole number, got {accumulate!r}")
        for name in ("sinogram_scale", "path_scale_mm", "residual_scale", "loss_scale", "learning_rate"):
            if not arguments[name] > 0:
                raise CtmarError(f"{name} must be positive, got {arguments[name]!r}")
        for name in ("clip", "weight_decay", "augment_rotate_views", "margin_bins", *TERMS):
            if arguments[name] is not None and not arguments[name] >= 0:
                raise CtmarError(f"{name} must be 0 or more, got {arguments[name]!r}")
        check_refine(refine, refine_weight, generator_checkpoint)
        self.slices: int = slices
        self.generator = AngularWrap(self._network(), wrap_views)
        self.refinement: Refinement | None = None
        if refine != "none":
            self.refinement = Refinement(slices, refine_channels, norm, refine_filter)
        self.val_loss, self.val_error, self.val_fill = MeanMetric(), MeanMetric(), MeanMetric()
        self.val_image, self.val_refined = MeanMetric(), MeanMetric()

    def _network(self) -> nn.Module:
        h = self.hparams
        inputs, slices = len(h["inputs"]) * h["slices"], h["slices"]
        shared = {name: h[name] for name in ("channels", "downscale")}
        if h["network"] == "unet":
            return unet(inputs, slices, num_res_units=h["num_res_units"], norm=h["norm"], **shared)
        if "trace" not in h["inputs"]:
            raise CtmarError(f"network={h['network']} needs trace among the inputs, got {h['inputs']}")
        # The trace of the slice in the middle: the others' differ by little.
        hole = h["inputs"].index("trace") * slices + slices // 2
        return hole_unet(inputs, slices, kind=h["network"], hole_channel=hole, **shared)

    def setup(self, stage: str) -> None:
        """Before a fit: loads ``generator_checkpoint``, freezes, compiles, hands on ``accumulate``.

        A resumed run overwrites what was loaded with its own state.
        """
        if stage == "fit":
            if self.hparams["generator_checkpoint"]:
                self.start_from(self.hparams["generator_checkpoint"])
            if self.hparams["refine"] == "after":
                self.requires_grad_(False)
                self.refinement.requires_grad_(True)  # type: ignore[union-attr]
            if self.automatic_optimization and self.hparams["accumulate"] > 1:
                self.trainer.accumulate_grad_batches = self.hparams["accumulate"]
            freeze_layers(self, self.hparams["freeze"])
            if self.hparams["compile"]:
                self.generator.compile(dynamic=True)

    def start_from(self, path: str) -> None:
        """Gives the generator the weights of ``generator_checkpoint``; a CtmarError where they do not fit."""
        self.generator.load_state_dict(generator_weights(path, self.generator.state_dict()))

    def on_train_start(self) -> None:
        """Frozen layers keep the statistics of their norms too."""
        if self.hparams["refine"] == "after":
            self.generator.eval()
        if self.hparams["freeze"]:
            keep_statistics(self)

    def save_plain(self, arguments: dict[str, Any]) -> None:
        """Keeps constructor arguments as hyperparameters, sequences as lists; refuses anything else."""
        plain = {}
        for name, value in arguments.items():
            several = isinstance(value, Sequence) and not isinstance(value, str)
            items = list(value) if several else [value]
            if not all(item is None or isinstance(item, (bool, int, float, str)) for item in items):
                raise CtmarError(f"{name} must be a number, a string or a list of them, got {value!r}")
            plain[name] = items if several else value
        # Not to the logger: the run logs its whole resolved config, of which this is a part.
        self.save_hyperparameters(plain, logger=False)

    def check_beam(self, beam: ParallelBeam) -> None:
        """Raises a CtmarError where the model relies on ``p(θ+π, s) = p(θ, -s)`` and the beam breaks it."""
        relies = [
            name for name in ("wrap_views", "augment_mirror", "augment_rotate_views") if self.hparams[name]
        ]
        if relies and not beam.wraps:
            given = f"offset {beam.det_offset_mm} mm, {beam.num_angles} views"
            raise CtmarError(f"{relies[0]} needs uniform views over π and a centred detector, got {given}")
        if self.hparams["wrap_views"] > beam.num_angles:
            needed = f"wrap_views must be at most the {beam.num_angles} views"
            raise CtmarError(f"{needed}, got {self.hparams['wrap_views']}")

    def inputs_of(self, sample: MARSample) -> Tensor:
        """The network's input channels ``(batch, channel, angle, detector)``."""
        h = self.hparams
        return build_inputs(sample, h["inputs"], h["fill"], h["sinogram_scale"], h["path_scale_mm"])

    def predict_trace(self, sample: MARSample) -> Tensor:
        """``fill + residual_scale * network(inputs)``, ``(batch, slice, angle, detector)``, float32."""
        return self.predict_from(sample, self.inputs_of(sample))

    def predict_from(self, sample: MARSample, inputs: Tensor) -> Tensor:
        """The same as :meth:`predict_trace` from inputs at hand."""
        # float: under autocast the network returns bfloat16, too coarse to add to a line integral.
        residual = self.generator(inputs[..., self.window_of(sample)]).float()
        edge = (inputs.shape[-1] - residual.shape[-1]) // 2
        residual = torch.nn.functional.pad(residual, (edge, edge))
        return fill_sinogram(sample, self.hparams["fill"]) + self.hparams["residual_scale"] * residual

    def window_of(self, sample: MARSample) -> slice:
        """The bins that the networks see: what lies far from the trace has no say in it, and takes time."""
        margin = self.hparams["margin_bins"]
        return slice(None) if margin is None else trace_window(sample.metal_trace, margin)

    def trace_loss(self, completed: Tensor, sample: MARSample) -> Tensor:
        """``L_2``: the error on the trace in the configured domain, scale and mean; without further terms."""
        trace, ramp, kind = sample.metal_trace, self.hparams["loss_domain"] == "ramp", self.hparams["loss"]
        scale = self.hparams["loss_scale"]
        if kind in ("absolute", "charbonnier"):
            error = trace_error(completed, sample.clean, trace) / scale
            penalty = absolute if kind == "absolute" else charbonnier
            return penalty(ramp_filtered(error) if ramp else error, trace.sum())
        energy = (trace_ramp_energy if ramp else trace_energy)(completed, sample.clean, trace, scale)
        if kind == "root":
            return root_mean(energy, trace)
        return energy.sum() / trace.sum().clamp(min=1)

    def further_terms(self, completed: Tensor, sample: MARSample) -> Tensor:
        """The weighted sum of what is added to ``L_2`` in training; 0 where nothing is."""
        h, trace = self.hparams, sample.metal_trace
        error = trace_error(completed, sample.clean, trace) / h["loss_scale"]
        total = torch.zeros((), device=error.device)
        if h["gradient_weight"]:
            total = total + h["gradient_weight"] * gradient_error(error, trace.sum())
        if h["consistency_weight"]:
            total = total + h["consistency_weight"] * inconsistency(error)
        if h["image_weight"]:
            total = total + h["image_weight"] * self._image_error(error, sample.mu_water)
        if h["refine"] == "joint":
            total = total + h["refine_weight"] * self.refined_error(completed, sample)
        return total

    def _image_error(self, error: Tensor, mu_water: Tensor) -> Tensor:
        ray = self.trainer.datamodule.simulator.ray  # type: ignore[attr-defined]
        edge = (ray.beam.det_count - error.shape[-1]) // 2
        image = ray.fbp(torch.nn.functional.pad(error.float(), (edge, edge)))
        return (10 * image / mu_water[:, None, None, None]).square().mean()

    def training_sample(self, sample: MARSample, batch_idx: int) -> MARSample:
        """Slices, bins and fills to train on, augmented; without refinement its image fields are stale."""
        sample, h = self.select(sample), self.hparams
        wanted = {h["fill"], *(name.removeprefix("fill_") for name in h["inputs"])}
        sample = sample._replace(fills={name: fill for name, fill in sample.fills.items() if name in wanted})
        if self.refinement is None:
            # The networks see no other bins, and the loss is 0 there: inputs and loss take half the time.
            sample = cut_bins(sample, self.window_of(sample))
        if not (h["augment_mirror"] or h["augment_rotate_views"]):
            return sample
        key = [h["augment_seed"], self.current_epoch, batch_idx, self.global_rank]
        generator = np.random.default_rng(key)
        options = h["augment_mirror"], h["augment_rotate_views"]
        return augment(sample, generator, *options, images=self.refinement is not None)

    def refinement_step(self, sample: MARSample, batch_idx: int) -> Tensor:
        """The loss of a batch with ``refine=after``; logs ``train/loss``."""
        with torch.no_grad():
            completed = self.complete(sample)
        loss = self.refined_error(completed, sample)
        self.require_finite(loss, sample, batch_idx)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(sample.measured))
        return loss

    def on_validation_epoch_start(self) -> None:
        """A checkpoint follows each validation: weights that are no numbers end the run before it."""
        require_finite_weights(self, f"the weights after epoch {self.current_epoch + 1}")

    def require_finite(self, loss: Tensor, sample: MARSample, batch_idx: int) -> None:
        """Raises a CtmarError where a training loss is NaN or infinite: no step is made from it."""
        require_finite_loss(
            loss, sample, f"the loss of epoch {self.current_epoch + 1}, batch {batch_idx + 1}"
        )

    def validation_step(self, sample: MARSample, batch_idx: int) -> None:
        """Gathers the loss, and the mean squared errors of model and fill, over all trace bins."""
        sample = self.select(sample)
        bins = sample.metal_trace.sum().clamp(min=1)
        fill = compose(sample, fill_sinogram(sample, self.hparams["fill"]))
        completed = self.complete(sample)
        loss = self.trace_loss(completed, sample)
        # The mean would leave a NaN out, and call the rest the loss.
        require_finite_loss(loss, sample, f"the validation loss of epoch {self.current_epoch + 1}")
        self.val_loss.update(loss, weight=bins)
        for metric, sinogram in ((self.val_error, completed), (self.val_fill, fill)):
            metric.update(trace_mse(sinogram, sample.clean, sample.metal_trace), weight=bins)
        if self.refinement is not None:
            pixels = scored_region(sample).sum().clamp(min=1)
            errors = self.refinement.errors(sample, self.images_of(sample, completed))
            for metric, error in zip((self.val_image, self.val_refined), errors, strict=True):
                metric.update(error, weight=pixels)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/loss`` as trained, ``val/rmse_trace`` and ``val/rmse_fill``.

        The loss is ``L_2``, with ``refine=joint`` and the image's weighted error, with ``after`` that alone.
        With refinement ``val/rmse_image_hu`` and ``val/rmse_refined_hu``, against the FBP of ``clean``, too.
        """
        loss = self.val_loss.compute()
        if self.refinement is not None:
            image, refined = self.val_image.compute(), self.val_refined.compute()
            joint = self.hparams["refine"] == "joint"
            loss = loss + self.hparams["refine_weight"] * refined if joint else refined
            self.log("val/rmse_image_hu", ERROR_HU * image.sqrt())
            self.log("val/rmse_refined_hu", ERROR_HU * refined.sqrt())
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/rmse_trace", self.val_error.compute().sqrt())
        self.log("val/rmse_fill", self.val_fill.compute().sqrt())
        for metric in (self.val_loss, self.val_error, self.val_fill, self.val_image, self.val_refined):
            metric.reset()

    def fitted_parameters(self) -> list[nn.Parameter]:
        """What the generator's optimiser steps: the generator, the refinement, or both."""
        parts = {"none": (self.generator,), "after": (self.refinement,)}
        both = (self.generator, self.refinement)
        return [p for part in parts.get(self.hparams["refine"], both) for p in part.parameters()]  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        """AdamW with the schedule, stepped every batch."""
        optimizer = self.make_optimizer(self.fitted_parameters(), self.hparams["learning_rate"])
        schedule = {"scheduler": self.make_schedule(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips to the trainer's value where one is set, else to the model's own ``clip``."""
        self.clip_gradients(optimizer, gradient_clip_val or self.hparams["clip"], gradient_clip_algorithm)

    def make_optimizer(self, parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
        """AdamW with the model's weight decay and betas."""
        return torch.optim.AdamW(
            parameters,
            lr=learning_rate,
            betas=tuple(self.hparams["betas"]),
            weight_decay=self.hparams["weight_decay"],
        )

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """The learning rate over the planned steps; to be stepped once a training batch."""
        if self.hparams["scheduler"] == "none":
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise CtmarError(f"scheduler=cosine needs trainer.max_epochs or max_steps, got {steps} steps")
        if steps == self.trainer.max_steps:
            steps //= self.steps_per_batch
        elif not self.automatic_optimization:
            steps = math.ceil(steps / self.hparams["accumulate"])
        timer = next((c for c in self.trainer.callbacks if isinstance(c, pl.callbacks.Timer)), None)  # type: ignore[attr-defined]
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: cosine_factor(step, int(steps), time_share(timer))
        )


class UNetCompletion(NetworkCompletion):
    """The U-Net alone, fitted to the error on the trace; arguments as in the base."""

    def training_step(self, sample: MARSample, batch_idx: int) -> Tensor:
        """The loss of a batch; logs ``train/loss``."""
        sample = self.training_sample(sample, batch_idx)
        if self.hparams["refine"] == "after":
            return self.refinement_step(sample, batch_idx)
        completed = self.complete(sample)
        loss = self.trace_loss(completed, sample) + self.further_terms(completed, sample)
        self.require_finite(loss, sample, batch_idx)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(sample.measured))
        return loss


def _check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise CtmarError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
