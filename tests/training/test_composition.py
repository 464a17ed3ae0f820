"""Losses, networks and the game are chosen freely of each other."""

from typing import Any

import pytest
import torch
from torch import nn

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.losses.charbonnier import Charbonnier
from ctmar.losses.root import Root
from ctmar.losses.squared import Squared
from ctmar.training.gan import GAN, Adversary
from tests.training.building import gan, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


class Judge(nn.Module):
    """One strided convolution, which tells no features."""

    def __init__(self, condition: int, candidate: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(condition + candidate, 1, 4, stride=4)

    def forward(self, condition: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(torch.cat([condition, candidate], 1))
        return logits


class Own(nn.Module):
    """Two convolutions that keep the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(inputs, 8, 3, padding=1), nn.Conv2d(8, outputs, 1)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(seen).tanh())
        return out


def largest_half(completed: torch.Tensor, case: Case) -> torch.Tensor:
    """The mean of the larger half of the errors on the trace."""
    errors = (completed - case.truth.clean)[case.scan.metal_trace].abs()
    return errors.topk(max(1, len(errors) // 2)).values.mean()


def own_game(**parts: Any) -> GAN:
    """A game against a discriminator of one's own, by another loss."""
    return gan(Adversary(Judge, loss="least_squares"), **parts)


@pytest.mark.parametrize("kind", [unet_fit, gan, own_game])
@pytest.mark.parametrize("network", ["unet", "gated", "partial", Own])
@pytest.mark.parametrize("loss", [Squared(), Root("sinogram"), Charbonnier(scale=2.0), largest_half])
def test_any_loss_fits_any_network_with_and_without_a_game(
    make_case, tmp_path, loss, network: Any, kind: Any
) -> None:
    case = make_case()
    model = kind(loss=loss, network=network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logged = train(model, [case], tmp_path).callback_metrics
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert "method.generator.net.head.weight" in moved
    assert any(name.startswith("discriminator.") for name in moved) == (kind is not unet_fit)
    with torch.no_grad():
        completed = model.eval().method.complete(case.scan).sinogram
        expected = float(loss(completed, case))
    assert float(logged["val/loss"]) == pytest.approx(expected, rel=1e-4)
    off = ~case.scan.metal_trace
    assert torch.equal(completed[off], case.scan.measured[off]) and completed.isfinite().all()


def test_a_game_takes_a_network_a_loss_and_a_discriminator_of_ones_own(make_case, tmp_path) -> None:
    class Layered(nn.Module):
        def __init__(self, condition: int, candidate: int) -> None:
            super().__init__()
            self.net = nn.Conv2d(condition + candidate, 1, 3)

        def features(self, condition: torch.Tensor, candidate: torch.Tensor) -> list[torch.Tensor]:
            return [self.net(torch.cat([condition, candidate], dim=1))]

    def farthest(completed, case):
        return (completed - case.truth.clean).abs().amax()

    def own(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    model = gan(Adversary(Layered), network=own, loss=farthest)
    before = {name: value.clone() for name, value in model.named_parameters()}
    run = train(model, [make_case()], tmp_path)
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    run.save_checkpoint(tmp_path / "own.ckpt")
    assert set(torch.load(tmp_path / "own.ckpt", weights_only=True)["state_dict"]) >= set(before)


def test_features_need_a_discriminator_that_tells_them() -> None:
    with pytest.raises(CtmarError, match="a discriminator that tells its features, got a Judge"):
        gan(Adversary(Judge, feature_weight=1.0))
