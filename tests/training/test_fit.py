"""Fitting the U-Net: training, validation, checkpoint, resuming, errors."""

from dataclasses import replace
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY, ConfigInCheckpoint
from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.learned.rebuilding import rebuilt
from ctmar.losses import trace_mse, trace_ramp_mse
from ctmar.losses.consistency import Consistency, inconsistency
from ctmar.losses.gradient import Gradient, gradient_error
from ctmar.losses.image import Image
from ctmar.losses.squared import Squared
from ctmar.operators import RayTransform
from ctmar.training.augment import Augment
from ctmar.training.optimizer import Optimizer
from tests.learned.building import method_node
from tests.quiet import quiet_trainer
from tests.training.building import STEADY, loader, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


@pytest.mark.parametrize("domain", ["sinogram", "ramp"])
def test_two_cases_can_be_overfitted(make_case, tmp_path, domain: str) -> None:
    pl.seed_everything(0, verbose=False)
    case = make_case()
    model = unet_fit(optimizer=Optimizer(learning_rate=1e-2), loss=Squared(domain))

    def loss() -> float:
        with torch.no_grad():
            completed = model.eval().method.complete(case.scan).sinogram
            return float(trace_mse(completed, case.truth.clean, case.scan.metal_trace))

    before = loss()
    model.train()
    train(model, [case] * 80, tmp_path)
    assert loss() < before / 10


@pytest.mark.parametrize("network", ["gated", "partial"])
def test_networks_that_know_of_the_trace_fit_two_cases(make_case, tmp_path, network: str) -> None:
    pl.seed_everything(0, verbose=False)
    case = make_case()
    model = unet_fit(network=network, optimizer=Optimizer(learning_rate=1e-2))

    def loss() -> float:
        with torch.no_grad():
            return float(model.loss(model.method.complete(case.scan).sinogram, case))

    before = loss()
    train(model, [case] * 60, tmp_path)
    model.eval()
    assert loss() < before / 3


def test_a_network_of_ones_own_can_be_fitted(make_case, tmp_path) -> None:
    pl.seed_everything(0, verbose=False)
    case = make_case()
    own = partial(nn.Conv2d, kernel_size=3, padding=1)
    model = unet_fit(network=own, optimizer=Optimizer(learning_rate=1e-2))

    def loss() -> float:
        with torch.no_grad():
            return float(model.loss(model.method.complete(case.scan).sinogram, case))

    before = loss()
    train(model, [case] * 60, tmp_path)
    assert loss() < before / 3
    completed, off = model.method.complete(case.scan).sinogram, ~case.scan.metal_trace
    assert torch.equal(completed[off], case.scan.measured[off])


def test_a_loss_of_ones_own_is_what_is_trained_and_validated(make_case, tmp_path) -> None:
    case = make_case()

    def towards_zero(completed: torch.Tensor, of: Case) -> torch.Tensor:
        return completed[of.scan.metal_trace].square().mean()

    model = unet_fit(loss=towards_zero, optimizer=Optimizer(learning_rate=1e-2))
    model.eval()

    def loss() -> float:
        with torch.no_grad():
            return float(towards_zero(model.method.complete(case.scan).sinogram, case))

    before = loss()
    model.train()
    run = train(model, [case] * 40, tmp_path)
    model.eval()
    after = loss()
    assert after < before / 2
    assert float(run.callback_metrics["val/loss"]) == pytest.approx(after, rel=1e-4)


def test_validation_logs_the_pooled_error_of_model_and_fill(make_case, tmp_path) -> None:
    small, large = make_case(batch=1, seed=1), make_case(batch=3, seed=2)
    model = unet_fit(loss=Squared("sinogram"))
    (logged,) = quiet_trainer(tmp_path).validate(model, loader(small, large), verbose=False)
    errors = torch.cat([(c.scan.fills["nmar"] - c.truth.clean)[c.scan.metal_trace] for c in (small, large)])
    rmse = float(errors.square().mean().sqrt())
    assert logged["val/rmse_fill"] == pytest.approx(rmse, rel=1e-4)
    assert logged["val/rmse_trace"] == pytest.approx(rmse, rel=1e-4)
    assert logged["val/loss"] == pytest.approx(rmse**2, rel=1e-4)


def test_validation_loss_is_the_trained_one(make_case, tmp_path) -> None:
    case = make_case()
    model = unet_fit(loss=Squared("ramp", scale=2.0))
    (logged,) = quiet_trainer(tmp_path).validate(model, loader(case), verbose=False)
    expected = trace_ramp_mse(case.scan.fills["nmar"], case.truth.clean, case.scan.metal_trace, 2.0)
    assert logged["val/loss"] == pytest.approx(float(expected), rel=1e-4)


def test_checkpoint_loads_with_weights_only_and_completes_the_same(make_case, tmp_path) -> None:
    case = make_case()
    node = method_node(inputs=("measured", "trace"))
    model = unet_fit(inputs=("measured", "trace"))
    told = ConfigInCheckpoint({"method": node})
    run = train(model, [case, case], tmp_path, callbacks=[told])
    run.save_checkpoint(tmp_path / "model.ckpt")
    state = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert list(state[CONFIG_KEY]["method"]["inputs"]) == ["measured", "trace"]
    model.eval()
    again = unet_fit(inputs=("measured", "trace")).eval()
    again.method = rebuilt(state[CONFIG_KEY]["method"]).eval()
    completed = model.method.complete(case.scan).sinogram
    assert not torch.equal(again.method.complete(case.scan).sinogram, completed)
    again.load_state_dict(state["state_dict"])
    assert torch.equal(again.method.complete(case.scan).sinogram, completed)


