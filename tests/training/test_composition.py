"""Losses, networks and the game are chosen freely of each other."""

import pytest
import torch
from torch import nn

from ctmar.losses.charbonnier import Charbonnier
from ctmar.losses.root import Root
from ctmar.losses.squared import Squared
from ctmar.training.gan import Adversary
from tests.training.building import gan, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


@pytest.mark.parametrize("kind", [unet_fit, gan])
@pytest.mark.parametrize("network", ["unet", "gated", "partial"])
@pytest.mark.parametrize("loss", [Squared(), Root("sinogram"), Charbonnier(scale=2.0)])
def test_any_loss_fits_any_network_with_and_without_a_game(
    make_case, tmp_path, loss, network: str, kind
) -> None:
    case = make_case()
    model = kind(loss=loss, network=network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logged = train(model, [case], tmp_path).callback_metrics
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert "method.generator.net.head.weight" in moved
    assert any(name.startswith("discriminator.") for name in moved) == (kind is gan)
    with torch.no_grad():
        completed = model.eval().method.complete(case.scan).sinogram
        expected = float(loss(completed, case))
    assert float(logged["val/loss"]) == pytest.approx(expected, rel=1e-4)
    off = ~case.scan.metal_trace
    assert torch.equal(completed[off], case.scan.measured[off]) and completed.isfinite().all()


def test_a_game_takes_a_network_a_loss_and_a_discriminator_of_ones_own(make_case, tmp_path) -> None:
    class Judge(nn.Module):
        def __init__(self, condition: int, candidate: int) -> None:
            super().__init__()
            self.net = nn.Conv2d(condition + candidate, 1, 3)

        def features(self, condition: torch.Tensor, candidate: torch.Tensor) -> list[torch.Tensor]:
            return [self.net(torch.cat([condition, candidate], dim=1))]

    def farthest(completed, case):
        return (completed - case.truth.clean).abs().amax()

    def own(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    model = gan(Adversary(Judge), network=own, loss=farthest)
    before = {name: value.clone() for name, value in model.named_parameters()}
    run = train(model, [make_case()], tmp_path)
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    run.save_checkpoint(tmp_path / "own.ckpt")
    assert set(torch.load(tmp_path / "own.ckpt", weights_only=True)["state_dict"]) >= set(before)
