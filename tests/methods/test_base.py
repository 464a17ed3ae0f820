"""What every method is given by the class it is made from."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.inputs.fill import Fill, FillBy
from ctmar.methods import FSNMAR, LI, MBHC, NMAR, TV, Completed, Method, Zero
from ctmar.methods.base import Classical, compose, each_slice, filled
from tests.tiny_network import tiny_network


class Answers(Method):
    """Answers what a function makes of the scan, and counts how often it was asked."""

    name = "answers"

    def __init__(self, answer: Callable[[Scan], Tensor | Completed], slices: int | None = None) -> None:
        self.answer, self.slices, self.asked = answer, slices, 0

    def trace(self, scan: Scan) -> Tensor | Completed:
        self.asked += 1
        return self.answer(scan)


def same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.view(torch.int32), second.view(torch.int32))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, 1e30])
def test_off_the_trace_every_bit_is_the_measurements_whatever_is_answered(make_case, value: float) -> None:
    scan = make_case().scan
    measured = scan.measured.clone()
    measured[..., 0, 0], measured[..., 0, 1] = -0.0, 1e-42  # bits that arithmetic would lose
    scan = replace(scan, measured=measured)
    completed = Answers(lambda s: torch.full_like(s.measured, value)).complete(scan).sinogram
    off = ~scan.metal_trace
    assert off[..., 0, :2].all()
    assert same_bits(completed[off], scan.measured[off])
    on = completed[scan.metal_trace]
    torch.testing.assert_close(on, torch.full_like(on, value), rtol=0, atol=0, equal_nan=True)


def test_an_answer_of_another_precision_comes_back_in_the_measurements(make_case) -> None:
    scan = make_case().scan
    for dtype in (torch.float64, torch.bfloat16):
        completed = Answers(lambda s, d=dtype: s.measured.to(d) + 1).complete(scan).sinogram
        assert completed.dtype == torch.float32
        assert same_bits(completed[~scan.metal_trace], scan.measured[~scan.metal_trace])


def test_a_deviation_is_zero_off_the_trace(make_case) -> None:
    scan = make_case().scan
    told = Answers(lambda s: Completed(s.measured + 1, torch.full_like(s.measured, torch.nan)))
    assert LI().complete(scan).deviation is None
    deviation = told.complete(scan).deviation
    assert deviation is not None and not deviation[~scan.metal_trace].any()
    assert deviation[scan.metal_trace].isnan().all()


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda s: s.measured[:1], r"\(1, 1, 48, 65\)"),
        (lambda s: s.measured[0, 0], r"\(48, 65\)"),
        (lambda s: s.measured.repeat(1, 3, 1, 1), r"\(2, 3, 48, 65\)"),
        (lambda s: torch.zeros(()), r"\(\)"),
        (lambda s: s.measured.numpy(), "ndarray"),
        (lambda s: None, "NoneType"),
        (lambda s: Completed(s.measured, s.measured[:1]), r"\(1, 1, 48, 65\)"),
    ],
)
def test_what_is_no_sinogram_of_the_scans_shape_is_refused(make_case, answer, got: str) -> None:
    message = rf"method 'answers' must return a sinogram of shape \(2, 1, 48, 65\), got {got}"
    with pytest.raises(CtmarError, match=message):
        Answers(answer).complete(make_case().scan)


def test_a_method_of_one_slice_completes_the_centre_and_one_of_any_all(make_case) -> None:
    scan = make_case(slices=3).scan
    one, any_number, three = (Answers(lambda s: s.measured + 1, slices) for slices in (1, None, 3))
    assert torch.equal(one.complete(scan).sinogram, compose(scan.center(), scan.center().measured + 1))
    for method in (any_number, three):
        assert torch.equal(method.complete(scan).sinogram, compose(scan, scan.measured + 1))


@pytest.mark.parametrize(("wanted", "given"), [(3, 1), (3, 2), (3, 5), (1, 2), (1, 4)])
def test_slices_that_a_method_cannot_choose_from_are_refused(make_case, wanted: int, given: int) -> None:
    message = f"model.slices={wanted} needs a sample of that many slices, got {given}"
    with pytest.raises(CtmarError, match=message):
        Answers(lambda s: s.measured, wanted).complete(make_case(slices=given).scan)


def test_the_key_of_the_defaults_is_the_name_and_of_other_settings_another() -> None:
    for method in (LI(), NMAR(), FSNMAR(), MBHC(), TV(), Zero()):
        assert method.key == method.name == replace(method).key
    others = (
        NMAR(),
        NMAR(prior_from="raw"),
        NMAR(smoothing_mm=0),
        NMAR(smoothing_mm=0, prior_from="raw"),
        FSNMAR(),
        FSNMAR(smoothing_mm=0),
        FSNMAR(reach_mm=2.0),
        MBHC(),
        MBHC(fill=LI()),
        MBHC(fill=NMAR(prior_from="raw")),
        MBHC(photons_per_ray=None),
        TV(),
        TV(steps=2),
        TV(start=LI()),
        TV(start=MBHC(fill=LI())),
    )
    assert len({method.key for method in others}) == len(others)
    assert all(replace(method).key == method.key for method in others)


def test_the_key_of_what_builds_on_a_network_is_that_networks() -> None:
    first, second = tiny_network(seed=0), tiny_network(seed=1)
    assert repr(first) == repr(second)  # an architecture alike, weights not
    assert MBHC(fill=first).key != MBHC(fill=second).key
    assert MBHC(fill=first).key == MBHC(fill=first).key


@dataclass(frozen=True)
class Shifted(NMAR):
    """One of a user's own that keeps its parent's name."""

    def trace(self, scan: Scan) -> Tensor:
        return scan.measured + 7


@dataclass(frozen=True)
class Raised(Classical):
    """One of a user's own, with a setting that has no default."""

    name = "raised"

    by: float

    def trace(self, scan: Scan) -> Tensor:
        return scan.measured + self.by


