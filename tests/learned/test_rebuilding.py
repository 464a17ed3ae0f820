"""What a file of weights may have made of its description, and what not."""

import sys
from functools import partial
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.inputs.fill import FillBy
from ctmar.learned.network import NetworkMethod
from ctmar.learned.rebuilding import rebuilt
from ctmar.methods import LI, NMAR, TV, Physics
from ctmar.methods.polychromatic.tables import Beam
from ctmar.networks.unet import SinogramUNet
from ctmar.physics import Water

NODE = {
    "_target_": "ctmar.learned.network.NetworkMethod",
    "network": {
        "_target_": "ctmar.networks.unet.SinogramUNet",
        "_partial_": True,
        "channels": [8, 16],
    },
    "inputs": {
        "measured": {"_target_": "ctmar.inputs.measured.Measured"},
        "other": {"_target_": "ctmar.inputs.fill.FillBy", "method": {"_target_": "ctmar.methods.li.LI"}},
    },
    "fill": {"_target_": "ctmar.methods.nmar.NMAR", "smoothing_mm": 0.0},
}


def test_a_description_gives_the_method_and_its_parts() -> None:
    method = rebuilt(NODE)
    assert type(method) is NetworkMethod
    assert method.fill == NMAR(smoothing_mm=0.0)
    assert method.inputs["other"] == FillBy(LI()) and list(method.inputs) == ["measured", "other"]
    assert isinstance(method.generator.net, SinogramUNet)


def test_plain_values_lists_and_nests_come_through_and_partial_waits() -> None:
    assert rebuilt({"a": [1, {"b": None}], "c": "text"}) == {"a": [1, {"b": None}], "c": "text"}
    assert rebuilt([{"_target_": "ctmar.methods.TV", "start": {"_target_": "ctmar.methods.LI"}}]) == [
        TV(start=LI())
    ]
    waiting = rebuilt({"_target_": "ctmar.methods.tv.TV", "_partial_": True, "steps": 2})
    assert isinstance(waiting, partial) and waiting() == TV(steps=2)


def test_the_settings_of_physics_come_with_it() -> None:
    water = {"_target_": "ctmar.physics.Water", "degree": 6}
    node = {
        "_target_": "ctmar.methods.physics.Physics",
        "beam": {"_target_": "ctmar.methods.polychromatic.tables.Beam"},
    }
    node["beam"]["water"] = water  # type: ignore[index]
    made = rebuilt(node)
    assert made == Physics(beam=Beam(water=Water(degree=6)))


@pytest.mark.parametrize(
    "target",
    [
        "ctmar.physics.Scanner",
        "os.system",
        "subprocess.run",
        "subprocess.Popen",
        "builtins.eval",
        "os:system",
        "ctmar.jobs.cli.main",
        "ctmar.jobs.correct.Bar",
        "ctmar.jobs.study.Study",
        "ctmar.data.store.CaseStore",
        "ctmar.callbacks.EMA",
        "ctmar.errors.CtmarError",
        "ctmar.geometry.ParallelBeam",
        "ctmar.methods.li.linear_interpolation",
        "ctmar.methods.elsewhere.find_method",
        "ctmar.methods.elsewhere.import_module",
        "ctmar.methods.base.CtmarError",
        "ctmar.methods.elsewhere.Path",
        "ctmar.methods.li",
        "ctmar.methods.li:LI.__class__",
        "ctmar.learned.pretrained.load",
        "ctmar.learned.pretrained.save",
        "ctmar.learned.pretrained.TemporaryDirectory",
        "ctmar.learned.rebuilding.os.system",
        "ctmar.learned.rebuilding.os.popen",
        "ctmar.learned.network.nn.Module",
        "ctmar",
        "",
        "no_such_package.Class",
    ],
)
@pytest.mark.parametrize("more", [{}, {"_partial_": True}], ids=["made", "partial"])
def test_what_is_no_class_of_ctmars_methods_and_their_parts_is_refused(target: str, more: dict) -> None:
    with pytest.raises(CtmarError, match="weights may name classes of") as refused:
        rebuilt({"_target_": target, **more})
    assert "\n" not in str(refused.value)
    nested = {**NODE, "fill": {"_target_": target, **more}}
    with pytest.raises(CtmarError, match="weights may name classes of"):
        rebuilt(nested)


def test_the_refusal_names_what_is_allowed_and_how_to_trust() -> None:
    with pytest.raises(
        CtmarError, match="classes of ctmar's inputs, learned, methods, networks, got 'os.system'"
    ):
        rebuilt({"_target_": "os.system", "command": "true"})
    with pytest.raises(CtmarError, match="CTMAR_TRUST=os accepts that package"):
        rebuilt({"_target_": "os.system"})


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "ctmar.methods.li.LI", "steps": 3},
        {"_target_": "ctmar.methods.li.NoSuch"},
        {"_target_": "ctmar.methods.no_such.LI"},
        {"_target_": "ctmar.inputs.fill.FillBy"},
        {"_target_": "ctmar.methods.base._Private.More"},
        {**NODE, "network": {**NODE["network"], "channels": [-8, 16]}},  # type: ignore[dict-item]
        {**NODE, "network": {**NODE["network"], "downscale": 0}},  # type: ignore[dict-item]
    ],
)
def test_what_cannot_be_made_is_one_line(node: dict) -> None:
    with pytest.raises(CtmarError, match=".+, got .+|which cannot be made: ") as refused:
        rebuilt(node)
    assert "\n" not in str(refused.value)


def test_a_value_out_of_its_range_says_so_itself() -> None:
    with pytest.raises(CtmarError, match="reach_mm must be positive, got -1"):
        rebuilt({"_target_": "ctmar.methods.fsnmar.FSNMAR", "reach_mm": -1})


THEIRS = """
import subprocess
from subprocess import Popen

from ctmar.methods import Method


class Mine(Method):
    def __init__(self, by=1):
        self.by = by


def function():
    raise AssertionError("called")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of somebody else's that can be imported."""
    name = f"theirs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(THEIRS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CTMAR_TRUST", raising=False)
    return name


def test_a_package_that_is_trusted_is_accepted_and_no_other_is_imported(package: str, monkeypatch) -> None:
    node = {"_target_": f"{package}.Mine", "by": 3}
    for trust in ("", ",", "other", f"{package}x", package[:-1], f"{package}.Mine"):
        monkeypatch.setenv("CTMAR_TRUST", trust)
        with pytest.raises(CtmarError, match=f"CTMAR_TRUST={package} accepts that package"):
            rebuilt(node)
        assert package not in sys.modules
    for trust in (package, f"other,{package}"):
        monkeypatch.setenv("CTMAR_TRUST", trust)
        assert rebuilt(node).by == 3
    nested = rebuilt({"_target_": "ctmar.inputs.fill.FillBy", "method": node})
    assert nested.method.by == 3


@pytest.mark.parametrize("what", ["function", "Popen", "subprocess.Popen", "subprocess.run"])
def test_of_a_trusted_package_only_its_own_classes_are_made(package: str, what: str, monkeypatch) -> None:
    monkeypatch.setenv("CTMAR_TRUST", package)
    with pytest.raises(CtmarError, match=f"weights may name classes of ctmar.*, got '{package}.{what}'"):
        rebuilt({"_target_": f"{package}.{what}"})
