"""Weights without pickle: what goes in comes out, and nothing else is taken."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ctmar.case import Case, Scan
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.inputs.deviation import Deviation
from ctmar.learned import pretrained, weights
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import Pretrained, load
from ctmar.learned.symmetry import MOVES, moved, moved_back
from ctmar.learned.uncertainty import ErrorModel
from ctmar.learned.weights import available, read, rewrite_card
from ctmar.methods import NMAR, Method, Physics
from ctmar.methods.polychromatic.tables import Beam
from ctmar.operators import RayTransform
from tests.learned.building import fitted_method, method_node, network_method, network_node

BEAM = ParallelBeam(48, 65, 1.0)
SHIFTED = ParallelBeam(48, 65, 1.0, det_offset_mm=0.25)
GRID = ImageGrid((8, 8), 1.0)


def save(path: Path, method: NetworkMethod, node: dict[str, Any] | None = None, beam=BEAM, card=()) -> None:
    """Writes weights; of the plain method where no other is described."""
    pretrained.save(path, method, node or method_node(), beam, dict(card))


def of_beam(case: Case, beam: ParallelBeam) -> Case:
    """The case said to be of another beam of as many views and bins."""
    return replace(case, scan=replace(case.scan, ray=RayTransform(GRID, beam)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.safetensors"
    options = {"inputs": ("measured", "trace", "fill")}
    save(path, fitted_method(**options), method_node(**options), card={"seed": 3})
    return path


def test_a_method_comes_back(make_case, tmp_path) -> None:
    method, scan = fitted_method(), make_case().scan
    save(tmp_path / "a.safetensors", method, card={"seed": 3})
    about, state = read(tmp_path / "a.safetensors")
    assert about == {
        "schema": 2,
        "method": method_node(),
        "beam": {"num_angles": 48, "det_count": 65, "det_spacing_mm": 1.0},
        "card": {"seed": 3},
    }
    assert all(name.startswith("generator.") for name in state)
    again = load(tmp_path / "a.safetensors", symmetries=1)
    assert torch.equal(again.complete(scan).sinogram, method.complete(scan).sinogram)
    assert again.card == {"seed": 3} and not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


class ShareOfTheFill(torch.nn.Module):
    """Stands in for the network: half of its third channel, the fill."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * inputs[:, 2:3]


@pytest.mark.parametrize("beam", [ParallelBeam(96, 131, 0.5), ParallelBeam(30, 41, 1.6)])
def test_what_the_network_adds_comes_back_at_the_scans_own_sampling(make_case, beam) -> None:
    scan = of_beam(make_case(views=beam.num_angles, bins=beam.det_count), beam).scan
    network = fitted_method(inputs=("measured", "trace", "fill"))
    network.generator = ShareOfTheFill()
    completed = Pretrained(network, BEAM).complete(scan).sinogram
    off, inner = ~scan.metal_trace, scan.metal_path_mm > 5
    assert torch.equal(completed[off], scan.measured[off])
    wanted = scan.fills["nmar"] * (1 + 0.5 / network.units.sinogram)
    assert (completed - wanted)[inner].abs().mean() < 0.02
    assert (scan.fills["nmar"] - wanted)[inner].abs().mean() > 0.2


def test_answers_are_those_of_the_moved_case_moved_back(make_case) -> None:
    scan, network = make_case().scan, fitted_method()
    model = Pretrained(network, BEAM, symmetries=4)
    answers = model.answers(scan)
    assert torch.equal(answers[0], network.trace(scan))
    for answer, (mirror, views) in zip(answers, MOVES, strict=False):
        found = network.trace(moved(scan, mirror, views))
        torch.testing.assert_close(moved_back(found, mirror, views), answer)
    trace = scan.metal_trace
    torch.testing.assert_close(model.complete(scan).sinogram[trace], answers.mean(0)[trace])
    spread = model.spread(scan)
    torch.testing.assert_close(spread[trace], answers.std(0)[trace])
    assert spread[trace].mean() > 1e-4 and not spread[~trace].any()
    # A network that knows no place answers the same, however the case is moved.
    network.generator = ShareOfTheFill()
    assert model.spread(scan).max() < 1e-5
    with pytest.raises(CtmarError, match="an uncertainty needs symmetries of 2 or more, got 1"):
        Pretrained(network, BEAM, symmetries=1).spread(scan)
    with pytest.raises(CtmarError, match="symmetries must be from 1 to 8, got 9"):
        Pretrained(network, BEAM, symmetries=9)


