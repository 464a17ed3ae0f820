"""Under what name a method's completion lies among a scan's fills."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Case, Scan
from ctmar.methods import LI, MBHC, NMAR
from ctmar.methods.base import Classical, filled


class Heir(NMAR):
    """NMAR by name and settings, and not by what it does."""

    def trace(self, scan: Scan) -> Tensor:
        return torch.full_like(scan.measured, 7.0)


@dataclass(frozen=True)
class Constant(Classical):
    """One that has a setting without a default."""

    name = "constant"

    value: float

    def trace(self, scan: Scan) -> Tensor:
        return torch.full_like(scan.measured, self.value)


def test_default_settings_have_the_name_and_others_one_of_their_own() -> None:
    assert (LI().key, NMAR().key, MBHC().key) == ("li", "nmar", "mbhc")
    assert len({NMAR().key, NMAR(prior_from="raw").key, NMAR(smoothing_mm=0).key, MBHC(fill=LI()).key}) == 4


def test_an_heir_that_keeps_the_name_is_not_taken_for_its_parent(make_case: Callable[..., Case]) -> None:
    scan = make_case().scan
    assert Heir().key != NMAR().key
    assert (filled(scan, Heir())[scan.metal_trace] == 7).all()
    assert torch.equal(filled(scan, NMAR()), scan.fills["nmar"])
    assert not torch.equal(filled(scan, MBHC(fill=Heir())), filled(scan, MBHC()))


def test_settings_without_a_default_are_told_apart(make_case: Callable[..., Case]) -> None:
    scan = make_case().scan
    assert Constant(1.0).key != Constant(2.0).key and "1.0" in Constant(1.0).key
    assert (filled(scan, Constant(2.0))[scan.metal_trace] == 2).all()
