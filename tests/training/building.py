"""Small trainings, built from their parts: what a test replaces, it names."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from ctmar.case import Case
from ctmar.losses.squared import Squared
from ctmar.networks.discriminator import ConditionalPatchDiscriminator, EncoderDiscriminator
from ctmar.training.fit import Fit
from ctmar.training.gan import GAN, Adversary
from ctmar.training.optimizer import Optimizer
from tests.learned.building import network_method
from tests.quiet import quiet_trainer

STEADY = Optimizer(scheduler="none")
"""At a constant rate."""
STEADY_GAME = Optimizer(scheduler="none", betas=(0.5, 0.999))
PATCH = partial(ConditionalPatchDiscriminator, channels=8, num_layers=1)
ENCODER = partial(EncoderDiscriminator, channels=(8, 16), num_layers=1)
"""Of the encoder of the small U-Net, both levels."""
FITTING = ("loss", "terms", "optimizer", "augment", "refine", "start", "freeze", "compile")


def unet_fit(**options: Any) -> Fit:
    """A training of a small method.

    Args:
        options: Arguments of :class:`~ctmar.training.fit.Fit` but ``method``; and the method's, as
            :func:`tests.learned.building.method_node` takes them.
    """
    return Fit(**_parts(options))


def gan(adversary: Adversary | None = None, **options: Any) -> GAN:
    """A game of a small method against a small patch discriminator; options as in :func:`unet_fit`."""
    return GAN(adversary or Adversary(PATCH), **_parts(options))


def _parts(options: dict[str, Any]) -> dict[str, Any]:
    fitting = {name: value for name, value in options.items() if name in FITTING}
    method = {name: value for name, value in options.items() if name not in FITTING}
    return {"loss": Squared(), **fitting, "method": network_method(**method)}


def loader(*cases: Case) -> DataLoader[Case]:
    """Batches that are given as they are."""
    return DataLoader(list(cases), batch_size=None)  # type: ignore[arg-type]


def train(
    model: Fit, cases: Sequence[Case], folder: Path, resume: Path | None = None, **options: Any
) -> pl.Trainer:
    """Trains for an epoch, validated on the first case; ``options`` are the trainer's."""
    run = quiet_trainer(folder, **{"max_epochs": 1, **options})
    run.fit(model, loader(*cases), loader(cases[0]), ckpt_path=resume, weights_only=True)
    return run