def test_a_completion_at_hand_is_taken_of_the_very_settings_alone(make_case) -> None:
    scan = make_case().scan
    assert filled(scan, LI()) is scan.fills["li"] and filled(scan, NMAR()) is scan.fills["nmar"]
    for other in (NMAR(prior_from="raw"), FSNMAR(), MBHC(), TV(steps=1), Shifted(), Raised(1.0)):
        assert torch.equal(filled(scan, other), other.complete(scan).sinogram)
    at_hand = replace(scan, fills={Raised(1.0).key: scan.measured, MBHC(fill=LI()).key: scan.measured})
    assert filled(at_hand, Raised(1.0)) is filled(at_hand, MBHC(fill=LI())) is scan.measured
    assert filled(at_hand, Raised(2.0)) is not scan.measured and filled(at_hand, MBHC()) is not scan.measured


@pytest.mark.parametrize("name", ["nmar", "answers", ""])
def test_what_tells_no_settings_is_known_by_itself_alone(make_case, name: str) -> None:
    first, second = Answers(lambda s: s.measured + 1), Answers(lambda s: s.measured + 2)
    first.name = second.name = name
    scan = make_case().scan
    scan = replace(scan, fills=scan.fills | {first.key: scan.measured, name: scan.measured})
    assert filled(scan, first) is scan.measured and first.asked == 0
    assert torch.equal(filled(scan, second), compose(scan, scan.measured + 2)) and second.asked == 1


def test_a_network_has_the_fills_it_needs_ready_though_two_methods_share_a_name(make_case) -> None:
    first, second = Answers(lambda s: s.measured + 1), Answers(lambda s: s.measured + 2)
    network = tiny_network(inputs={"fill": Fill(), "other": FillBy(second)}, fill=first)
    scan = make_case().scan
    ready = network.ready(scan)
    assert set(ready.fills) == {first.key, second.key}
    assert torch.equal(network.complete(ready).sinogram, network.complete(scan).sinogram)


def test_slices_are_worked_on_one_by_one_and_put_back_in_their_places(make_case) -> None:
    scan, seen = make_case(slices=3).scan, []

    def complete(one: Scan) -> Tensor:
        seen.append((one.case_id, tuple(one.measured.shape)))
        return one.measured + one.fills["li"]

    assert torch.equal(each_slice(scan, complete), scan.measured + scan.fills["li"])
    assert seen == [((name,), (1, 1, 48, 65)) for name in scan.case_id for _ in range(3)]


def test_a_method_adds_nothing_to_the_image_and_works_on_every_geometry(make_case) -> None:
    scan = make_case().scan
    image = torch.zeros(2, 1, 8, 8)
    plain = Answers(lambda s: s.measured)
    assert plain.finish(scan, image, image + 1) is image
    plain.check(scan.ray)
    assert plain.completes and not plain.own_image and plain.device == torch.device("cpu")


def test_a_method_without_a_trace_says_so(make_case) -> None:
    with pytest.raises(NotImplementedError, match="Method must say in trace"):
        Method().complete(make_case().scan)
