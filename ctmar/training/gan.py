"""The conditional GAN: the U-Net's completion judged by a patch discriminator as well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.learned.network import NetworkMethod
from ctmar.losses import Loss, Term, check_adversarial, discriminator_loss, feature_error, generator_loss
from ctmar.methods.base import compose, filled
from ctmar.networks.discriminator import EncoderDiscriminator
from ctmar.networks.unet import SinogramUNet
from ctmar.training.augment import Augment
from ctmar.training.fit import AS_THEY_ARE, NOT_REFINED, Fit
from ctmar.training.optimizer import Optimizer
from ctmar.training.refine import Refine

STEPS = Optimizer(betas=(0.5, 0.999))
"""The default: less momentum than the U-Net's."""


@dataclass(frozen=True)
class Adversary:
    """The other player, and the rules of the game.

    Attributes:
        discriminator: ``f(condition_channels, candidate_channels)`` makes it: any module that gives logits of
            ``(condition, candidate)``. One with a method ``features``
            (:class:`~ctmar.networks.discriminator.Discriminator`) tells what its layers make of them too.
        lambda_l2: λ, the weight of ``L_2``.
        loss: From :data:`ctmar.losses.ADVERSARIAL_LOSSES`.
        warmup_epochs: Epochs in which the discriminator already learns but the generator is fitted to
            ``λ · L_2`` alone.
        learning_rate: Of the discriminator's AdamW.
        feature_weight: Of :func:`ctmar.losses.feature_error`, added to ``L_adv``.
    """

    discriminator: Callable[..., nn.Module]
    lambda_l2: float = 100.0
    loss: str = "non_saturating"
    warmup_epochs: int = 0
    learning_rate: float = 2e-4
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        check_adversarial(self.loss)
        if not self.lambda_l2 >= 0:
            raise CtmarError(f"lambda_l2 must be 0 or more, got {self.lambda_l2!r}")
        if not self.feature_weight >= 0:
            raise CtmarError(f"feature_weight must be 0 or more, got {self.feature_weight!r}")
        if not self.learning_rate > 0:
            raise CtmarError(f"discriminator_learning_rate must be positive, got {self.learning_rate!r}")


