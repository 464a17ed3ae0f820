"""The U-Net model: composition, start, training, checkpoint, errors."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.losses import (
    absolute,
    charbonnier,
    gradient_error,
    inconsistency,
    ramp_filtered,
    trace_mse,
    trace_ramp_mse,
)
from ctmar.models.completion import UNetCompletion
from ctmar.models.inputs import cut_bins
from ctmar.models.schedule import cosine_factor
from ctmar.operators import RayTransform
from ctmar.sample import MARSample
from tests.quiet import quiet_trainer

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

TINY = {"channels": [8, 16], "wrap_views": 8}


class Constant(nn.Module):
    """Stands in for the network and returns one value everywhere."""

    def __init__(self, value: float, slices: int = 1) -> None:
        super().__init__()
        self.value, self.slices = value, slices

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(inputs), self.slices, *inputs.shape[-2:]), self.value)


def loader(*samples: MARSample) -> DataLoader:
    return DataLoader(list(samples), batch_size=None)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf")])
def test_network_output_stays_on_the_trace(make_sample, value: float) -> None:
    sample = make_sample()
    model = UNetCompletion(**TINY)
    model.generator = Constant(value)
    completed = model.complete(sample)
    trace = sample.metal_trace
    assert torch.equal(completed[~trace], sample.measured[~trace])
    expected = (sample.fills["nmar"] + value)[trace]
    assert torch.equal(completed[trace].nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize("fill", ["zero", "li", "nmar"])
@pytest.mark.parametrize("slices", [1, 3])
def test_untrained_model_equals_its_fill(make_sample, fill: str, slices: int) -> None:
    sample = make_sample(slices=slices)
    completed = UNetCompletion(fill=fill, slices=slices, **TINY).complete(sample)
    expected = sample.fills.get(fill, torch.where(sample.metal_trace, 0.0, sample.measured))
    assert torch.equal(completed, expected)


def test_2d_model_completes_the_centre_of_three_slices(make_sample) -> None:
    sample = make_sample(slices=3)
    completed = UNetCompletion(**TINY).complete(sample)
    assert torch.equal(completed, sample.center().fills["nmar"])


def test_three_slice_model_needs_three(make_sample) -> None:
    with pytest.raises(CtmarError, match="slices=3 needs a sample of that many slices, got 1"):
        UNetCompletion(slices=3, **TINY).complete(make_sample())


@pytest.mark.parametrize(("views", "bins"), [(30, 367), (45, 729)])
def test_odd_sizes_pass(make_sample, views: int, bins: int) -> None:
    sample = make_sample(batch=1, views=views, bins=bins)
    model = UNetCompletion(channels=[8, 8, 16, 16], wrap_views=16)
    nn.init.normal_(model.generator.net.head.weight)
    completed = model.complete(sample)
    assert completed.shape == sample.measured.shape
    assert torch.equal(completed[~sample.metal_trace], sample.measured[~sample.metal_trace])


@pytest.mark.parametrize("loss_domain", ["sinogram", "ramp"])
def test_two_cases_can_be_overfitted(make_sample, tmp_path, loss_domain: str) -> None:
    pl.seed_everything(0, verbose=False)
    sample = make_sample()
    model = UNetCompletion(learning_rate=1e-2, loss_domain=loss_domain, **TINY)

    def loss() -> float:
        with torch.no_grad():
            return float(trace_mse(model.eval().complete(sample), sample.clean, sample.metal_trace))

    before = loss()
    model.train()
    quiet_trainer(tmp_path, max_epochs=1).fit(model, loader(*[sample] * 80), loader(sample))
    assert loss() < before / 10


def test_validation_logs_the_pooled_error_of_model_and_fill(make_sample, tmp_path) -> None:
    small, large = make_sample(batch=1, seed=1), make_sample(batch=3, seed=2)
    model = UNetCompletion(loss_domain="sinogram", **TINY)
    (logged,) = quiet_trainer(tmp_path).validate(model, loader(small, large), verbose=False)
    errors = torch.cat([(s.fills["nmar"] - s.clean)[s.metal_trace] for s in (small, large)])
    rmse = float(errors.square().mean().sqrt())
    assert logged["val/rmse_fill"] == pytest.approx(rmse, rel=1e-4)
    assert logged["val/rmse_trace"] == pytest.approx(rmse, rel=1e-4)
    assert logged["val/loss"] == pytest.approx(rmse**2, rel=1e-4)


def test_validation_loss_is_the_trained_one(make_sample, tmp_path) -> None:
    sample = make_sample()
    model = UNetCompletion(loss_domain="ramp", loss_scale=2.0, **TINY)
    (logged,) = quiet_trainer(tmp_path).validate(model, loader(sample), verbose=False)
    expected = trace_ramp_mse(sample.fills["nmar"], sample.clean, sample.metal_trace, 2.0)
    assert logged["val/loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("margin", "matters"), [(4, False), (None, True)])
def test_bins_beyond_the_margin_have_no_say(make_sample, margin: int | None, matters: bool) -> None:
    sample = make_sample()
    model = UNetCompletion(**{**TINY, "channels": [8, 16, 16], "margin_bins": margin}).eval()
    nn.init.normal_(model.generator.net.head.weight)
    # The outermost bins on both sides, which the margin must leave out for this test to say anything.
    assert not sample.metal_trace[..., [0, 1, 2, -3, -2, -1]].any()
    edges = torch.zeros_like(sample.measured)
    edges[..., [0, 1, -2, -1]] = 100.0
    shifted = sample._replace(
        measured=sample.measured + edges, fills={name: fill + edges for name, fill in sample.fills.items()}
    )
    trace = sample.metal_trace
    same = torch.allclose(model.complete(sample)[trace], model.complete(shifted)[trace], atol=1e-5)
    assert same != matters


def test_checkpoint_loads_with_weights_only_and_completes_the_same(make_sample, tmp_path) -> None:
    sample = make_sample()
    model = UNetCompletion(inputs=("measured", "trace"), **TINY)
    run = quiet_trainer(tmp_path, max_epochs=1)
    run.fit(model, loader(sample, sample), loader(sample))
    run.save_checkpoint(tmp_path / "model.ckpt")
    state = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert state["hyper_parameters"]["inputs"] == ["measured", "trace"]
    model.eval()
    rebuilt = UNetCompletion(**state["hyper_parameters"]).eval()
    assert not torch.equal(rebuilt.complete(sample), model.complete(sample))
    rebuilt.load_state_dict(state["state_dict"])
    assert torch.equal(rebuilt.complete(sample), model.complete(sample))


def test_resumed_run_equals_an_unbroken_one(make_sample, tmp_path) -> None:
    samples = [make_sample(seed=seed) for seed in range(3)]
    options = {**TINY, "augment_mirror": True, "augment_rotate_views": 10, "scheduler": "none"}

    def fit(epochs: int, checkpoint=None) -> tuple[UNetCompletion, pl.Trainer]:
        pl.seed_everything(0, verbose=False)
        model, run = UNetCompletion(**options), quiet_trainer(tmp_path, max_epochs=epochs)
        run.fit(model, loader(*samples), loader(*samples), ckpt_path=checkpoint, weights_only=True)
        return model, run

    whole, _ = fit(2)
    _, first = fit(1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit(2, tmp_path / "half.ckpt")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_augmentation_differs_between_batches_and_epochs_but_not_between_runs(make_sample) -> None:
    sample = make_sample()
    model = UNetCompletion(augment_rotate_views=20, **TINY)
    first, second = (model.training_sample(sample, i).measured for i in (0, 1))
    assert torch.equal(model.training_sample(sample, 0).measured, first)
    assert not torch.equal(first, second)


def test_gradient_is_clipped_inside_the_model(make_sample, tmp_path) -> None:
    sample = make_sample()
    model = UNetCompletion(clip=1e-4, learning_rate=1.0, scheduler="none", **TINY)
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
    quiet_trainer(tmp_path, max_steps=1).fit(model, loader(sample), loader(sample))
    before, after = norms
    assert before > 1e-3
    assert after == pytest.approx(1e-4, rel=1e-2)


def test_beam_that_does_not_wrap_is_refused_unless_nothing_relies_on_it() -> None:
    shifted = ParallelBeam(48, 65, 1.0, det_offset_mm=0.25)
    with pytest.raises(CtmarError, match="wrap_views needs uniform views over π and a centred detector"):
        UNetCompletion(**TINY).check_beam(shifted)
    with pytest.raises(CtmarError, match="wrap_views must be at most the 4 views, got 8"):
        UNetCompletion(**TINY).check_beam(ParallelBeam(4, 65, 1.0))
    UNetCompletion(channels=[8, 16], wrap_views=0).check_beam(shifted)
    UNetCompletion(**TINY).check_beam(ParallelBeam(48, 65, 1.0))


def test_cosine_warms_up_and_comes_down() -> None:
    factors = [cosine_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.03
    assert max(factors) > 0.98
    assert factors[-1] == pytest.approx(0.01, abs=1e-4)


def test_cosine_follows_the_clock_where_that_is_further_on() -> None:
    assert cosine_factor(100, 1000, 0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert cosine_factor(100, 1000, 1.3) == pytest.approx(0.01)
    assert cosine_factor(500, 1000, 0.2) == cosine_factor(500, 1000)


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


def test_learning_rate_comes_down_within_the_time_limit(make_sample, tmp_path) -> None:
    model = UNetCompletion(**TINY)
    run = quiet_trainer(tmp_path, max_epochs=1000, callbacks=[Clock()])
    run.fit(model, loader(*[make_sample()] * 3), loader(make_sample()))
    assert run.global_step == 20
    assert run.optimizers[0].param_groups[0]["lr"] < 0.03 * model.hparams["learning_rate"]


@pytest.mark.parametrize("loss_domain", ["sinogram", "ramp"])
def test_root_loss_is_the_mean_of_the_cases_roots(make_sample, loss_domain: str) -> None:
    sample = make_sample(batch=3)
    squared, root = (
        UNetCompletion(loss=loss, loss_domain=loss_domain, **TINY) for loss in ("squared", "root")
    )
    completed = sample.fills["nmar"]
    parts = []
    for k in range(3):
        one = sample._replace(
            clean=sample.clean[k : k + 1],
            metal_trace=sample.metal_trace[k : k + 1],
            mu_water=sample.mu_water[:1],
        )
        parts.append(float(squared.trace_loss(completed[k : k + 1], one)) ** 0.5)
    assert float(root.trace_loss(completed, sample)) == pytest.approx(sum(parts) / 3, abs=1.1e-3)


@pytest.mark.parametrize("network", ["gated", "partial"])
def test_networks_that_know_of_the_trace_fit_two_cases(make_sample, tmp_path, network: str) -> None:
    pl.seed_everything(0, verbose=False)
    sample = make_sample()
    model = UNetCompletion(network=network, learning_rate=1e-2, **TINY)
    with torch.no_grad():
        before = float(model.trace_loss(model.complete(sample), sample))
    quiet_trainer(tmp_path, max_epochs=1).fit(model, loader(*[sample] * 60), loader(sample))
    with torch.no_grad():
        assert float(model.eval().trace_loss(model.complete(sample), sample)) < before / 3
    with pytest.raises(CtmarError, match="needs trace among the inputs"):
        UNetCompletion(network=network, inputs=["measured"], **TINY)


@pytest.mark.parametrize("loss", ["absolute", "charbonnier"])
def test_absolute_losses_in_both_domains_are_those_of_the_error(make_sample, loss: str) -> None:
    sample = make_sample()
    completed, bins = sample.fills["nmar"], sample.metal_trace.sum()
    penalty = {"absolute": absolute, "charbonnier": charbonnier}[loss]
    for domain, change in (("sinogram", lambda e: e), ("ramp", ramp_filtered)):
        model = UNetCompletion(loss=loss, loss_domain=domain, loss_scale=2.0, **TINY)
        expected = penalty(change((completed - sample.clean) / 2), bins)
        assert float(model.trace_loss(completed, sample)) == pytest.approx(float(expected), rel=1e-5)


class Geometry(pl.LightningDataModule):
    """A data module of which only the geometry is asked."""

    def __init__(self, sample: MARSample) -> None:
        super().__init__()
        ray = RayTransform(ImageGrid((32, 32), 1.2), ParallelBeam(48, 65, 1.0), "torch")
        self.simulator, self.sample = SimpleNamespace(ray=ray), sample

    def train_dataloader(self) -> DataLoader:
        return loader(self.sample)

    val_dataloader = train_dataloader


def test_further_terms_are_those_of_the_whole_error_though_training_sees_a_window(
    make_sample, tmp_path
) -> None:
    sample = make_sample()
    weights = {"gradient_weight": 0.3, "image_weight": 0.7, "consistency_weight": 5e4}
    model = UNetCompletion(**TINY, **weights, margin_bins=4)
    data = Geometry(sample)
    quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=data)
    error = torch.where(sample.metal_trace, sample.fills["nmar"] - sample.clean, 0.0)
    image = 1000 * data.simulator.ray.fbp(error) / 0.02 / 100
    expected = 0.3 * gradient_error(error, sample.metal_trace.sum()) + 0.7 * image.square().mean()
    window = model.window_of(sample)
    assert window.start > 0
    cut = cut_bins(sample, window)
    without = float(model.further_terms(cut.fills["nmar"], cut))
    rest = 5e4 * inconsistency(error[..., window])
    assert without == pytest.approx(float(expected + rest), rel=1e-3)
    assert float(expected) > 0.01 and float(rest) > 0.01 * without


def test_cosine_without_an_end_is_refused(make_sample, tmp_path) -> None:
    with pytest.raises(CtmarError, match=r"scheduler=cosine needs trainer\.max_epochs or max_steps"):
        quiet_trainer(tmp_path, max_epochs=-1).fit(UNetCompletion(**TINY), *[loader(make_sample())] * 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": 2}, "slices must be one of 1, 3, got 2"),
        ({"loss_domain": "image"}, "loss_domain must be one of sinogram, ramp, got 'image'"),
        ({"loss": "huber"}, "loss must be one of squared, root, absolute, charbonnier, got 'huber'"),
        ({"image_weight": -1.0}, "image_weight must be 0 or more, got -1.0"),
        ({"accumulate": 0}, "accumulate must be a positive whole number, got 0"),
        ({"scheduler": "step"}, "scheduler must be one of cosine, none, got 'step'"),
        ({"sinogram_scale": 0.0}, "sinogram_scale must be positive, got 0.0"),
        ({"clip": -1.0}, "clip must be 0 or more, got -1.0"),
        ({"wrap_views": -1}, "wrap_views must be 0 or more, got -1"),
        ({"channels": [nn.Identity(), 8]}, "channels must be a number, a string or a list of them"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        UNetCompletion(**options)
