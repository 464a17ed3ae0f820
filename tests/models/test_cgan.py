"""The cGAN: each player moves its own weights, and the game can be won."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ctmar.errors import CtmarError
from ctmar.losses import trace_mse
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import UNetCompletion

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

GENERATOR = {"channels": [8, 16], "wrap_views": 8, "scheduler": "none"}
TINY = {**GENERATOR, "discriminator_channels": 8, "discriminator_layers": 1}


def fit(model: pl.LightningModule, samples: list, tmp_path, **options) -> pl.Trainer:
    run = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        **{"max_epochs": 1, **options},
    )
    run.fit(model, DataLoader(samples, batch_size=None), DataLoader(samples[:1], batch_size=None))
    return run


def snapshot(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def changed(module: torch.nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))


def test_each_step_moves_its_own_player_alone(make_sample, tmp_path, monkeypatch) -> None:
    model = CGANCompletion(**TINY)
    moves = []
    original = CGANCompletion._step

    def watched(self, optimizer, schedule, loss) -> None:
        before = snapshot(self.generator), snapshot(self.discriminator)
        original(self, optimizer, schedule, loss)
        moves.append((changed(self.generator, before[0]), changed(self.discriminator, before[1])))

    monkeypatch.setattr(CGANCompletion, "_step", watched)
    fit(model, [make_sample()], tmp_path)
    assert moves == [(False, True), (True, False)]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_generator_step_leaves_no_gradient_in_the_discriminator(make_sample, tmp_path, monkeypatch) -> None:
    model = CGANCompletion(clip=0.0, **TINY)
    gradients = []
    original = CGANCompletion._step

    def watched(self, optimizer, schedule, loss) -> None:
        original(self, optimizer, schedule, loss)
        gradients.append([p.grad.clone() for p in self.discriminator.parameters()])

    monkeypatch.setattr(CGANCompletion, "_step", watched)
    fit(model, [make_sample()], tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("warmup", "adversarial_share"), [(0, True), (5, False)])
def test_warm_up_leaves_the_generator_to_the_squared_error(
    make_sample, tmp_path, warmup: int, adversarial_share: bool
) -> None:
    model = CGANCompletion(discriminator_warmup_epochs=warmup, **TINY)
    before = snapshot(model.discriminator)
    run = fit(model, [make_sample()], tmp_path)
    logged = run.callback_metrics
    l2 = model.hparams["lambda_l2"] * logged["train/loss_l2"]
    share = logged["train/loss"] - l2
    assert (abs(float(share)) > 1e-3) == adversarial_share
    assert changed(model.discriminator, before)


@pytest.mark.parametrize("adversarial", ["minimax", "non_saturating", "least_squares", "hinge"])
def test_two_cases_can_be_overfitted(make_sample, tmp_path, adversarial: str) -> None:
    pl.seed_everything(0, verbose=False)
    sample = make_sample()
    # At a constant rate the game never comes to rest: in its second half the error still jumps to a sixth of
    # the start (least squares), and what the last step leaves is luck. A rate that falls ends it.
    options = {**TINY, "scheduler": "cosine", "adversarial": adversarial}
    model = CGANCompletion(learning_rate=1e-2, lambda_l2=1000.0, **options)

    def loss() -> float:
        with torch.no_grad():
            return float(trace_mse(model.eval().complete(sample), sample.clean, sample.metal_trace))

    before = loss()
    model.train()
    fit(model, [sample] * 60, tmp_path)
    assert loss() < before / 100


def test_discriminator_learns_to_tell_a_crude_fill(make_sample, tmp_path) -> None:
    pl.seed_everything(0, verbose=False)
    model = CGANCompletion(
        fill="zero", learning_rate=1e-9, discriminator_learning_rate=1e-3, clip=0.0, **TINY
    )
    losses = []
    original = model._discriminator_loss

    def watched(*arguments) -> torch.Tensor:
        loss = original(*arguments)
        losses.append(float(loss.detach()))
        return loss

    model._discriminator_loss = watched
    fit(model, [make_sample()] * 60, tmp_path)
    assert losses[-1] < 0.8 * losses[0]


def test_checkpoint_loads_with_weights_only_and_rebuilds(make_sample, tmp_path) -> None:
    sample = make_sample()
    model = CGANCompletion(lambda_l2=3.0, **TINY)
    fit(model, [sample] * 2, tmp_path).save_checkpoint(tmp_path / "cgan.ckpt")
    state = torch.load(tmp_path / "cgan.ckpt", weights_only=True)
    assert state["hyper_parameters"]["lambda_l2"] == 3.0
    assert state["hyper_parameters"]["fill"] == "nmar"
    model.eval()
    rebuilt = CGANCompletion(**state["hyper_parameters"]).eval()
    rebuilt.load_state_dict(state["state_dict"])
    assert torch.equal(rebuilt.complete(sample), model.complete(sample))


def test_generator_starts_from_a_fitted_unet(make_sample, tmp_path) -> None:
    sample = make_sample()
    unet = UNetCompletion(**GENERATOR)
    fit(unet, [sample] * 2, tmp_path).save_checkpoint(tmp_path / "unet.ckpt")
    model = CGANCompletion(generator_checkpoint=str(tmp_path / "unet.ckpt"), **TINY).eval()
    unet.eval()
    assert not torch.equal(model.complete(sample), unet.complete(sample))
    model.setup("fit")
    assert torch.equal(model.complete(sample), unet.complete(sample))


def test_unusable_generator_checkpoint_is_named(make_sample, tmp_path) -> None:
    model = CGANCompletion(generator_checkpoint=str(tmp_path / "absent.ckpt"), **TINY)
    with pytest.raises(CtmarError, match=r"must be a checkpoint file, got .*absent\.ckpt"):
        model.setup("fit")
    other = UNetCompletion(**{**GENERATOR, "channels": [8, 8]})
    torch.save({"state_dict": other.state_dict()}, tmp_path / "other.ckpt")
    model = CGANCompletion(generator_checkpoint=str(tmp_path / "other.ckpt"), **TINY)
    with pytest.raises(CtmarError, match="generator of the same inputs and channels"):
        model.setup("fit")


def test_cosine_ends_with_the_batches_though_max_steps_counts_both_players(make_sample, tmp_path) -> None:
    model = CGANCompletion(**{**TINY, "scheduler": "cosine"})
    run = fit(model, [make_sample()] * 20, tmp_path, max_steps=20)
    assert run.global_step == 20
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * model.hparams["learning_rate"])


@pytest.mark.parametrize("option", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}])
def test_trainer_options_that_manual_optimisation_forbids_raise(make_sample, tmp_path, option: dict) -> None:
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="not supported for manual"):
        fit(CGANCompletion(**TINY), [make_sample()], tmp_path, **option)


@pytest.mark.parametrize("slices", [1, 3])
def test_slices_go_through_a_step(make_sample, tmp_path, slices: int) -> None:
    sample = make_sample(slices=3)
    model = CGANCompletion(slices=slices, **TINY)
    fit(model, [sample], tmp_path)
    assert model.complete(sample).shape == (2, slices, 48, 65)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversarial": "wgan"}, "adversarial must be one of minimax.*got 'wgan'"),
        ({"lambda_l2": -1.0}, "lambda_l2 must be 0 or more, got -1.0"),
        ({"discriminator_learning_rate": 0.0}, "discriminator_learning_rate must be positive, got 0.0"),
        ({"discriminator_layers": 0}, "discriminator_layers must be 1 or more, got 0"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        CGANCompletion(**options)
