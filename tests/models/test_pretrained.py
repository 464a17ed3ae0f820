"""Weights without pickle: what goes in comes out, and nothing else is taken."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models import pretrained, weights
from ctmar.models.augment import move_back, move_sample
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import UNetCompletion
from ctmar.models.pretrained import PretrainedCompletion, load, save
from ctmar.models.symmetry import MOVES
from ctmar.models.uncertainty import ErrorModel
from ctmar.models.weights import available, read, rewrite_card
from ctmar.operators import RayTransform

BEAM = ParallelBeam(48, 65, 1.0)
TINY = {"channels": [8, 16], "wrap_views": 8}


def fitted(kind=UNetCompletion, **options):
    torch.manual_seed(1)
    model = kind(**TINY, **options)
    torch.nn.init.normal_(model.generator.net.head.weight, std=0.05)
    return model.eval()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.safetensors"
    save(path, fitted(inputs=["measured", "trace", "fill"]), BEAM, {"seed": 3})
    return path


@pytest.mark.parametrize("kind", [UNetCompletion, CGANCompletion])
def test_a_model_comes_back_without_its_discriminator(make_sample, tmp_path, kind) -> None:
    model, sample = fitted(kind), make_sample()
    model.hparams["generator_checkpoint"] = "a/path/of/mine.ckpt"
    save(tmp_path / "a.safetensors", model, BEAM, {"seed": 3})
    about, state = read(tmp_path / "a.safetensors")
    assert "a/path" not in json.dumps(about)
    assert all(name.startswith("generator.") for name in state)
    again = load(tmp_path / "a.safetensors", symmetries=1)
    assert torch.equal(again.complete(sample), model.complete(sample))
    assert again.card == {"seed": 3} and not again.trainable and not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


class ShareOfTheFill(torch.nn.Module):
    """Stands in for the network: half of its third channel, the fill."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * inputs[:, 2:3]


@pytest.mark.parametrize("beam", [ParallelBeam(96, 131, 0.5), ParallelBeam(30, 41, 1.6)])
def test_what_the_network_adds_comes_back_at_the_samples_own_sampling(make_sample, beam) -> None:
    sample = make_sample(views=beam.num_angles, bins=beam.det_count)
    network = fitted(inputs=["measured", "trace", "fill"])
    network.generator = ShareOfTheFill()
    completed = PretrainedCompletion(network, BEAM, beam).complete(sample)
    off, inner = ~sample.metal_trace, sample.metal_path_mm > 5
    assert torch.equal(completed[off], sample.measured[off])
    wanted = sample.fills["nmar"] * (1 + 0.5 / network.hparams["sinogram_scale"])
    assert (completed - wanted)[inner].abs().mean() < 0.02
    assert (sample.fills["nmar"] - wanted)[inner].abs().mean() > 0.2


def test_answers_are_those_of_the_moved_case_moved_back(make_sample) -> None:
    sample, network = make_sample(), fitted()
    model = PretrainedCompletion(network, BEAM, symmetries=4)
    answers = model.answers(sample)
    assert torch.equal(answers[0], network.predict_trace(sample))
    for answer, (mirror, views) in zip(answers, MOVES, strict=False):
        moved = network.predict_trace(move_sample(sample, mirror, views))
        torch.testing.assert_close(move_back(moved, mirror, views), answer)
    trace = sample.metal_trace
    torch.testing.assert_close(model.complete(sample)[trace], answers.mean(0)[trace])
    spread = model.spread(sample)
    torch.testing.assert_close(spread[trace], answers.std(0)[trace])
    assert spread[trace].mean() > 1e-4 and not spread[~trace].any()
    # A network that knows no place answers the same, however the case is moved.
    network.generator = ShareOfTheFill()
    assert model.spread(sample).max() < 1e-5
    with pytest.raises(CtmarError, match="a spread needs symmetries of 2 or more, got 1"):
        PretrainedCompletion(network, BEAM, symmetries=1).spread(sample)
    with pytest.raises(CtmarError, match="symmetries must be from 1 to 8, got 9"):
        PretrainedCompletion(network, BEAM, symmetries=9)