class GAN(Fit):
    """``G* = arg min_G max_D L_adv + λ · L_2``, optimised in turns.

    The discriminator sees the generator's inputs, and as candidate the sinogram and its residual to the
    fill (the same twice: the residual is small against the sinogram and would be hard to read from it).
    ``L_adv`` is the mean over patches and batch, ``L_2`` the error on the trace.

    Optimisation is manual, which rules out the trainer's ``gradient_clip_val`` and
    ``accumulate_grad_batches``: use the optimiser's ``clip`` and ``accumulate``. ``global_step`` counts the
    steps of both optimisers; losses are logged by epoch.

    Args:
        adversary: The discriminator and the rules. One built as the generator's encoder takes its trunk from
            ``start`` too.
        method: As in :class:`~ctmar.training.fit.Fit`, and all that follow.
        loss: ``L_2``.
        terms: Added to ``L_2``.
        optimizer: Of both players; less momentum than the U-Net's, for a loss that moves (Radford 2016).
        augment: New cases by symmetries.
        refine: Whether an image network is fitted behind the completion; with ``after`` neither player moves.
        start: What the generator starts from.
        freeze: Patterns of parameters that stay as they are.
        compile: Let ``torch.compile`` fuse the generator.
    """

    def __init__(
        self,
        adversary: Adversary,
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
        super().__init__(method, loss, terms, optimizer, augment, refine, start, freeze, compile)
        self.adversary = adversary
        if refine.kind != "after":
            self.automatic_optimization, self.players = False, 2
        channels = len(method.inputs) * method.slices, 2 * method.slices
        self.discriminator: Any = adversary.discriminator(*channels)
        if adversary.feature_weight and not hasattr(self.discriminator, "features"):
            given = type(self.discriminator).__name__
            raise CtmarError(f"feature_weight needs a discriminator that tells its features, got a {given}")
        encoder = isinstance(self.discriminator, EncoderDiscriminator)
        if encoder and not isinstance(method.generator.net, SinogramUNet):
            given = type(method.generator.net).__name__
            raise CtmarError(f"discriminator=encoder needs network=unet, got {given}")

    @property
    def logged_names(self) -> tuple[str, ...]:
        """Those of the fit, and each player's loss."""
        players = () if self.automatic_optimization else ("_l2", "_adversarial", "_discriminator")
        return *super().logged_names, *(f"train/loss{name}" for name in players)

    def start_from(self, path: str) -> None:
        """The generator's weights, and the trunk of a discriminator that is built as its encoder."""
        super().start_from(path)
        if isinstance(self.discriminator, EncoderDiscriminator):
            assert isinstance(self.method.generator.net, SinogramUNet)
            self.discriminator.take_trunk(self.method.generator.net)

    def training_step(self, case: Case, batch_idx: int) -> Tensor | None:
        """One step of the discriminator, then one of the generator; or the image network's loss alone."""
        case = self.training_case(case, batch_idx)
        if self.refine.kind == "after":
            return self.refinement_step(case, batch_idx)
        fill = filled(case.scan, self.method.fill)
        inputs = self.method.inputs_of(case.scan, fill)
        completed = compose(case.scan, self.method.predict(case.scan, fill, inputs))
        optimizers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()

        loss_d = self._discriminator_loss(case, inputs, completed.detach())
        self.require_finite(loss_d, case, batch_idx)
        due = self._due(batch_idx)
        self._step(optimizers[1], schedules[1], loss_d, due)

        loss_l2 = self.loss(completed, case) + self.further_terms(completed, case)
        loss_adv = self._generator_loss(case, inputs, completed)
        loss_g = self._adversarial_weight() * loss_adv + self.adversary.lambda_l2 * loss_l2
        self.require_finite(loss_g, case, batch_idx)
        self._step(optimizers[0], schedules[0], loss_g, due)

        losses = {"": loss_g, "_l2": loss_l2, "_adversarial": loss_adv, "_discriminator": loss_d}
        named = {f"train/loss{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(case))
        return None

    def configure_optimizers(self) -> Any:
        """The generator's optimiser, then the discriminator's, each with its schedule."""
        if self.refine.kind == "after":
            return super().configure_optimizers()
        optimizers = [
            self.steps.of(self.fitted_parameters()),
            self.steps.of(self.discriminator.parameters(), self.adversary.learning_rate),
        ]
        return optimizers, [self.scheduled(optimizer) for optimizer in optimizers]

    def _adversarial_weight(self) -> float:
        return 0.0 if self.current_epoch < self.adversary.warmup_epochs else 1.0

    def _generator_loss(self, case: Case, inputs: Tensor, completed: Tensor) -> Tensor:
        # Without gradient, so that the generator's step leaves none in the discriminator.
        learning = [weight for weight in self.discriminator.parameters() if weight.requires_grad]
        _require_grad(learning, False)
        logits, features = self._judge(case, inputs, completed)
        loss = generator_loss(logits, self.adversary.loss)
        if self.adversary.feature_weight:
            with torch.no_grad():
                _, true = self._judge(case, inputs, case.truth.clean)
            loss = loss + self.adversary.feature_weight * feature_error(true, features)
        _require_grad(learning, True)
        return loss

    def _judge(self, case: Case, inputs: Tensor, sinogram: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits for a sinogram given the inputs, and the features behind them."""
        residual = sinogram - filled(case.scan, self.method.fill)
        scaled = [sinogram / self.method.units.sinogram, residual / self.method.residual_scale]
        window = self.method.window_of(case.scan)
        candidate = torch.cat(scaled, dim=1)[..., window]
        if hasattr(self.discriminator, "features"):
            *features, logits = self.discriminator.features(inputs[..., window], candidate)
        else:
            features, logits = [], self.discriminator(inputs[..., window], candidate)
        # float: the losses exponentiate the logits.
        return logits.float(), features

    def _discriminator_loss(self, case: Case, inputs: Tensor, completed: Tensor) -> Tensor:
        real, _ = self._judge(case, inputs, case.truth.clean)
        fake, _ = self._judge(case, inputs, completed)
        return discriminator_loss(real, fake, self.adversary.loss)

    def _due(self, batch_idx: int) -> bool:
        """Whether this batch completes a group whose gradients are summed."""
        return (batch_idx + 1) % self.steps.accumulate == 0 or self.trainer.is_last_batch

    def _step(self, optimizer: Any, schedule: Any, loss: Tensor, due: bool = True) -> None:
        """Adds the loss's gradient and, where a step is due, makes it."""
        self.manual_backward(loss / self.steps.accumulate)
        if not due:
            return
        if self.steps.clip:
            self.clip_gradients(optimizer, self.steps.clip, "norm")
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _require_grad(weights: list[torch.nn.Parameter], required: bool) -> None:
    for weight in weights:
        weight.requires_grad_(required)