def test_resumed_run_equals_an_unbroken_one(make_case, tmp_path) -> None:
    cases = [make_case(seed=seed) for seed in range(3)]

    def fit(epochs: int, checkpoint=None):
        pl.seed_everything(0, verbose=False)
        model = unet_fit(augment=Augment(mirror=True, rotate_views=10), optimizer=STEADY)
        run = quiet_trainer(tmp_path, max_epochs=epochs)
        run.fit(model, loader(*cases), loader(*cases), ckpt_path=checkpoint, weights_only=True)
        return model, run

    whole, _ = fit(2)
    _, first = fit(1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit(2, tmp_path / "half.ckpt")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_augmentation_differs_between_batches_and_epochs_but_not_between_runs(make_case) -> None:
    case = make_case()
    model = unet_fit(augment=Augment(rotate_views=20))
    first, second = (model.training_case(case, i).scan.measured for i in (0, 1))
    assert torch.equal(model.training_case(case, 0).scan.measured, first)
    assert not torch.equal(first, second)


def test_gradient_is_clipped_inside_the_model(make_case, tmp_path) -> None:
    case = make_case()
    model = unet_fit(optimizer=Optimizer(clip=1e-4, learning_rate=1.0, scheduler="none"))
    norms = []

    def note(optimizer, *_) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))

    model.on_before_optimizer_step = note  # before clipping
    original = model.configure_gradient_clipping

    def clipped(optimizer, **rest) -> None:
        original(optimizer, **rest)
        note(optimizer)

    model.configure_gradient_clipping = clipped
    quiet_trainer(tmp_path, max_steps=1).fit(model, loader(case), loader(case))
    before, after = norms
    assert before > 1e-3
    assert after == pytest.approx(1e-4, rel=1e-2)


@pytest.mark.parametrize(
    ("augment", "what"),
    [(Augment(mirror=True), "augment_mirror"), (Augment(rotate_views=3), "augment_rotate_views")],
)
def test_augmentation_needs_a_beam_that_wraps(augment: Augment, what: str) -> None:
    grid = ImageGrid((8, 8), 1.0)
    shifted = RayTransform(grid, ParallelBeam(48, 65, 1.0, det_offset_mm=0.25))
    with pytest.raises(CtmarError, match=f"{what} must have uniform views over π and a centred detector"):
        unet_fit(wrap_views=0, augment=augment).check(shifted)
    unet_fit(wrap_views=0).check(shifted)
    unet_fit(wrap_views=0, augment=augment).check(RayTransform(grid, ParallelBeam(48, 65, 1.0)))


class Clock(pl.callbacks.Timer):
    """A time limit of 20 s on a clock that goes on by 1 s a batch."""

    def __init__(self) -> None:
        super().__init__(duration={"seconds": 20})
        self.seconds = 0

    def time_elapsed(self, stage: str = "train") -> float:
        return self.seconds

    def on_train_batch_end(self, trainer, *args, **kwargs) -> None:
        self.seconds += 1
        super().on_train_batch_end(trainer, *args, **kwargs)


def test_learning_rate_comes_down_within_the_time_limit(make_case, tmp_path) -> None:
    model = unet_fit()
    run = train(model, [make_case()] * 3, tmp_path, max_epochs=1000, callbacks=[Clock()])
    assert run.global_step == 20
    assert run.optimizers[0].param_groups[0]["lr"] < 0.03 * model.steps.learning_rate


def test_cosine_without_an_end_is_refused(make_case, tmp_path) -> None:
    with pytest.raises(CtmarError, match=r"scheduler=cosine needs trainer\.max_epochs or max_steps"):
        train(unet_fit(), [make_case()], tmp_path, max_epochs=-1)


def test_further_terms_are_those_of_the_whole_error_though_training_sees_a_window(
    make_case, tmp_path
) -> None:
    ray = RayTransform(ImageGrid((32, 32), 1.2), ParallelBeam(48, 65, 1.0), "torch")
    case = make_case()
    case = replace(case, scan=replace(case.scan, ray=ray))
    terms = {"gradient": Gradient(0.3), "image": Image(0.7), "consistency": Consistency(5e4)}
    model = unet_fit(terms=terms, margin_bins=4)
    train(model, [case], tmp_path)
    scan, clean = case.scan, case.truth.clean
    error = torch.where(scan.metal_trace, scan.fills["nmar"] - clean, 0.0)
    image = 1000 * ray.fbp(error) / 0.02 / 100
    expected = 0.3 * gradient_error(error, scan.metal_trace.sum()) + 0.7 * image.square().mean()
    window = model.method.window_of(scan)
    assert window.start > 0
    cut = Case(scan.bins(window), replace(case.truth, clean=clean[..., window]))
    without = float(model.further_terms(cut.scan.fills["nmar"], cut))
    rest = 5e4 * inconsistency(error[..., window])
    assert without == pytest.approx(float(expected + rest), rel=1e-3)
    assert float(expected) > 0.01 and float(rest) > 0.01 * without


def test_a_term_of_weight_0_is_left_out_and_one_of_ones_own_is_added(make_case, tmp_path) -> None:
    case = make_case()

    class Own:
        weight = 3.0

        def __call__(self, completed: torch.Tensor, of: Case) -> torch.Tensor:
            return completed.new_tensor(2.0)

    model = unet_fit(terms={"own": Own(), "gradient": Gradient(0.0)})
    assert list(model.terms) == ["own"]
    completed = model.method.complete(case.scan).sinogram
    assert float(model.further_terms(completed, case)) == 6.0
    assert float(unet_fit().further_terms(completed, case)) == 0.0