def test_half_widths_follow_the_card_and_nothing_else(make_case, file) -> None:
    scan, model = make_case().scan, load(file, symmetries=4)
    with pytest.raises(CtmarError, match="tell no uncertainty: scripts/calibrate.py"):
        model.half_width(scan)
    # By the path alone, and twice that: 2 * (path + 1).
    told = ErrorModel((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), 2.0, 0.9).to_dict()
    calibrated = load(rewrite_card(file, {"uncertainty": told}), symmetries=4)
    width, trace = calibrated.half_width(scan), scan.metal_trace
    torch.testing.assert_close(width[trace], 2 * (scan.metal_path_mm[trace] + 1), rtol=1e-4, atol=1e-4)
    assert not width[~trace].any()
    completed = calibrated.complete(scan)
    assert torch.equal(completed.sinogram, model.complete(scan).sinogram)  # the weights stayed
    assert model.complete(scan).deviation is None
    # Of normal errors 90 % lie within 1.645 standard deviations.
    torch.testing.assert_close(completed.deviation, width / 1.6448536, rtol=1e-4, atol=1e-6)
    assert load(file, symmetries=1).complete(scan).deviation is None
    with pytest.raises(CtmarError, match="symmetries of 2 or more, got 1"):
        load(file, symmetries=1).half_width(scan)


@pytest.mark.parametrize("symmetries", [1, 4])
def test_a_beam_that_does_not_wrap_is_refused(make_case, file, symmetries: int) -> None:
    model = load(file, symmetries=symmetries)
    refused = "pretrained weights must have uniform views over π and a centred detector, got offset 0.25 mm"
    with pytest.raises(CtmarError, match=refused):
        model.check(RayTransform(GRID, SHIFTED))
    with pytest.raises(CtmarError, match=refused):
        model.complete(of_beam(make_case(), SHIFTED).scan)
    model.check(RayTransform(GRID, ParallelBeam(96, 131, 0.5)))


def test_it_takes_the_geometry_from_each_scan(make_case, file) -> None:
    """A sinogram of as many views and bins, but of another pitch, is another one to the network."""
    model, case = load(file), make_case()
    known = model.complete(case.scan).sinogram
    wider = model.complete(of_beam(case, ParallelBeam(48, 65, 2.0)).scan).sinogram
    assert not torch.equal(known, wider)
    assert torch.equal(model.complete(case.scan).sinogram, known)
    fine = make_case(views=96, bins=131).scan
    fine = replace(fine, ray=RayTransform(GRID, ParallelBeam(96, 131, 0.5)))
    completed = model.complete(fine).sinogram
    assert torch.equal(completed[~fine.metal_trace], fine.measured[~fine.metal_trace])


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
        save(tmp_path / "a.ckpt", fitted_method())


def test_weights_of_another_network_are_refused(tmp_path, file) -> None:
    about, state = read(file)
    state.popitem()
    save_file(state, tmp_path / "less.safetensors", metadata={"ctmar": json.dumps(about)})
    with pytest.raises(CtmarError, match="do not fit their network"):
        load(tmp_path / "less.safetensors")


def test_the_package_ships_weights_under_twenty_megabytes(make_case) -> None:
    assert pretrained.DEFAULT in available()
    model = load()
    assert isinstance(model, Pretrained)
    assert all((weights.FOLDER / f"{name}.safetensors").stat().st_size < 4e6 for name in available())
    assert {"seed", "commit", "limits", "trained_on", "uncertainty"} <= model.card.keys()
    assert model.network.fill == Physics() and model.network.takes_beam
    assert isinstance(load("unet").network.fill, NMAR)


class OwnInputs(NetworkMethod):
    """The same network, shown something else."""

    def inputs_of(self, scan, fill):
        return 0.5 * super().inputs_of(scan, fill)


class OwnNetwork(NetworkMethod):
    def _made(self, network):
        return torch.nn.Sequential(super()._made(network), torch.nn.Identity())


class OwnTrace(NetworkMethod):
    def trace(self, scan):
        return 1.01 * super().trace(scan)


class Renamed(NetworkMethod):
    """Nothing of its own but the name, and that of the class it is derived from."""


Renamed.__name__ = Renamed.__qualname__ = "NetworkMethod"


@pytest.mark.parametrize("kind", [OwnInputs, OwnNetwork, OwnTrace, Renamed])
def test_a_class_that_a_file_would_not_rebuild_is_refused(tmp_path, kind) -> None:
    method = fitted_method()
    own = kind(lambda *channels: torch.nn.Conv2d(*channels, 1), method.inputs, method.fill)
    with pytest.raises(CtmarError, match=rf"got {__name__}\.{kind.__name__}.*with CTMAR_TRUST="):
        save(tmp_path / "out" / "a.safetensors", own)
    assert not list(tmp_path.iterdir())


def replace_inputs(model):
    model.inputs_of = lambda scan, fill: 0.5 * type(model).inputs_of(model, scan, fill)


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


@pytest.mark.parametrize("change", CHANGES)
def test_a_method_that_its_options_do_not_rebuild_is_refused(tmp_path, change) -> None:
    model, file = fitted_method(), tmp_path / "a.safetensors"
    file.write_bytes(b"what was there")
    change(model)
    refused = r"bit for bit, got another completion|the weights in .*a\.safetensors do not fit their network"
    with pytest.raises(CtmarError, match=refused):
        save(file, model)
    assert file.read_bytes() == b"what was there" and list(tmp_path.iterdir()) == [file]