def test_half_widths_follow_the_card_and_nothing_else(make_sample, file) -> None:
    sample, model = make_sample(), load(file, BEAM, symmetries=4)
    with pytest.raises(CtmarError, match="tell no uncertainty: scripts/calibrate.py"):
        model.half_width(sample)
    # By the path alone, and twice that: 2 * (path + 1).
    told = ErrorModel((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), 2.0, 0.9).to_dict()
    calibrated = load(rewrite_card(file, {"uncertainty": told}), BEAM, symmetries=4)
    width, trace = calibrated.half_width(sample), sample.metal_trace
    torch.testing.assert_close(width[trace], 2 * (sample.metal_path_mm[trace] + 1), rtol=1e-4, atol=1e-4)
    assert not width[~trace].any()
    assert torch.equal(calibrated.complete(sample), model.complete(sample))  # the weights stayed
    with pytest.raises(CtmarError, match="symmetries of 2 or more, got 1"):
        load(file, BEAM, symmetries=1).half_width(sample)


def test_samples_of_a_beam_it_was_not_told_of_are_refused(make_sample, file) -> None:
    with pytest.raises(CtmarError, match="told of 48 views of 65 bins of 1 mm, got a sinogram of"):
        load(file).complete(make_sample(views=96, bins=131))
    with pytest.raises(CtmarError, match="got samples of 48 views of 65 bins of 2 mm"):
        load(file).check_beam(ParallelBeam(48, 65, 2.0))
    with pytest.raises(CtmarError, match="need uniform views over π and a centred detector"):
        load(file, ParallelBeam(48, 65, 1.0, det_offset_mm=0.25))


def test_it_takes_the_samples_geometry_and_refuses_one_that_does_not_wrap(make_sample, file) -> None:
    model, fine = load(file), ParallelBeam(96, 131, 0.5)
    grid = ImageGrid((32, 32), 1.0)
    model.use_geometry(RayTransform(grid, fine, "torch"))
    sample = make_sample(views=96, bins=131)
    assert torch.equal(model.complete(sample), load(file, fine).complete(sample))
    with pytest.raises(CtmarError, match="need uniform views over π"):
        model.use_geometry(RayTransform(grid, ParallelBeam(48, 65, 1.0, det_offset_mm=0.25), "torch"))
    assert model.beam == fine


def test_a_file_that_is_none_is_refused_and_nothing_is_unpickled(tmp_path, file) -> None:
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CtmarError, match="weights must be a safetensors file"):
        load(bad)
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CtmarError, match="weights must be exported by ctmar"):
        load(tmp_path / "foreign.safetensors")
    with pytest.raises(CtmarError, match="weights must be a .safetensors file or one of .*got .*absent"):
        load("absent")
    with pytest.raises(CtmarError, match=r"output must end in \.safetensors, got a\.ckpt"):
        save(tmp_path / "a.ckpt", fitted(), BEAM, {})


def test_weights_of_another_network_are_refused(tmp_path, file) -> None:
    about, state = read(file)
    state.popitem()
    save_file(state, tmp_path / "less.safetensors", metadata={"ctmar": json.dumps(about)})
    with pytest.raises(CtmarError, match="do not fit their network"):
        load(tmp_path / "less.safetensors")


def test_the_package_ships_weights_under_twenty_megabytes(make_sample) -> None:
    assert pretrained.DEFAULT in available()
    model = load()
    assert isinstance(model, PretrainedCompletion)
    assert (weights.FOLDER / "unet.safetensors").stat().st_size < 20e6
    assert {"seed", "commit", "limits", "trained_on"} <= model.card.keys()


class OwnInputs(UNetCompletion):
    """The same network, shown something else."""

    def inputs_of(self, sample):
        return 0.5 * super().inputs_of(sample)


class OwnNetwork(UNetCompletion):
    def _network(self):
        return torch.nn.Sequential(super()._network(), torch.nn.Identity())


class OwnGenerator(CGANCompletion):
    def predict_trace(self, sample):
        return 1.01 * super().predict_trace(sample)


class Renamed(UNetCompletion):
    """Nothing of its own but the name, and that of the class it is derived from."""


Renamed.__name__ = Renamed.__qualname__ = "UNetCompletion"


