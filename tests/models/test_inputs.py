"""Network inputs by name."""

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.models.inputs import INPUTS, build_inputs, check_inputs, fill_sinogram, trace_window
from ctmar.networks.wrap import mirror_left_right, pad_views


def test_channels_follow_the_names_and_scales(make_sample) -> None:
    sample = make_sample()
    names = ["path", "measured", "difference", "trace", "fill"]
    path, measured, difference, trace, fill = build_inputs(sample, names, "li", 4.0, 50.0).unbind(1)
    off = ~sample.metal_trace[:, 0]
    assert torch.equal(path, sample.metal_path_mm[:, 0] / 50)
    assert torch.equal(measured, sample.measured[:, 0] / 4)
    assert torch.equal(fill, sample.fills["li"][:, 0] / 4)
    assert torch.equal(trace, sample.metal_trace[:, 0].float())
    assert torch.count_nonzero(difference[off]) == 0
    assert difference[~off].abs().min() > 0
    torch.testing.assert_close(difference, (sample.measured - sample.fills["li"])[:, 0] / 4)


def test_the_angle_closes_over_half_a_turn_and_is_blind_to_the_side(make_sample) -> None:
    sample = make_sample(views=48)
    angle = build_inputs(sample, ["angle"], "nmar", 4.0, 50.0)
    assert angle.shape == sample.measured.shape
    assert angle[0, 0, 0].unique().item() == 1 and angle[0, 0, 24].unique().item() == -1
    torch.testing.assert_close(mirror_left_right(angle), angle)
    assert (pad_views(angle, 1).diff(dim=-2).abs() < 0.14).all()  # no step where the views close


def test_slices_of_a_name_stand_together(make_sample) -> None:
    sample = make_sample(slices=3)
    inputs = build_inputs(sample, ["measured", "trace"], "nmar", 2.0, 50.0)
    assert inputs.shape == (2, 6, 48, 65)
    assert torch.equal(inputs[:, :3], sample.measured / 2)
    assert torch.equal(inputs[:, 3:], sample.metal_trace.float())


@pytest.mark.parametrize("name", INPUTS)
def test_every_name_gives_finite_channels_and_writes_nothing(make_sample, name: str) -> None:
    sample = make_sample()
    before = [field.clone() for field in (sample.measured, sample.fills["li"], sample.fills["nmar"])]
    assert torch.isfinite(build_inputs(sample, [name], "nmar", 4.0, 50.0)).all()
    after = (sample.measured, sample.fills["li"], sample.fills["nmar"])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_zeroed_hides_what_lies_behind_the_metal(make_sample) -> None:
    sample = make_sample()
    changed = sample._replace(measured=sample.measured + 7 * sample.metal_trace)
    zeroed = [build_inputs(s, ["measured_zeroed"], "zero", 4.0, 50.0) for s in (sample, changed)]
    kept = [build_inputs(s, ["measured"], "zero", 4.0, 50.0) for s in (sample, changed)]
    assert torch.equal(*zeroed)
    assert not torch.equal(*kept)


def test_missing_fill_is_named(make_sample) -> None:
    sample = make_sample()._replace(fills={"li": make_sample().measured})
    with pytest.raises(CtmarError, match=r"must hold the fill 'nmar', got \['li'\]"):
        fill_sinogram(sample, "nmar")


@pytest.mark.parametrize(
    ("names", "fill", "message"),
    [
        (["measured", "mask"], "li", "inputs must be from measured, .*hardening_weighted, angle, got mask"),
        ([], "li", "inputs must be from .*got none"),
        (["trace", "trace"], "li", "inputs must not repeat"),
        (["trace"], "cubic", "fill must be one of zero, li, nmar, got 'cubic'"),
    ],
)
def test_bad_names_are_listed(names: list, fill: str, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        check_inputs(names, fill)


@pytest.mark.parametrize("name", ["hardening", "hardening_weighted"])
def test_hardening_finds_the_fills_error_where_metal_is_a_function_of_its_length(
    make_sample, name: str
) -> None:
    sample = make_sample()
    wanted = torch.where(sample.metal_trace, 0.1 * torch.arange(48)[:, None].sin(), 0.0)
    sample = sample._replace(fills={"nmar": sample.clean - wanted})
    found = build_inputs(sample, [name], "nmar", 4.0, 50.0)
    assert not found[~sample.metal_trace].any()
    left = (found - wanted)[sample.metal_trace].square().mean()
    assert left < 0.5 * wanted[sample.metal_trace].square().mean()


def test_weighted_hardening_distrusts_starved_rays(make_sample) -> None:
    sample = make_sample()
    dark = sample._replace(measured=torch.where(sample.metal_trace, sample.measured + 14.0, sample.measured))
    weighted = build_inputs(dark, ["hardening_weighted"], "nmar", 4.0, 50.0)
    lit = build_inputs(sample, ["hardening_weighted"], "nmar", 4.0, 50.0)
    assert weighted.abs().max() < 0.1 * lit.abs().max()


@pytest.mark.parametrize(
    "first,last,margin,kept",
    [(8, 11, 2, (6, 14)), (8, 11, 9, (0, 20)), (0, 3, 0, (0, 20)), (5, 19, 0, (0, 20)), (3, 12, 1, (2, 18))],
)
def test_the_window_holds_the_trace_and_its_mirror(
    first: int, last: int, margin: int, kept: tuple[int, int]
) -> None:
    trace = torch.zeros(2, 1, 6, 20, dtype=torch.bool)
    trace[0, 0, 1, first], trace[1, 0, 4, last] = True, True
    assert trace_window(trace, margin) == slice(*kept)
    assert trace_window(torch.zeros_like(trace), margin) == slice(0, 20)
