"""What earlier versions wrote of networks comes back as the same network."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctmar.inputs.fill import FillBy
from ctmar.inputs.hardening import Hardening
from ctmar.learned import weights
from ctmar.learned.earlier import about_of, method_node, state_of
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import load
from ctmar.learned.rebuilding import rebuilt
from ctmar.methods import LI, NMAR, Zero
from tests.learned.building import fitted_method, network_node

OLD = {
    "network": "unet",
    "inputs": ["measured", "trace", "fill", "path", "difference", "hardening"],
    "fill": "nmar",
    "slices": 1,
    "sinogram_scale": 4.0,
    "path_scale_mm": 50.0,
    "residual_scale": 1.0,
    "channels": [8, 16],
    "num_res_units": 1,
    "norm": "batch",
    "downscale": 2,
    "wrap_views": 8,
    "margin_bins": 24,
}
BEAM = {"num_angles": 48, "det_count": 65, "det_spacing_mm": 1.0}


def shapes(method: NetworkMethod) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in method.state_dict().items()}


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({}, {}),
        ({"slices": 3}, {"slices": 3}),
        (
            {"norm": "group", "num_res_units": 2, "downscale": [4, 2]},
            {"network": network_node(norm="group", num_res_units=2, downscale=[4, 2])},
        ),
        ({"network": "gated", "downscale": 1}, {"network": network_node("gated", downscale=1)}),
        ({"network": "partial"}, {"network": "partial"}),
        (
            {"fill": "zero", "inputs": ["measured_zeroed", "trace"], "residual_scale": 4.0},
            {"fill": "zero", "inputs": ["measured_zeroed", "trace"], "residual_scale": 4.0},
        ),
        (
            {"fill": "li", "inputs": ["fill_li", "fill_nmar", "hardening_weighted", "angle", "path"]},
            {"fill": "li", "inputs": ["fill_li", "fill_nmar", "hardening_weighted", "angle", "path"]},
        ),
        ({"wrap_views": 0, "margin_bins": None}, {"wrap_views": 0, "margin_bins": None}),
    ],
)
def test_flat_arguments_give_the_same_network(make_case, old: dict, now: dict) -> None:
    method, wanted = rebuilt(method_node(OLD | old)).eval(), fitted_method(**now)
    assert type(method) is NetworkMethod
    assert shapes(method) == shapes(wanted)
    assert list(method.inputs) == (OLD | old)["inputs"]
    assert (method.inputs, method.fill, method.units) == (wanted.inputs, wanted.fill, wanted.units)
    method.load_state_dict(wanted.state_dict())
    scan = make_case(slices=method.slices).scan
    assert torch.equal(method.complete(scan).sinogram, wanted.complete(scan).sinogram)


def test_names_of_channels_and_fills_are_those_of_before() -> None:
    inputs = ["fill_li", "fill_nmar", "hardening", "hardening_weighted"]
    method = rebuilt(method_node(OLD | {"inputs": inputs}))
    assert list(method.inputs.values()) == [
        FillBy(LI()),
        FillBy(NMAR()),
        Hardening(),
        Hardening(weighted=True),
    ]
    for fill, wanted in (("zero", Zero()), ("li", LI()), ("nmar", NMAR())):
        assert rebuilt(method_node(OLD | {"fill": fill})).fill == wanted


def test_arguments_of_the_training_are_left_and_absent_ones_are_the_defaults() -> None:
    trained = OLD | {"learning_rate": 1.0, "loss": "root", "augment_mirror": True, "lambda_l2": 3.0}
    assert method_node(trained) == method_node(OLD)
    few = method_node({"inputs": ["measured"], "fill": "li", "channels": [8, 16]})
    method = rebuilt(few)
    assert (method.slices, method.generator.views, method.margin_bins) == (1, 16, 24)


def test_a_file_of_schema_1_completes_the_same_once_it_is_brought_up(make_case, tmp_path) -> None:
    before, scan = fitted_method(), make_case().scan
    card = {"seed": 3, "model": {"channels": [8, 16]}}
    old = {"schema": 1, "arguments": OLD, "beam": BEAM, "card": card}
    file = tmp_path / "old.safetensors"
    state = {name: value.contiguous() for name, value in before.state_dict().items()}
    save_file(state, file, metadata={"ctmar": json.dumps(old)})
    about = about_of(old)
    assert (about["schema"], about["beam"]) == (weights.SCHEMA, BEAM)
    assert about["card"] == {"seed": 3, "model": {"method": about["method"]}}
    assert old["card"] == card and card["model"] == {"channels": [8, 16]}  # the given one stays
    weights.write(tmp_path / "new.safetensors", about, load_file(file))
    again = load(tmp_path / "new.safetensors", symmetries=1)
    assert torch.equal(again.complete(scan).sinogram, before.complete(scan).sinogram)


def test_a_checkpoint_of_before_has_the_method_inside_its_training() -> None:
    before = {"generator.net.a": 1, "refinement.net.b": 2, "discriminator.net.c": 3, "val_loss.value": 4}
    assert state_of(before) == {
        "method.generator.net.a": 1,
        "method.refinement.net.b": 2,
        "discriminator.net.c": 3,
        "val_loss.value": 4,
    }
    assert state_of(state_of(before)) == state_of(before)
