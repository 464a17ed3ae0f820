"""The cGAN: each player moves its own weights, and the game can be won."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ctmar.errors import CtmarError
from ctmar.losses import trace_mse
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import UNetCompletion
from ctmar.networks.unet import encoder_levels, pad_to, to_blocks
from ctmar.sample import SINOGRAM_FIELDS
from tests.quiet import quiet_trainer

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

GENERATOR = {"channels": [8, 16], "wrap_views": 8, "scheduler": "none"}
TINY = {**GENERATOR, "discriminator_channels": 8, "discriminator_layers": 1}


def fit(model: pl.LightningModule, samples: list, tmp_path, **options) -> pl.Trainer:
    run = quiet_trainer(tmp_path, **{"max_epochs": 1, **options})
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

    def watched(self, optimizer, *rest) -> None:
        before = snapshot(self.generator), snapshot(self.discriminator)
        original(self, optimizer, *rest)
        moves.append((changed(self.generator, before[0]), changed(self.discriminator, before[1])))

    monkeypatch.setattr(CGANCompletion, "_step", watched)
    fit(model, [make_sample()], tmp_path)
    assert moves == [(False, True), (True, False)]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_generator_step_leaves_no_gradient_in_the_discriminator(make_sample, tmp_path, monkeypatch) -> None:
    model = CGANCompletion(clip=0.0, **TINY)
    gradients = []
    original = CGANCompletion._step

    def watched(self, optimizer, *rest) -> None:
        original(self, optimizer, *rest)
        gradients.append([p.grad for p in self.discriminator.parameters()])

    monkeypatch.setattr(CGANCompletion, "_step", watched)
    fit(model, [make_sample()], tmp_path)
    assert len(gradients) == 2
    assert all(gradient is None for step in gradients for gradient in step)


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


@pytest.mark.parametrize("kind", [UNetCompletion, CGANCompletion])
def test_generator_starts_from_a_fitted_unet(make_sample, tmp_path, kind) -> None:
    sample = make_sample()
    unet = UNetCompletion(**GENERATOR)
    fit(unet, [sample] * 2, tmp_path).save_checkpoint(tmp_path / "unet.ckpt")
    options = TINY if kind is CGANCompletion else GENERATOR
    model = kind(generator_checkpoint=str(tmp_path / "unet.ckpt"), **options).eval()
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


ENCODER = {**GENERATOR, "discriminator": "encoder", "discriminator_layers": 1}


def test_trunk_starts_from_the_generators_encoder_and_sees_the_candidate_later(make_sample, tmp_path) -> None:
    sample = make_sample()
    fit(UNetCompletion(**GENERATOR), [sample] * 2, tmp_path).save_checkpoint(tmp_path / "unet.ckpt")
    model = CGANCompletion(generator_checkpoint=str(tmp_path / "unet.ckpt"), **ENCODER)
    model.setup("fit")
    generator, judge = model.generator.net, model.discriminator
    inputs = model.inputs_of(sample)
    blocks = to_blocks(pad_to(inputs, generator.multiples), generator.block)
    candidate = torch.randn(2, 2, *inputs.shape[-2:])
    pair = to_blocks(pad_to(torch.cat([inputs, candidate], 1), judge.multiples), judge.block)
    model.eval()
    for own, other in zip(judge.levels, encoder_levels(generator), strict=True):
        blocks, pair = other(blocks), own(pair)
        torch.testing.assert_close(pair, blocks)
    before = judge(inputs, candidate)
    torch.testing.assert_close(judge(inputs, 0 * candidate), before)
    model.train()
    model.hparams["generator_checkpoint"] = None
    fit(model, [sample] * 4, tmp_path)
    model.eval()
    assert (judge(inputs, candidate) - judge(inputs, 0 * candidate)).abs().max() > 1e-4


def test_encoder_discriminator_wins_against_a_crude_fill(make_sample, tmp_path) -> None:
    pl.seed_everything(0, verbose=False)
    model = CGANCompletion(fill="zero", learning_rate=1e-9, discriminator_learning_rate=1e-2, **ENCODER)
    losses = []
    original = model._discriminator_loss

    def watched(*arguments) -> torch.Tensor:
        losses.append(original(*arguments))
        return losses[-1]

    model._discriminator_loss = watched
    fit(model, [make_sample()] * 40, tmp_path)
    assert float(losses[-1].detach()) < 0.8 * float(losses[0].detach())


def test_too_many_levels_are_refused() -> None:
    with pytest.raises(CtmarError, match="discriminator_layers must be from 0 to 1, got 5"):
        CGANCompletion(**{**ENCODER, "discriminator_layers": 5})
    with pytest.raises(CtmarError, match="discriminator must be one of patch, encoder, got 'unet'"):
        CGANCompletion(**{**ENCODER, "discriminator": "unet"})


def test_frozen_layers_of_both_players_stay_and_the_rest_moves(make_sample, tmp_path) -> None:
    patterns = ["generator.net.body.model.0.*", "discriminator.levels.0.*"]
    model = CGANCompletion(freeze=patterns, **ENCODER)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, [make_sample(seed=n) for n in range(3)], tmp_path)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    kept = {
        name for name in before if name.startswith(("generator.net.body.model.0.", "discriminator.levels.0."))
    }
    assert any("running_mean" in name for name in kept)
    assert not moved & kept
    assert {"generator.net.head.weight", "discriminator.logit.weight"} <= moved
    with pytest.raises(CtmarError, match=r"freeze must match parameters such as generator.*got 'trunk\.\*'"):
        CGANCompletion(freeze=["trunk.*"], **ENCODER).setup("fit")


@pytest.mark.parametrize("options", [TINY, ENCODER])
def test_feature_matching_enters_the_generators_loss(make_sample, tmp_path, options: dict) -> None:
    found = []
    for weight in (0.0, 10.0):
        pl.seed_everything(0, verbose=False)
        model = CGANCompletion(feature_weight=weight, **options)
        run = fit(model, [make_sample()], tmp_path)
        found.append(float(run.callback_metrics["train/loss_adversarial"]))
    assert found[1] > found[0] + 1e-4


PLAIN = {"norm": "none", "margin_bins": None, "loss": "root", "clip": 0.0, "betas": [0.0, 0.999]}


@pytest.mark.parametrize(
    "model",
    [
        lambda n: UNetCompletion(accumulate=n, **{**GENERATOR, **PLAIN}),
        lambda n: CGANCompletion(accumulate=n, discriminator_norm="none", **{**TINY, **PLAIN}),
    ],
)
def test_two_half_batches_make_the_step_of_a_whole_one(make_sample, tmp_path, model) -> None:
    whole = make_sample(batch=4)
    fields = {name: getattr(whole, name) for name in SINOGRAM_FIELDS}
    halves = []
    for part in (slice(0, 2), slice(2, 4)):
        own = {name: value[part] for name, value in fields.items()}
        fills = {name: fill[part] for name, fill in whole.fills.items()}
        halves.append(whole._replace(**own, fills=fills, case_id=whole.case_id[part]))
    made = []
    for count, batches in ((1, [whole]), (2, halves)):
        pl.seed_everything(0, verbose=False)
        made.append(model(count))
        fit(made[-1], batches, tmp_path)
    start = model(1).state_dict()
    for name, value in made[0].state_dict().items():
        torch.testing.assert_close(made[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(
        made[0].state_dict()["generator.net.head.bias"], start["generator.net.head.bias"]
    )
