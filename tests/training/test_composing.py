"""Networks, losses and adversaries go together as they come: all pairs of three of each make their steps."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ctmar.case import Case
from ctmar.config.build import build_data, build_model
from ctmar.training.fit import Fit
from tests.tiny_runs import Compose

HERE = "tests.training.test_composing"
NETWORKS: dict[str, list[str]] = {"unet": ["model.network=unet"], "gated": ["model.network=gated"], "own": []}
LOSSES: dict[str, list[str]] = {
    "squared": [],
    "charbonnier": ["model.loss=charbonnier"],
    "own": [],
}
ADVERSARIES: dict[str, list[str]] = {
    "none": ["model=unet"],
    "patch": ["model=cgan", "model.adversary.loss=hinge"],
    "own": ["model=cgan", "model.adversary.loss=least_squares"],
}


class Own(nn.Module):
    """Two convolutions; the last starts at small numbers, so that all have a gradient."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, out_channels, 1)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.layers(inputs)
        return out


class LargestHalf:
    """The mean of the larger half of the errors on the trace."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        errors = (completed - case.truth.clean)[case.scan.metal_trace].abs()
        return errors.topk(max(1, len(errors) // 2)).values.mean()


class Judge(nn.Module):
    """One strided convolution."""

    def __init__(self, condition_channels: int, candidate_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(condition_channels + candidate_channels, 1, 4, stride=4)

    def forward(self, condition: Tensor, candidate: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.cat([condition, candidate], 1))
        return out


def composed(tiny: Compose, network: str, loss: str, adversary: str) -> DictConfig:
    """A training of three parts, those called ``own`` from this file."""
    cfg = tiny(*ADVERSARIES[adversary], *NETWORKS[network], *LOSSES[loss])
    OmegaConf.set_struct(cfg, False)
    if network == "own":
        cfg.model.method.network = {"_target_": f"{HERE}.Own", "_partial_": True}
    if loss == "own":
        cfg.model.loss = {"_target_": f"{HERE}.LargestHalf"}
    if adversary == "own":
        cfg.model.adversary.discriminator = {"_target_": f"{HERE}.Judge", "_partial_": True}
    return cfg


def parameters(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_network_loss_and_adversary_make_their_steps(
    tiny: Compose, tmp_path: Path, network: str, loss: str, adversary: str
) -> None:
    cfg = composed(tiny, network, loss, adversary)
    model, data = build_model(cfg), build_data(cfg, 1)
    assert type(model) in (Fit, *Fit.__subclasses__())
    before = parameters(model)
    trainer = pl.Trainer(
        max_steps=2 * model.players,  # type: ignore[union-attr]
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
    )
    trainer.fit(model, datamodule=data)  # type: ignore[arg-type]
    assert trainer.global_step == 2 * model.players  # type: ignore[union-attr]
    moved = [bool((a != b).any()) for a, b in zip(before, parameters(model), strict=True)]  # type: ignore[arg-type]
    assert sum(moved) >= 0.9 * len(moved)  # but for biases that a norm takes away
    assert float(trainer.callback_metrics["val/loss"]) > 0


def test_features_need_a_discriminator_that_tells_them(tiny: Compose) -> None:
    cfg = composed(tiny, "unet", "squared", "own")
    cfg.model.adversary.feature_weight = 1.0
    with pytest.raises(InstantiationException, match="a discriminator that tells its features, got a Judge"):
        build_model(cfg)
