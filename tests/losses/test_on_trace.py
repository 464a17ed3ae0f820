"""The main losses in both domains: those of the error on the trace, as their functions give them."""

import pytest

from ctmar.losses.absolute import Absolute
from ctmar.losses.charbonnier import Charbonnier
from ctmar.losses.errors import absolute, charbonnier, ramp_filtered
from ctmar.losses.root import Root
from ctmar.losses.squared import Squared


@pytest.mark.parametrize("domain", ["sinogram", "ramp"])
def test_root_loss_is_the_mean_of_the_cases_roots(make_case, domain: str) -> None:
    case = make_case(batch=3)
    completed = case.scan.fills["nmar"]
    parts = [float(Squared(domain)(completed[k : k + 1], case.one(k))) ** 0.5 for k in range(3)]
    assert float(Root(domain)(completed, case)) == pytest.approx(sum(parts) / 3, abs=1.1e-3)


@pytest.mark.parametrize(("loss", "penalty"), [(Absolute, absolute), (Charbonnier, charbonnier)])
def test_absolute_losses_in_both_domains_are_those_of_the_error(make_case, loss, penalty) -> None:
    case = make_case()
    completed, bins = case.scan.fills["nmar"], case.scan.metal_trace.sum()
    for domain, change in (("sinogram", lambda e: e), ("ramp", ramp_filtered)):
        expected = penalty(change((completed - case.truth.clean) / 2), bins)
        found = loss(domain, scale=2.0)(completed, case)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
