"""The conditional GAN: the U-Net's completion judged by a patch discriminator as well."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.losses import check_adversarial, discriminator_loss, feature_error, generator_loss
from ctmar.models.base import compose
from ctmar.models.completion import NetworkCompletion
from ctmar.models.inputs import fill_sinogram
from ctmar.networks.discriminator import ConditionalPatchDiscriminator, EncoderDiscriminator
from ctmar.sample import MARSample

DISCRIMINATORS = ("patch", "encoder")
"""``patch`` is one of its own; ``encoder`` is built as the generator's encoder, and can start from it."""


class CGANCompletion(NetworkCompletion):
    """``G* = arg min_G max_D L_adv + λ · L_2``, optimised in turns.

    The discriminator sees the generator's inputs, and as candidate the sinogram and its residual to the
    fill (the same twice: the residual is small against the sinogram and would be hard to read from it).
    ``L_adv`` is the mean over patches and batch, ``L_2`` the squared error on the trace.

    Optimisation is manual, which rules out the trainer's ``gradient_clip_val`` and
    ``accumulate_grad_batches``: use ``clip`` and ``accumulate``. ``global_step`` counts the steps of both
    optimisers; losses are logged by epoch.

    Args:
        lambda_l2: λ, the weight of ``L_2``.
        adversarial: From :data:`ctmar.losses.ADVERSARIAL_LOSSES`.
        discriminator_warmup_epochs: Epochs in which the discriminator already learns but the generator is
            fitted to ``λ · L_2`` alone.
        discriminator_learning_rate: Of the discriminator's AdamW.
        discriminator_channels: Filters of its first layer.
        discriminator_layers: Its layers after the first, which set the width of a patch.
        discriminator_norm: From :data:`ctmar.networks.discriminator.DISCRIMINATOR_NORMS`; of ``patch``.
        discriminator: From :data:`DISCRIMINATORS`.
        feature_weight: Of :func:`ctmar.losses.feature_error`, added to ``L_adv``.
        betas: Of both AdamW; less momentum than the U-Net's, for a loss that moves (Radford 2016).
        options: Arguments of :class:`ctmar.models.completion.NetworkCompletion`. The encoder discriminator
            takes its trunk from ``generator_checkpoint`` too.
    """

    steps_per_batch = 2

    def __init__(
        self,
        *,
        lambda_l2: float = 100.0,
        adversarial: str = "non_saturating",
        discriminator_warmup_epochs: int = 0,
        discriminator_learning_rate: float = 2e-4,
        discriminator_channels: int = 32,
        discriminator_layers: int = 2,
        discriminator_norm: str = "spectral",
        discriminator: str = "patch",
        feature_weight: float = 0.0,
        betas: Sequence[float] = (0.5, 0.999),
        **options: Any,
    ) -> None:
        own = {
            name: value for name, value in locals().items() if name not in ("self", "__class__", "options")
        }
        super().__init__(betas=betas, **options)
        self.save_plain(own)
        check_adversarial(adversarial)
        if discriminator not in DISCRIMINATORS:
            raise CtmarError(
                f"discriminator must be one of {', '.join(DISCRIMINATORS)}, got {discriminator!r}"
            )
        if not lambda_l2 >= 0:
            raise CtmarError(f"lambda_l2 must be 0 or more, got {lambda_l2!r}")
        if not feature_weight >= 0:
            raise CtmarError(f"feature_weight must be 0 or more, got {feature_weight!r}")
        if not discriminator_learning_rate > 0:
            required = "discriminator_learning_rate must be positive"
            raise CtmarError(f"{required}, got {discriminator_learning_rate!r}")
        if self.hparams["refine"] == "after":
            self.steps_per_batch = 1  # of the image network: neither player moves
        else:
            self.automatic_optimization = False
        slices = self.hparams["slices"]
        channels = {
            "condition_channels": len(self.hparams["inputs"]) * slices,
            "candidate_channels": 2 * slices,
        }
        self.discriminator: ConditionalPatchDiscriminator | EncoderDiscriminator
        if discriminator == "encoder" and self.hparams["network"] != "unet":
            raise CtmarError(f"discriminator=encoder needs network=unet, got {self.hparams['network']}")
        if discriminator == "encoder":
            shared = {name: self.hparams[name] for name in ("channels", "num_res_units", "norm", "downscale")}
            self.discriminator = EncoderDiscriminator(**channels, levels=discriminator_layers + 1, **shared)
        else:
            self.discriminator = ConditionalPatchDiscriminator(
                **channels,
                channels=discriminator_channels,
                num_layers=discriminator_layers,
                norm=discriminator_norm,
            )

    def start_from(self, path: str) -> None:
        """The generator's weights, and the trunk of a discriminator that is built as its encoder."""
        super().start_from(path)
        if isinstance(self.discriminator, EncoderDiscriminator):
            self.discriminator.take_trunk(self.generator.net)  # type: ignore[arg-type]

    def training_step(self, sample: MARSample, batch_idx: int) -> Tensor | None:
        """One step of the discriminator, then one of the generator; or the image network's loss alone."""
        sample = self.training_sample(sample, batch_idx)
        if self.hparams["refine"] == "after":
            return self.refinement_step(sample, batch_idx)
        inputs = self.inputs_of(sample)
        completed = compose(sample, self.predict_from(sample, inputs))
        optimizers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()

        loss_d = self._discriminator_loss(sample, inputs, completed.detach())
        self.require_finite(loss_d, sample, batch_idx)
        due = self._due(batch_idx)
        self._step(optimizers[1], schedules[1], loss_d, due)

        loss_l2 = self.trace_loss(completed, sample) + self.further_terms(completed, sample)
        # Without gradient, so that the generator's step leaves none in the discriminator.
        learning = [weight for weight in self.discriminator.parameters() if weight.requires_grad]
        _require_grad(learning, False)
        logits, features = self._judge(sample, inputs, completed)
        loss_adv = generator_loss(logits, self.hparams["adversarial"])
        if self.hparams["feature_weight"]:
            with torch.no_grad():
                _, true = self._judge(sample, inputs, sample.clean)
            loss_adv = loss_adv + self.hparams["feature_weight"] * feature_error(true, features)
        _require_grad(learning, True)
        loss_g = self._adversarial_weight() * loss_adv + self.hparams["lambda_l2"] * loss_l2
        self.require_finite(loss_g, sample, batch_idx)
        self._step(optimizers[0], schedules[0], loss_g, due)

        losses = {"": loss_g, "_l2": loss_l2, "_adversarial": loss_adv, "_discriminator": loss_d}
        self.log_dict(
            {f"train/loss{name}": loss.detach() for name, loss in losses.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(sample.measured),
        )
        return None

    def configure_optimizers(self) -> Any:
        """The generator's optimiser, then the discriminator's, each with its schedule."""
        if self.hparams["refine"] == "after":
            return super().configure_optimizers()
        optimizers = [
            self.make_optimizer(self.fitted_parameters(), self.hparams["learning_rate"]),
            self.make_optimizer(self.discriminator.parameters(), self.hparams["discriminator_learning_rate"]),
        ]
        return optimizers, [self.make_schedule(optimizer) for optimizer in optimizers]

    def _adversarial_weight(self) -> float:
        return 0.0 if self.current_epoch < self.hparams["discriminator_warmup_epochs"] else 1.0

    def _judge(self, sample: MARSample, inputs: Tensor, sinogram: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits for a sinogram given the inputs, and the features behind them."""
        residual = sinogram - fill_sinogram(sample, self.hparams["fill"])
        scaled = [sinogram / self.hparams["sinogram_scale"], residual / self.hparams["residual_scale"]]
        window = self.window_of(sample)
        *features, logits = self.discriminator.features(
            inputs[..., window], torch.cat(scaled, dim=1)[..., window]
        )
        # float: the losses exponentiate the logits.
        return logits.float(), features

    def _discriminator_loss(self, sample: MARSample, inputs: Tensor, completed: Tensor) -> Tensor:
        real, _ = self._judge(sample, inputs, sample.clean)
        fake, _ = self._judge(sample, inputs, completed)
        return discriminator_loss(real, fake, self.hparams["adversarial"])

    def _due(self, batch_idx: int) -> bool:
        """Whether this batch completes a group whose gradients are summed."""
        return (batch_idx + 1) % self.hparams["accumulate"] == 0 or self.trainer.is_last_batch

    def _step(self, optimizer: Any, schedule: Any, loss: Tensor, due: bool = True) -> None:
        """Adds the loss's gradient and, where a step is due, makes it."""
        self.manual_backward(loss / self.hparams["accumulate"])
        if not due:
            return
        if self.hparams["clip"]:
            self.clip_gradients(optimizer, self.hparams["clip"], "norm")
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _require_grad(weights: list[torch.nn.Parameter], required: bool) -> None:
    for weight in weights:
        weight.requires_grad_(required)
