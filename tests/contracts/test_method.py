"""What every method must keep, and methods that break each rule, which its check must refuse.

A function of somebody else's is no such method: what it does off the trace is kept, to be seen
(tests/methods/test_elsewhere.py). Nor is a folder of images, which completes nothing.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ctmar.methods
from ctmar.case import Case, Scan, Truth, collate
from ctmar.data.encoding import decode, encode
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import Pretrained
from ctmar.methods import FSNMAR, LI, MBHC, NMAR, TV, Completed, Method, Physics, Uncorrected, Zero
from ctmar.methods.base import Classical
from ctmar.methods.ensemble import Ensemble
from ctmar.operators import RayTransform
from tests.methods.disk import BEAM, disk_case
from tests.tiny_network import tiny_network

METHODS: dict[str, Callable[[], Method]] = {
    "uncorrected": Uncorrected,
    "zero": Zero,
    "li": LI,
    "nmar": NMAR,
    "nmar, raw prior": lambda: NMAR(prior_from="raw", segmentation="kmeans"),
    "fsnmar": FSNMAR,
    "mbhc": MBHC,
    "mbhc of li": lambda: MBHC(fill=LI(), photons_per_ray=None),
    "tv": lambda: TV(steps=2),
    "physics": lambda: Physics(steps=2),
    "ensemble": lambda: Ensemble({"li": LI(), "mbhc": MBHC()}, [1, 2]),
    "network": tiny_network,
    "network of three slices": lambda: tiny_network(slices=3),
    "network of the whole detector": lambda: tiny_network(margin_bins=None, fill=Zero()),
    "pretrained": lambda: Pretrained(tiny_network(), BEAM, symmetries=2),
}


@pytest.fixture(scope="module")
def case() -> Case:
    return disk_case()


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]()


def complete(method: Method, scan: Scan) -> Tensor:
    with torch.inference_mode():
        return method.complete(scan).sinogram.clone()


def bits(sinogram: Tensor) -> Tensor:
    return sinogram.contiguous().view(torch.int32)


def same_bits(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype == torch.float32 and torch.equal(bits(first), bits(second))


def copy_of(scan: Scan) -> Scan:
    """The scan in memory of its own."""
    owned = scan.sinograms(torch.clone)
    return replace(owned, metal_mask=scan.metal_mask.clone(), mu_water=scan.mu_water.clone())


def contents(scan: Scan) -> dict[str, Tensor]:
    names = ("measured", "metal_trace", "metal_mask", "metal_path_mm", "mu_water")
    return {name: getattr(scan, name) for name in names} | scan.fills


# The checks: each takes a method and a case, and fails by assertion.


def off_the_trace_every_bit_stays(method: Method, case: Case) -> None:
    scan = method.select(copy_of(case.scan))
    before = copy_of(scan)
    completed = complete(method, scan)
    off = ~before.metal_trace
    assert completed.shape == before.measured.shape
    assert same_bits(completed[off], before.measured[off])
    assert torch.isfinite(completed).all()


def no_trace_changes_nothing(method: Method, case: Case) -> None:
    scan = method.select(replace(case.scan, measured=case.truth.clean))
    clean = replace(
        copy_of(scan),
        metal_trace=torch.zeros_like(scan.metal_trace),
        metal_mask=torch.zeros_like(scan.metal_mask),
        metal_path_mm=torch.zeros_like(scan.metal_path_mm),
    )
    before = clean.measured.clone()
    assert same_bits(complete(method, clean), before)


def a_batch_is_completed_as_one_by_one(method: Method, case: Case) -> None:
    together = complete(method, copy_of(case.scan))
    alone = torch.cat([complete(method, copy_of(case.scan.one(n))) for n in range(len(case))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together, together.flip(0), rtol=1e-3, atol=1e-3)


def the_scan_is_not_written_to(method: Method, case: Case) -> None:
    scan, before = copy_of(case.scan), contents(copy_of(case.scan))
    complete(method, scan)
    after = contents(scan)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def the_same_scan_gives_the_same_bits(method: Method, case: Case) -> None:
    first, second = (complete(method, copy_of(case.scan)) for _ in range(2))
    assert same_bits(first, second)


def only_the_scan_decides(method: Method, case: Case) -> None:
    """Neither what the cases are called, nor the state of a random generator."""
    torch.manual_seed(1)
    first = complete(method, copy_of(case.scan))
    torch.manual_seed(2)
    other = replace(copy_of(case.scan), case_id=("a", "b"))
    assert same_bits(complete(method, other), first)


CHECKS = (
    off_the_trace_every_bit_stays,
    no_trace_changes_nothing,
    a_batch_is_completed_as_one_by_one,
    the_scan_is_not_written_to,
    the_same_scan_gives_the_same_bits,
    only_the_scan_decides,
)
Check = Callable[[Method, Case], None]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_method_keeps_the_rule(method: Method, case: Case, check: Check) -> None:
    check(method, case)


def test_every_classical_method_of_the_package_is_among_them() -> None:
    tried = {type(make()) for make in METHODS.values()}
    known = {found for found in vars(ctmar.methods).values() if isinstance(found, type)}
    assert {kind for kind in known if issubclass(kind, Classical)} <= tried
    assert {NetworkMethod, Pretrained, Ensemble} <= tried


def reachable(start: Any, limit: int = 200_000) -> list[Any]:
    """Objects that lead on from ``start``; not through modules, classes and functions to all there is."""
    seen: dict[int, Any] = {id(start): start}
    queue = [start]
    while queue and len(seen) < limit:
        for found in gc.get_referents(queue.pop()):
            walls = (ModuleType, FunctionType, BuiltinFunctionType, type)
            if id(found) not in seen and not isinstance(found, walls):
                seen[id(found)] = found
                queue.append(found)
    assert not queue
    return list(seen.values())


def places(values: list[Any]) -> set[int]:
    """Where the tensors and arrays among them lie."""
    tensors = {v.untyped_storage().data_ptr() for v in values if isinstance(v, Tensor)}
    arrays = {v.__array_interface__["data"][0] for v in values if isinstance(v, np.ndarray)}
    return tensors | arrays


def leads_to_the_truth(scan: Scan, truth: Truth) -> bool:
    hidden = (truth.clean, truth.reference_hu, truth.body_mask, truth.tissue_labels)
    found = reachable(scan)
    return any(isinstance(v, Truth | Case) for v in found) or bool(places(list(hidden)) & places(found))


def cases_by_every_way(case: Case) -> dict[str, Case]:
    """Cases as a method may come by their scans."""
    stored = decode(encode(case.one(0), "float32"), case.scan.ray, None)
    return {
        "made": case,
        "centre": case.center(),
        "one": case.one(0),
        "collated": collate([case.one(0), case.one(1)]),
        "stored": stored,
    }


@pytest.mark.parametrize("way", ["made", "centre", "one", "collated", "stored"])
def test_the_truth_cannot_be_reached_from_a_scan(make_case, way: str) -> None:
    case = cases_by_every_way(make_case(slices=3))[way]
    assert not leads_to_the_truth(case.scan, case.truth)


def test_a_truth_that_can_be_reached_is_found(make_case) -> None:
    case = make_case()
    scan, truth = case.scan, case.truth
    by_fill = replace(scan, fills={"clean": truth.clean})
    by_view = replace(scan, fills={"part": truth.clean[..., :5].detach()})
    by_array = replace(scan, fills={"array": truth.clean.numpy()})  # type: ignore[dict-item]
    by_ray = replace(scan, ray=RayTransform(scan.ray.grid, scan.ray.beam))
    by_ray.ray.case = case  # type: ignore[attr-defined]
    for leaky in (by_fill, by_view, by_array, by_ray):
        assert leads_to_the_truth(leaky, truth)


@dataclass
class Breaks(Method):
    """Answers what a function says, where ``complete`` is not its own."""

    answer: Callable[[Scan], Tensor]

    def trace(self, scan: Scan) -> Tensor:
        return self.answer(scan)


class Unbound(Breaks):
    """Gives its answer as it is, off the trace too."""

    def complete(self, scan: Scan) -> Completed:
        return Completed(self.answer(scan))


def writes_measured(scan: Scan) -> Tensor:
    scan.measured[:] = 0
    return scan.measured


def writes_fills(scan: Scan) -> Tensor:
    scan.fills["mine"] = scan.measured
    return scan.measured


def mixes_the_batch(scan: Scan) -> Tensor:
    return scan.measured - scan.measured.mean(0)


def draws(scan: Scan) -> Tensor:
    return torch.rand_like(scan.measured)


def by_its_name(scan: Scan) -> Tensor:
    return scan.measured + (scan.case_id[0] == "a")


def rounds(scan: Scan) -> Tensor:
    return scan.measured.bfloat16().float()


def moves_one_ray(scan: Scan) -> Tensor:
    moved = bits(scan.measured.clone())
    moved[..., -1] += 1  # in its last bit
    return moved.view(torch.float32)


BROKEN: tuple[tuple[Check, Method], ...] = (
    (off_the_trace_every_bit_stays, Unbound(rounds)),
    (off_the_trace_every_bit_stays, Unbound(moves_one_ray)),
    (off_the_trace_every_bit_stays, Unbound(lambda s: s.measured.double())),
    (off_the_trace_every_bit_stays, Breaks(writes_measured)),
    (off_the_trace_every_bit_stays, Breaks(lambda s: torch.full_like(s.measured, torch.nan))),
    (no_trace_changes_nothing, Unbound(moves_one_ray)),
    (no_trace_changes_nothing, Unbound(lambda s: torch.where(s.metal_trace.any(), s.measured, 0.0))),
    (a_batch_is_completed_as_one_by_one, Breaks(mixes_the_batch)),
    (a_batch_is_completed_as_one_by_one, Unbound(lambda s: s.measured.flip(0))),
    (the_scan_is_not_written_to, Breaks(writes_measured)),
    (the_scan_is_not_written_to, Breaks(writes_fills)),
    (the_same_scan_gives_the_same_bits, Breaks(draws)),
    (only_the_scan_decides, Breaks(draws)),
    (only_the_scan_decides, Breaks(by_its_name)),
)


@pytest.mark.parametrize(("check", "broken"), BROKEN)
def test_a_method_that_breaks_the_rule_is_caught(case: Case, check: Check, broken: Method) -> None:
    with pytest.raises(AssertionError, match="assert|not close"):
        check(broken, case)


def test_every_check_has_a_method_that_it_refuses() -> None:
    assert {check for check, _ in BROKEN} == set(CHECKS)