@pytest.mark.parametrize("kind", [OwnInputs, OwnNetwork, OwnGenerator, Renamed])
def test_a_class_that_a_file_would_not_rebuild_is_refused(tmp_path, kind) -> None:
    torch.manual_seed(1)
    with pytest.raises(CtmarError, match=rf"got {__name__}\.{kind.__name__}.*with CTMAR_TRUST="):
        save(tmp_path / "out" / "a.safetensors", kind(**TINY), BEAM, {})
    assert not list(tmp_path.iterdir())


def replace_inputs(model):
    model.inputs_of = lambda sample: 0.5 * type(model).inputs_of(model, sample)


def replace_network(model):
    model.generator.net = torch.nn.Sequential(torch.nn.Tanh(), model.generator.net)


def replace_attribute(model):
    model.generator.views = 0


def hook(model):
    model.generator.register_forward_hook(lambda module, inputs, output: 2 * output)


class Doubled(torch.nn.Module):
    """A network with the same names of weights as the one that it stands for."""

    def __init__(self, net):
        super().__init__()
        self.__dict__.update(net.__dict__)
        self.net = [net]

    def forward(self, inputs):
        return 2 * self.net[0](inputs)


def replace_by_another_of_the_same_weights(model):
    model.generator.net = Doubled(model.generator.net)


CHANGES = [
    replace_inputs,
    replace_network,
    replace_attribute,
    hook,
    replace_by_another_of_the_same_weights,
]


@pytest.mark.parametrize("kind", [UNetCompletion, CGANCompletion])
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_its_options_do_not_rebuild_is_refused(tmp_path, change, kind) -> None:
    model, file = fitted(kind), tmp_path / "a.safetensors"
    file.write_bytes(b"what was there")
    change(model)
    refused = r"bit for bit, got another completion|the weights in .*a\.safetensors do not fit their network"
    with pytest.raises(CtmarError, match=refused):
        save(file, model, BEAM, {})
    assert file.read_bytes() == b"what was there" and list(tmp_path.iterdir()) == [file]


def test_a_method_replaced_in_the_class_itself_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(UNetCompletion, "inputs_of", OwnInputs.inputs_of, raising=False)
    with pytest.raises(CtmarError, match="own UNetCompletion, got one with inputs_of of somebody else's"):
        save(tmp_path / "a.safetensors", fitted(), BEAM, {})


def test_weights_that_a_file_cannot_hold_are_refused(tmp_path) -> None:
    with pytest.raises(CtmarError, match="exported weights must be float32, got torch.float64 in"):
        save(tmp_path / "a.safetensors", fitted().double(), BEAM, {})
    model = fitted()
    torch.nn.init.constant_(model.generator.net.head.weight, float("nan"))
    with pytest.raises(CtmarError, match="the weights to export must be finite, got NaN"):
        save(tmp_path / "a.safetensors", model, BEAM, {})
    with pytest.raises(CtmarError, match="need uniform views over π"):
        save(tmp_path / "a.safetensors", fitted(), ParallelBeam(48, 65, 1.0, det_offset_mm=0.25), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"slices": 3},
        {"fill": "zero", "residual_scale": 4.0, "inputs": ["measured_zeroed", "trace"]},
        {"fill": "li", "margin_bins": None, "inputs": ["fill_nmar", "hardening_weighted", "angle", "path"]},
        {"network": "gated"},
        {"network": "partial", "slices": 3},
        {"norm": "group", "downscale": [4, 2], "num_res_units": 2},
        {"loss": "charbonnier", "image_weight": 0.1, "learning_rate": 1.0},
    ],
)
def test_every_option_of_a_completion_comes_back(make_sample, tmp_path, options) -> None:
    model, sample = fitted_any(**options), make_sample(slices=options.get("slices", 1))
    model.train()
    save(tmp_path / "a.safetensors", model, BEAM, {})
    assert all(part.training for part in model.modules())
    again = load(tmp_path / "a.safetensors", symmetries=1)
    assert torch.equal(again.complete(sample), model.eval().complete(sample))


def fitted_any(**options):
    """A network of any kind whose weights all say something."""
    torch.manual_seed(1)
    model = UNetCompletion(**TINY | options)
    for weight in model.generator.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.05)
    return model
