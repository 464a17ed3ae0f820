"""The game of equation 7 (docs/theory.md), several ways, and the distance of a discriminator's features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ctmar.errors import CtmarError

ADVERSARIAL_LOSSES = ("minimax", "non_saturating", "least_squares", "hinge")
"""``minimax`` is equation 7 as written; ``non_saturating`` (the default) differs from it in the generator
alone: it minimises ``-log D`` in place of ``log(1 - D)``, which has the same optimum but a gradient
while the discriminator still wins (Goodfellow 2014, section 3). ``least_squares``: Mao 2017;
``hinge``: Miyato 2018."""


def check_adversarial(kind: str) -> None:
    """Raises a CtmarError where ``kind`` is none of :data:`ADVERSARIAL_LOSSES`."""
    if kind not in ADVERSARIAL_LOSSES:
        raise CtmarError(f"adversarial must be one of {', '.join(ADVERSARIAL_LOSSES)}, got {kind!r}")


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """What the discriminator minimises, the mean over patches and batch.

    For ``minimax`` and ``non_saturating`` this is ``-(E[log D(x,y)] + E[log(1 - D(x,G))])``, the
    negative of equation 7, with ``D = sigmoid(logit)`` written through softplus, which never
    takes the logarithm of 0. It is ``2 log 2`` where the discriminator cannot tell.

    Args:
        real_logits: Logits of the true pairs, any shape.
        fake_logits: Logits of the generated pairs.
        kind: One of :data:`ADVERSARIAL_LOSSES`.
    """
    check_adversarial(kind)
    if kind == "least_squares":
        return 0.5 * ((real_logits - 1).square().mean() + fake_logits.square().mean())
    if kind == "hinge":
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """What the generator minimises in the game, the mean over patches and batch.

    ``minimax`` is ``E[log(1 - D(x,G))]`` of equation 7 (``-log 2`` at logit 0), ``non_saturating``
    ``-E[log D(x,G)]`` (``log 2`` at logit 0).
    """
    check_adversarial(kind)
    if kind == "minimax":
        return -F.softplus(fake_logits).mean()
    if kind == "least_squares":
        return 0.5 * (fake_logits - 1).square().mean()
    if kind == "hinge":
        return -fake_logits.mean()
    return F.softplus(-fake_logits).mean()


def feature_error(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, averaged over its layers (Wang 2018, eq. 4).

    Args:
        real: Features of the true pair; no gradient goes into them.
        fake: Features of the generated one, shapes alike.
    """
    return torch.stack([(a.detach() - b).abs().mean() for a, b in zip(real, fake, strict=True)]).mean()
