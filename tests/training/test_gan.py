"""The cGAN: each player moves its own weights, and the game can be won."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY, ConfigInCheckpoint
from ctmar.case import collate
from ctmar.errors import CtmarError
from ctmar.learned.rebuilding import rebuilt
from ctmar.losses import trace_mse
from ctmar.losses.root import Root
from ctmar.networks.discriminator import ConditionalPatchDiscriminator
from ctmar.networks.unet import encoder_levels, pad_to, to_blocks
from ctmar.training.gan import GAN, Adversary
from ctmar.training.optimizer import Optimizer
from tests.learned.building import method_node, network_node
from tests.training.building import ENCODER, PATCH, STEADY, STEADY_GAME, gan, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


def snapshot(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def changed(module: torch.nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))


def test_each_step_moves_its_own_player_alone(make_case, tmp_path, monkeypatch) -> None:
    model = gan(optimizer=STEADY_GAME)
    moves = []
    original = GAN._step

    def watched(self, optimizer, *rest) -> None:
        before = snapshot(self.method.generator), snapshot(self.discriminator)
        original(self, optimizer, *rest)
        moves.append((changed(self.method.generator, before[0]), changed(self.discriminator, before[1])))

    monkeypatch.setattr(GAN, "_step", watched)
    train(model, [make_case()], tmp_path)
    assert moves == [(False, True), (True, False)]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_generator_step_leaves_no_gradient_in_the_discriminator(make_case, tmp_path, monkeypatch) -> None:
    model = gan(optimizer=Optimizer(scheduler="none", betas=(0.5, 0.999), clip=0.0))
    gradients = []
    original = GAN._step

    def watched(self, optimizer, *rest) -> None:
        original(self, optimizer, *rest)
        gradients.append([p.grad for p in self.discriminator.parameters()])

    monkeypatch.setattr(GAN, "_step", watched)
    train(model, [make_case()], tmp_path)
    assert len(gradients) == 2
    assert all(gradient is None for step in gradients for gradient in step)


@pytest.mark.parametrize(("warmup", "adversarial_share"), [(0, True), (5, False)])
def test_warm_up_leaves_the_generator_to_the_squared_error(
    make_case, tmp_path, warmup: int, adversarial_share: bool
) -> None:
    model = gan(Adversary(PATCH, warmup_epochs=warmup), optimizer=STEADY_GAME)
    before = snapshot(model.discriminator)
    run = train(model, [make_case()], tmp_path)
    logged = run.callback_metrics
    l2 = model.adversary.lambda_l2 * logged["train/loss_l2"]
    share = logged["train/loss"] - l2
    assert (abs(float(share)) > 1e-3) == adversarial_share
    assert changed(model.discriminator, before)


@pytest.mark.slow
@pytest.mark.parametrize("adversarial", ["minimax", "non_saturating", "least_squares", "hinge"])
def test_two_cases_can_be_overfitted(make_case, tmp_path, adversarial: str) -> None:
    pl.seed_everything(0, verbose=False)
    case = make_case()
    # At a constant rate the game never comes to rest: in its second half the error still jumps to a sixth of
    # the start (least squares), and what the last step leaves is luck. A rate that falls ends it.
    falling = Optimizer(learning_rate=1e-2, betas=(0.5, 0.999))
    model = gan(Adversary(PATCH, lambda_l2=1000.0, loss=adversarial), optimizer=falling)

    def loss() -> float:
        with torch.no_grad():
            completed = model.eval().method.complete(case.scan).sinogram
            return float(trace_mse(completed, case.truth.clean, case.scan.metal_trace))

    before = loss()
    model.train()
    train(model, [case] * 60, tmp_path)
    assert loss() < before / 100


def test_discriminator_learns_to_tell_a_crude_fill(make_case, tmp_path) -> None:
    pl.seed_everything(0, verbose=False)
    still = Optimizer(learning_rate=1e-9, clip=0.0, scheduler="none", betas=(0.5, 0.999))
    model = gan(Adversary(PATCH, learning_rate=1e-3), fill="zero", optimizer=still)
    losses = []
    original = model._discriminator_loss

    def watched(*arguments) -> torch.Tensor:
        loss = original(*arguments)
        losses.append(float(loss.detach()))
        return loss

    model._discriminator_loss = watched
    train(model, [make_case()] * 60, tmp_path)
    assert losses[-1] < 0.8 * losses[0]


def test_checkpoint_loads_with_weights_only_and_rebuilds(make_case, tmp_path) -> None:
    case = make_case()
    node = {"method": method_node(), "adversary": {"lambda_l2": 3.0}}
    model = gan(Adversary(PATCH, lambda_l2=3.0), optimizer=STEADY_GAME)
    run = train(model, [case] * 2, tmp_path, callbacks=[ConfigInCheckpoint(node)])
    run.save_checkpoint(tmp_path / "cgan.ckpt")
    state = torch.load(tmp_path / "cgan.ckpt", weights_only=True)
    told = state[CONFIG_KEY]
    assert told["adversary"]["lambda_l2"] == 3.0
    assert told["method"]["fill"]["_target_"] == "ctmar.methods.nmar.NMAR"
    model.eval()
    again = gan(Adversary(PATCH, **told["adversary"]))
    again.method = rebuilt(told["method"])
    again.eval().load_state_dict(state["state_dict"])
    completed = model.method.complete(case.scan).sinogram
    assert torch.equal(again.method.complete(case.scan).sinogram, completed)


@pytest.mark.parametrize("kind", [unet_fit, gan])
def test_generator_starts_from_a_fitted_unet(make_case, tmp_path, kind) -> None:
    case = make_case()
    unet = unet_fit(optimizer=STEADY)
    train(unet, [case] * 2, tmp_path).save_checkpoint(tmp_path / "unet.ckpt")
    model = kind(start=str(tmp_path / "unet.ckpt"), optimizer=STEADY).eval()
    completed = unet.eval().method.complete(case.scan).sinogram
    assert not torch.equal(model.method.complete(case.scan).sinogram, completed)
    model.setup("fit")
    assert torch.equal(model.method.complete(case.scan).sinogram, completed)


def test_unusable_generator_checkpoint_is_named(make_case, tmp_path) -> None:
    model = gan(start=str(tmp_path / "absent.ckpt"))
    with pytest.raises(CtmarError, match=r"must be a checkpoint file, got .*absent\.ckpt"):
        model.setup("fit")
    other = unet_fit(network=network_node(channels=[8, 8]))
    torch.save({"state_dict": other.state_dict()}, tmp_path / "other.ckpt")
    model = gan(start=str(tmp_path / "other.ckpt"))
    with pytest.raises(CtmarError, match="generator of the same inputs and channels"):
        model.setup("fit")


def test_cosine_ends_with_the_batches_though_max_steps_counts_both_players(make_case, tmp_path) -> None:
    model = gan()
    run = train(model, [make_case()] * 20, tmp_path, max_steps=20)
    assert run.global_step == 20
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * model.steps.learning_rate)


@pytest.mark.parametrize("option", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}])
def test_trainer_options_that_manual_optimisation_forbids_raise(make_case, tmp_path, option: dict) -> None:
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="not supported for manual"):
        train(gan(optimizer=STEADY_GAME), [make_case()], tmp_path, **option)


@pytest.mark.parametrize("slices", [1, 3])
def test_slices_go_through_a_step(make_case, tmp_path, slices: int) -> None:
    case = make_case(slices=3)
    model = gan(slices=slices, optimizer=STEADY_GAME)
    train(model, [case], tmp_path)
    assert model.method.complete(case.scan).sinogram.shape == (2, slices, 48, 65)


def test_a_patch_discriminator_needs_a_layer() -> None:
    with pytest.raises(CtmarError, match="discriminator_layers must be 1 or more, got 0"):
        gan(Adversary(partial(ConditionalPatchDiscriminator, num_layers=0)))


def test_trunk_starts_from_the_generators_encoder_and_sees_the_candidate_later(make_case, tmp_path) -> None:
    case = make_case()
    unet = unet_fit(optimizer=STEADY)
    train(unet, [case] * 2, tmp_path).save_checkpoint(tmp_path / "unet.ckpt")
    model = gan(Adversary(ENCODER), start=str(tmp_path / "unet.ckpt"), optimizer=STEADY_GAME)
    model.setup("fit")
    generator, judge = model.method.generator.net, model.discriminator
    inputs = model.method.inputs_of(case.scan, case.scan.fills["nmar"])
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
    model.start = None
    train(model, [case] * 4, tmp_path)
    model.eval()
    assert (judge(inputs, candidate) - judge(inputs, 0 * candidate)).abs().max() > 1e-4


def test_encoder_discriminator_wins_against_a_crude_fill(make_case, tmp_path) -> None:
    pl.seed_everything(0, verbose=False)
    still = Optimizer(learning_rate=1e-9, scheduler="none", betas=(0.5, 0.999))
    model = gan(Adversary(ENCODER, learning_rate=1e-2), fill="zero", optimizer=still)
    losses = []
    original = model._discriminator_loss

    def watched(*arguments) -> torch.Tensor:
        losses.append(original(*arguments))
        return losses[-1]

    model._discriminator_loss = watched
    train(model, [make_case()] * 40, tmp_path)
    assert float(losses[-1].detach()) < 0.8 * float(losses[0].detach())


def test_too_many_levels_are_refused() -> None:
    with pytest.raises(CtmarError, match="discriminator_layers must be from 0 to 1, got 5"):
        gan(Adversary(partial(ENCODER, num_layers=5)))


def test_an_encoder_of_another_network_is_refused() -> None:
    with pytest.raises(CtmarError, match="discriminator=encoder needs network=unet, got HoleUNet"):
        gan(Adversary(ENCODER), network="gated")


def test_frozen_layers_of_both_players_stay_and_the_rest_moves(make_case, tmp_path) -> None:
    patterns = ["method.generator.net.body.model.0.*", "discriminator.levels.0.*"]
    model = gan(Adversary(ENCODER), freeze=patterns, optimizer=STEADY_GAME)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, [make_case(seed=n) for n in range(3)], tmp_path)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("method.generator.net.body.model.0.", "discriminator.levels.0.")
    kept = {name for name in before if name.startswith(frozen)}
    assert any("running_mean" in name for name in kept)
    assert not moved & kept
    assert {"method.generator.net.head.weight", "discriminator.logit.weight"} <= moved
    with pytest.raises(
        CtmarError, match=r"freeze must match parameters such as method\.generator.*got 'trunk\.\*'"
    ):
        gan(Adversary(ENCODER), freeze=["trunk.*"]).setup("fit")


@pytest.mark.parametrize("judge", [PATCH, ENCODER])
def test_feature_matching_enters_the_generators_loss(make_case, tmp_path, judge) -> None:
    found = []
    for weight in (0.0, 10.0):
        pl.seed_everything(0, verbose=False)
        model = gan(Adversary(judge, feature_weight=weight), optimizer=STEADY_GAME)
        run = train(model, [make_case()], tmp_path)
        found.append(float(run.callback_metrics["train/loss_adversarial"]))
    assert found[1] > found[0] + 1e-4


def plain(accumulate: int) -> dict:
    """Nothing in it depends on how cases are grouped."""
    return {
        "optimizer": Optimizer(scheduler="none", clip=0.0, betas=(0.0, 0.999), accumulate=accumulate),
        "network": network_node(norm="none"),
        "margin_bins": None,
        "loss": Root(),
    }


@pytest.mark.parametrize(
    "model",
    [
        lambda n: unet_fit(**plain(n)),
        lambda n: gan(Adversary(partial(PATCH, norm="none")), **plain(n)),
    ],
)
def test_two_half_batches_make_the_step_of_a_whole_one(make_case, tmp_path, model) -> None:
    whole = make_case(batch=4)
    halves = [collate([whole.one(k), whole.one(k + 1)]) for k in (0, 2)]
    made = []
    for count, batches in ((1, [whole]), (2, halves)):
        pl.seed_everything(0, verbose=False)
        made.append(model(count))
        train(made[-1], batches, tmp_path)
    start = model(1).state_dict()
    for name, value in made[0].state_dict().items():
        torch.testing.assert_close(made[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)
    bias = "method.generator.net.head.bias"
    assert not torch.allclose(made[0].state_dict()[bias], start[bias])
