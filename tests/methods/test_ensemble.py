"""The mean of several methods."""

from dataclasses import replace

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR, Uncorrected, Zero
from ctmar.methods.ensemble import Ensemble
from ctmar.operators import RayTransform
from tests.tiny_network import tiny_network

PAIR = {"li": LI(), "nmar": NMAR()}


@pytest.mark.parametrize("shares", [(1, 1), (1, 3), (0.2, 0.6), (5.0, 0.5)])
def test_the_mean_is_by_shares_of_their_sum(make_case, shares: tuple[float, float]) -> None:
    scan = make_case(slices=3).scan
    found = Ensemble(PAIR, shares).complete(scan)
    li, nmar = (scan.fills[name] * share for name, share in zip(PAIR, shares, strict=True))
    on, off = scan.metal_trace, ~scan.metal_trace
    torch.testing.assert_close(found.sinogram[on], ((li + nmar) / sum(shares))[on])
    assert torch.equal(found.sinogram[off], scan.measured[off]) and found.deviation is None


def test_one_alone_is_itself_and_equal_shares_do_not_depend_on_their_size(make_case) -> None:
    scan = make_case().scan
    assert torch.equal(Ensemble({"li": LI()}, [7]).complete(scan).sinogram, scan.fills["li"])
    halves, ones = (Ensemble(PAIR, [share] * 2).complete(scan).sinogram for share in (0.5, 1))
    assert torch.equal(halves, ones)


@pytest.mark.parametrize(
    "shares", [(), (1,), (1, 1, 1), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))]
)
def test_shares_that_weigh_nothing_or_not_each_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(CtmarError, match=r"shares must be a positive number for each of li, nmar, got \["):
        Ensemble(PAIR, shares)


def test_no_method_has_no_mean() -> None:
    with pytest.raises(CtmarError, match="methods must be one or more, got none"):
        Ensemble({}, [])


def test_it_works_on_the_slices_that_one_of_them_needs(make_case) -> None:
    one, three = tiny_network(), tiny_network(slices=3)
    scan = make_case(slices=3).scan
    assert Ensemble(PAIR, [1, 1]).slices is None
    assert Ensemble({"li": LI(), "one": one}, [1, 1]).slices == 1
    assert Ensemble({"li": LI(), "three": three}, [1, 1]).slices == 3
    alone = Ensemble({"li": LI(), "one": one}, [1, 1]).complete(scan).sinogram
    assert alone.shape == scan.center().measured.shape
    assert Ensemble({"li": LI(), "three": three}, [1, 1]).complete(scan).sinogram.shape == scan.measured.shape


def test_methods_of_one_and_of_three_slices_have_no_mean() -> None:
    methods = {"one": tiny_network(), "three": tiny_network(slices=3)}
    with pytest.raises(CtmarError, match="methods must work on the same number of slices, got 1, 3"):
        Ensemble(methods, [1, 1])


def test_it_refuses_a_geometry_that_one_of_them_refuses() -> None:
    ray = RayTransform(ImageGrid((8, 8), 1.0), ParallelBeam(48, 65, 1.0, det_offset_mm=0.2))
    Ensemble(PAIR, [1, 1]).check(ray)
    with pytest.raises(CtmarError, match="wrap_views must have uniform views over π and a centred detector"):
        Ensemble({"li": LI(), "network": tiny_network()}, [1, 1]).check(ray)


def test_completions_at_hand_are_taken(make_case) -> None:
    scan = make_case().scan
    shifted = replace(scan, fills=scan.fills | {"li": scan.fills["li"] + 2})
    methods = {"li": LI(), "zero": Zero()}
    found, moved = (Ensemble(methods, [1, 1]).complete(s).sinogram for s in (scan, shifted))
    torch.testing.assert_close(moved[scan.metal_trace], found[scan.metal_trace] + 1)


def test_its_completion_is_no_other_ensembles(make_case) -> None:
    first, second = (Ensemble({"raw": Uncorrected(), "zero": Zero()}, [1, share]) for share in (1, 2))
    assert first.name == second.name == "ensemble"
    assert first.key != second.key
    assert Ensemble(PAIR, [1, 1], name="both").name == "both"
