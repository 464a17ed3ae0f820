"""Effects of one's own, before the logarithm and after it: defined here, named in a config."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.config.build import build_simulator, make
from ctmar.config.composing import composed
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Noise, Rays, Scanner, Trace, Tube
from ctmar.physics.gantries import make_gantry

GRID, BEAM = ImageGrid((48, 48), 6.0), ParallelBeam(40, 71, 6.0)
MONO: dict = {"tube": Tube(kvp=None), "noise": Noise(None)}


@dataclass(frozen=True)
class Crosstalk:
    """A share of each bin's light goes to either neighbour."""

    share: float = 0.05

    def __call__(self, x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        left, right = torch.roll(x, 1, -1), torch.roll(x, -1, -1)
        return (1 - 2 * self.share) * x + self.share * (left + right)


@dataclass(frozen=True)
class Offset:
    """Line integrals that are wrong by so much a mm from the axis."""

    per_mm: float = 1e-3

    def __call__(self, x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        return x + self.per_mm * torch.from_numpy(rays.positions_mm).to(x)


@dataclass(frozen=True)
class Drift:
    """Each bin's reading is off by a random number of its own: a ring in the image."""

    spread: float = 0.02

    def __call__(self, x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        if random is None:
            return x
        drawn = torch.from_numpy(random.normal(0, self.spread, x.shape[-1])).to(x)
        return x + drawn if x.ndim == 2 else x * torch.exp(-drawn)


def disk(radius_mm: float, x_mm: float = 0.0) -> np.ndarray:
    c = (np.arange(96) - 47.5) * 3.0
    return (np.hypot(c - x_mm, c[:, None]) < radius_mm).astype(np.float32)


BODY, SCREW = 1000 * disk(110.0) - 1000, disk(9.0, 30.0)


def scan(scanner: Scanner, slices: tuple[int, ...] = (0,), screw: np.ndarray = SCREW) -> Acquisition:
    """Slices of a disk, a screw in each, by the seeds of their places."""
    hu = np.stack([BODY + 10 * n * disk(80.0) for n in slices]).astype(np.float32)
    fine = RayTransform(GRID.refine(2), BEAM.refine(2))
    seeds = [np.random.SeedSequence(5, spawn_key=(n,)) for n in slices]
    return scanner.acquire(hu, {"Ti-6Al-4V": np.stack([screw] * len(slices))}, fine, seeds)


EFFECTS = {
    "crosstalk": {"before_log": [Crosstalk()]},
    "offset": {"after_log": [Offset()]},
    "drift of the signal": {"before_log": [Drift()]},
    "drift of the reading": {"after_log": [Drift()]},
    "a filter": {"after_log": [Crosstalk(0.2)]},
    "several": {"before_log": [Drift(), Crosstalk()], "after_log": [Crosstalk(), Drift()]},
}


def test_one_before_the_logarithm_acts_on_intensities() -> None:
    plain, seen = scan(Scanner(**MONO)), scan(Scanner(**MONO, before_log=[Crosstalk()]))
    for before, after in ((plain.ideal, seen.ideal), (plain.measured, seen.measured)):
        expected = -torch.log(Crosstalk()(torch.exp(-before), None, None))  # type: ignore[arg-type]
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)
    assert (seen.measured - plain.measured).abs().max() > 0.1
    # Of line integrals it would be another thing.
    assert not torch.allclose(seen.ideal, scan(Scanner(**MONO, after_log=[Crosstalk()])).ideal, atol=1e-2)


def test_one_after_the_logarithm_acts_on_line_integrals_and_knows_its_rays() -> None:
    plain, seen = scan(Scanner()), scan(Scanner(after_log=[Offset()]))
    wrong = 1e-3 * (torch.arange(71) - 35) * 6.0
    for before, after in (
        (plain.ideal, seen.ideal),
        (plain.measured, seen.measured),
        (plain.clean, seen.clean),
    ):
        torch.testing.assert_close(after - before, wrong.expand_as(before), rtol=0, atol=2e-6)


def test_photons_are_drawn_of_what_comes_out_before_the_logarithm() -> None:
    half: Callable[..., Tensor] = lambda x, rays, random: x / 2  # noqa: E731
    spread = []
    for effects in ([], [half]):
        found = scan(Scanner(Tube(kvp=None), noise=Noise(1e7), before_log=effects), screw=0 * SCREW)
        spread.append(float((found.measured - found.ideal).double()[..., 20:51].var()))
    assert spread[1] / spread[0] == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("name", EFFECTS)
def test_off_the_trace_clean_is_measured(name: str) -> None:
    plain, found = scan(Scanner()), scan(Scanner(**EFFECTS[name]))
    assert torch.equal(found.clean[~found.metal_trace], found.measured[~found.metal_trace])
    assert torch.equal(found.metal_trace, plain.metal_trace) and found.metal_trace.any()
    assert all(field.isfinite().all() for field in found)
    for field in ("measured", "clean"):
        assert not torch.equal(getattr(found, field), getattr(plain, field))


@pytest.mark.parametrize("name", EFFECTS)
def test_a_slice_is_the_same_alone_and_among_others(name: str) -> None:
    scanner = Scanner(**EFFECTS[name])
    together, alone = scan(scanner, (0, 1, 2)), scan(scanner, (1,))
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a[1:2], b)


@pytest.mark.parametrize("where", ["before_log", "after_log"])
def test_what_is_drawn_is_the_same_with_metal_and_without_and_not_in_the_reference(where: str) -> None:
    plain, found = scan(Scanner(**MONO), (0, 1)), scan(Scanner(**MONO, **{where: [Drift()]}), (0, 1))
    assert torch.equal(found.ideal, plain.ideal)
    drift = (found.measured - plain.measured)[:, 0]
    assert 0.01 < float(drift.std()) < 0.04
    for field in ("measured", "clean"):
        change = getattr(found, field) - getattr(plain, field)
        torch.testing.assert_close(change, drift[:, None].expand_as(change), rtol=0, atol=2e-5)
    assert not torch.allclose(drift[0], drift[1], atol=1e-3)  # a slice has its own


def test_effects_of_a_list_draw_each_its_own_numbers() -> None:
    once, twice = (scan(Scanner(**MONO, after_log=[Drift()] * n)).measured for n in (1, 2))
    plain = scan(Scanner(**MONO)).measured
    assert not torch.allclose(twice - plain, 2 * (once - plain), atol=1e-3)


def test_one_that_reaches_over_the_traces_edge_meets_the_noise_of_its_neighbours() -> None:
    """On the trace's last bin ``clean`` is made of what was read beside it, not of what was expected."""
    keep: Callable[..., Tensor] = lambda x, rays, random: torch.roll(x, 1, -1)  # noqa: E731
    plain, moved = scan(Scanner()), scan(Scanner(after_log=[keep]))
    first = moved.metal_trace & ~torch.roll(moved.metal_trace, 1, -1)
    assert torch.equal(moved.clean[first], torch.roll(plain.measured, 1, -1)[first])


def test_nothing_is_measured_behind_metal_of_the_ideal_scanner() -> None:
    found = scan(Scanner(**MONO, trace=Trace(measures_metal=False), after_log=[Offset()]))
    trace = found.metal_trace
    assert (found.measured[trace] == 0).all() and torch.equal(found.measured[~trace], found.clean[~trace])
    assert torch.equal(found.clean, found.ideal)


def test_one_that_writes_into_what_it_is_given_spoils_nothing_else() -> None:
    def fading(x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        return x.mul_(0.5)

    found = scan(Scanner(**MONO, before_log=[fading]))
    plain = scan(Scanner(**MONO))
    torch.testing.assert_close(found.ideal - plain.ideal, torch.full_like(plain.ideal, math.log(2)))
    torch.testing.assert_close(found.clean, found.ideal)


def test_a_fans_own_rays_meet_the_effects() -> None:
    fan = FanBeam(80, 88, 8.0, 541.0, 408.0, "arc", 1.0)
    scans = []
    for effects in ({}, EFFECTS["several"]):
        gantry = make_gantry(Scanner(**effects), GRID, fan, BEAM)
        seeds = [np.random.SeedSequence(1)]
        scans.append(gantry.acquire(BODY[None], {"316L": SCREW[None]}, 0, (0,), 3.0, seeds))
    plain, found = scans
    off = ~found.metal_trace
    assert torch.equal(found.clean[off], found.measured[off]) and not torch.equal(found.clean, plain.clean)


def case(*overrides: str) -> Case:
    """A case of a config, as a command line makes it."""
    cfg = composed("train", ["geometry=tiny", "anatomy=procedural_small", "paths.output_dir=out", *overrides])
    return build_simulator(cfg, 1).case("test", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "effect",
    [f"scanner.before_log=[{{_target_:{__name__}.Crosstalk,share:0.1}}]",
     f"scanner.after_log=[{{_target_:{__name__}.Offset,per_mm:0.002}}]",
     f"scanner.after_log=[{{_target_:{__name__}.Drift,spread:0.05}}]"],
    ids=["before", "after", "drawn"],
)  # fmt: skip
def test_a_config_names_an_effect_and_a_case_shows_it(effect: str) -> None:
    plain, nothing, found = case(), case(effect.partition("=")[0] + "=[]"), case(effect)
    assert torch.equal(plain.scan.measured, nothing.scan.measured)
    off = ~found.scan.metal_trace
    assert torch.equal(found.truth.clean[off], found.scan.measured[off])
    assert (found.scan.measured - plain.scan.measured).abs().max() > 0.01
    again = case(effect)
    assert torch.equal(again.scan.measured, found.scan.measured)
    assert torch.equal(again.truth.clean, found.truth.clean)


def test_settings_of_the_config_reach_the_effect() -> None:
    target = f"scanner.before_log=[{{_target_:{__name__}.Crosstalk,share:0.1}}]"
    made = make(composed("train", [target, "paths.output_dir=out"]).scanner)
    assert [type(effect).__name__ for effect in made.readout.before_log.effects] == ["Crosstalk"]
    assert made.readout.before_log.effects[0].share == 0.1 and not made.after_log.effects


def test_the_pages_example_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scanner.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n# mine\.py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    overrides = re.findall(r"'(scanner\.\w+_log=.*?)'", page)
    assert [override.partition("=")[0] for override in overrides] == [
        "scanner.before_log",
        "scanner.after_log",
    ]
    plain, *found = case(), *(case(override) for override in overrides)
    assert all((one.scan.measured - plain.scan.measured).abs().max() > 0.005 for one in found)


@pytest.mark.parametrize(
    "where,answer,message",
    [
        (
            "before_log",
            lambda x: x[0],
            r"before_log\[0\] \(spoil\) must return a tensor of shape \(2, 40, 71\)",
        ),
        ("after_log", lambda x: None, r"must return a tensor of shape \(40, 71\), got None"),
        (
            "before_log",
            lambda x: x - 2,
            r"before_log\[0\] \(spoil\) must return finite values from 0 up, got -",
        ),
        ("after_log", lambda x: x / 0 * 0, r"after_log\[0\] \(spoil\) must return finite values, got nan"),
    ],
)
def test_an_answer_that_is_none_is_refused(where: str, answer: Callable, message: str) -> None:
    def spoil(x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        return answer(x)  # type: ignore[no-any-return]

    with pytest.raises(CtmarError, match=message):
        scan(Scanner(**MONO, **{where: [spoil]}))


@pytest.mark.parametrize("where", ["before_log", "after_log"])
def test_what_cannot_be_called_is_refused(where: str) -> None:
    with pytest.raises(CtmarError, match=rf"{where}\[1\] must be an effect, .* got {{'share': 0.1}}"):
        Scanner(**{where: [Crosstalk(), {"share": 0.1}]})  # type: ignore[arg-type]