def test_a_method_replaced_in_the_class_itself_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(NetworkMethod, "inputs_of", OwnInputs.inputs_of, raising=False)
    with pytest.raises(CtmarError, match="own NetworkMethod, got one with inputs_of of somebody else's"):
        save(tmp_path / "a.safetensors", fitted_method())


def test_weights_that_a_file_cannot_hold_are_refused(tmp_path) -> None:
    with pytest.raises(CtmarError, match="exported weights must be float32, got torch.float64 in"):
        save(tmp_path / "a.safetensors", fitted_method().double())
    model = fitted_method()
    torch.nn.init.constant_(model.generator.net.head.weight, float("nan"))
    with pytest.raises(CtmarError, match="the weights to export must be finite, got NaN"):
        save(tmp_path / "a.safetensors", model)
    with pytest.raises(CtmarError, match="must have uniform views over π"):
        save(tmp_path / "a.safetensors", fitted_method(), beam=SHIFTED)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"slices": 3},
        {"fill": "zero", "residual_scale": 4.0, "inputs": ["measured_zeroed", "trace"]},
        {"fill": "li", "margin_bins": None, "inputs": ["fill_nmar", "hardening_weighted", "angle", "path"]},
        {"network": "gated"},
        {"network": "partial", "slices": 3},
        {"network": network_node(norm="group", downscale=[4, 2], num_res_units=2)},
        {"sinogram_scale": 2.0, "path_scale_mm": 10.0, "wrap_views": 0},
        {"network": network_node("images", shape=[48, 48], spacing_mm=1.3)},
    ],
)
def test_every_option_of_a_completion_comes_back(make_case, tmp_path, options) -> None:
    method, scan = fitted_method(**options), make_case(slices=options.get("slices", 1)).scan
    method.train()
    save(tmp_path / "a.safetensors", method, method_node(**options))
    assert all(part.training for part in method.modules())
    again = load(tmp_path / "a.safetensors", symmetries=1)
    assert torch.equal(again.complete(scan).sinogram, method.eval().complete(scan).sinogram)


def test_weights_behind_a_method_take_it_as_it_is_told_of_the_scanner(tmp_path, file) -> None:
    options = {"fill": Physics(), "inputs": ("fill", "deviation"), "prior_error": 0.06}
    node = method_node(**options | {"fill": "zero"})
    node["fill"] = {"_target_": "ctmar.methods.physics.Physics"}
    save(tmp_path / "a.safetensors", fitted_method(**options), node)
    told = Physics(beam=Beam(photons_per_ray=1e4))
    network = load(tmp_path / "a.safetensors", told=told).network
    assert network.fill is told and network.inputs["deviation"] == Deviation(told)
    assert load(tmp_path / "a.safetensors").network.fill == Physics()
    # Weights behind another method do not look at it.
    assert load(file, told=told).network.fill == NMAR()


def test_a_fill_sees_neighbours_that_the_network_does_not(make_case) -> None:
    class Beside(Method):
        """The mean of a slice and those beside it."""

        name, neighbours = "beside", 1

        def trace(self, scan: Scan) -> torch.Tensor:
            return scan.measured.mean(1, keepdim=True).expand_as(scan.measured)

    scan, fill = make_case(slices=3).scan, Beside()
    method = Pretrained(network_method(fill=fill, inputs=("fill",)), scan.ray.beam, symmetries=1)
    assert (method.neighbours, method.slices) == (1, 1)
    found = method.complete(scan).sinogram
    assert torch.equal(found, fill.complete(scan).sinogram[:, 1:2])
    assert not torch.equal(found, fill.complete(scan.center()).sinogram)
    # So do those who ask what is known of the rays: it lies ready in the slice that is left.
    assert torch.equal(method.select(scan).fills[fill.key], found)
    alone = Pretrained(network_method(inputs=("fill",)), scan.ray.beam, symmetries=1)
    assert alone.neighbours == 0


def test_a_file_of_schema_1_says_how_it_becomes_one_of_today(tmp_path, file) -> None:
    about, state = read(file)
    old = {"ctmar": json.dumps(about | {"schema": 1})}
    save_file(state, tmp_path / "old.safetensors", metadata=old)
    with pytest.raises(CtmarError, match=r"must be of schema 2, .*old\.safetensors is of 1: .*ctmar convert"):
        load(tmp_path / "old.safetensors")


def test_a_file_of_another_method_is_refused(tmp_path, file) -> None:
    about, state = read(file)
    other = about | {"method": {"_target_": "ctmar.methods.li.LI"}}
    save_file(state, tmp_path / "li.safetensors", metadata={"ctmar": json.dumps(other)})
    with pytest.raises(CtmarError, match=r"weights must be of a network, .*li\.safetensors is of LI"):
        load(tmp_path / "li.safetensors")
