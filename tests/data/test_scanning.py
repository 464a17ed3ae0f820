"""Cases dealt over several ways to scan."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from ctmar.config.build import build_data, build_simulator
from ctmar.config.cases import case_settings
from ctmar.data.scanning import Scanning, Stations
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Faults, Noise, Scanner, Tube
from ctmar.scenes.generators import RandomGenerator

GRID, BEAM = ImageGrid((64, 64), 5.6), ParallelBeam(60, 95, 5.6)
FAN = FanBeam(180, 200, 4.0, src_radius_mm=541.0, det_radius_mm=408.0, detector="arc")
SPINE = ProceduralSpine(num_bodies={"train": 2}, levels=("L1", "L2"), spacing_mm=(2.0, 2.0, 3.0))
SOFT, FANNED = Scanner(Tube(kvp=80)), Scanner(Tube(kvp=140), noise=Noise(photons_per_ray=1e4))
SCANS = {"soft": Scanning(SOFT), "fanned": Scanning(FANNED, FAN, parts=2)}


def simulator(**options: Any) -> Simulator:
    return Simulator(SPINE, RandomGenerator(), Scanner(), GRID, BEAM, slices=1, **options)


@pytest.fixture(scope="module")
def dealt() -> Simulator:
    return simulator(scans=SCANS)


def test_each_case_is_what_its_scanner_alone_makes_of_the_same_scene(dealt: Simulator) -> None:
    alone = {name: simulator(scans={name: one}) for name, one in SCANS.items()}
    seen = set()
    for index in range(3):
        case = dealt.case("train", index)
        name = case.truth.parameters[0]["scan"]
        wanted = alone[name].case("train", index)
        assert torch.equal(case.scan.measured, wanted.scan.measured)
        assert torch.equal(case.truth.reference_hu, wanted.truth.reference_hu)
        assert case.scan.kvp == (SCANS[name].scanner.kvp,) and case.scan.mu_water == wanted.scan.mu_water
        seen.add(name)
    assert seen == set(SCANS)


def test_one_way_to_scan_is_the_scanner_itself() -> None:
    named, plain = simulator(scans={"fanned": SCANS["fanned"]}), simulator()
    plain = Simulator(SPINE, RandomGenerator(), FANNED, GRID, BEAM, slices=1, acquisition=FAN)
    one, other = (made.case("train", 1) for made in (named, plain))
    assert torch.equal(one.scan.measured, other.scan.measured)
    assert one.truth.parameters[0].pop("scan") == "fanned" and one.truth.parameters == other.truth.parameters


def test_the_tube_voltage_of_a_set_is_told_where_it_is_one(dealt: Simulator) -> None:
    assert dealt.kvp is None and simulator().kvp == 120
    assert [dealt.scanner_of(n).kvp for n in range(3)].count(140) == 2


def test_shares_hold_in_every_round_and_no_scan_keeps_its_place() -> None:
    scans = {str(n): Scanning(SOFT, parts=n) for n in (1, 2, 4)}
    stations = Stations(scans, GRID, BEAM, "auto")
    rounds = [[stations.name(7 * k + n) for n in range(7)] for k in range(40)]
    assert all(Counter(names) == {"1": 1, "2": 2, "4": 4} for names in rounds)
    assert {names.index("1") for names in rounds} == set(range(7))
    assert rounds == [[stations.name(7 * k + n) for n in range(7)] for k in range(40)]


@pytest.mark.parametrize("parts", [0, -1, 1.5, True])
def test_parts_are_whole_numbers(parts: Any) -> None:
    with pytest.raises(CtmarError, match="parts must be a positive whole number, got"):
        replace(SCANS["soft"], parts=parts)


def test_worlds_of_several_sizes_are_refused() -> None:
    small = Scanning(Scanner(faults=Faults(shrink=2.0)))
    with pytest.raises(CtmarError, match=r"one scanner.faults.shrink, got \[1.0, 2.0\]"):
        simulator(scans=SCANS | {"small": small})


def test_the_varied_preset_deals_its_scans_and_tells_them_from_others(tiny: Callable[..., Any]) -> None:
    varied, mixed = tiny("data=varied"), tiny("data=mixed")
    scans = build_simulator(varied, 1)._stations.by_name
    assert {"standard", "soft", "blurred"} <= scans.keys()
    assert scans["soft"].scanner.kvp == 100 and scans["standard"].scanner.kvp == 120
    assert "scans" not in case_settings(mixed, 1)
    changed = tiny("data=varied", "data.scans.soft.scanner.tube.kvp=110")
    assert case_settings(varied, 1) != case_settings(changed, 1)


def test_a_batch_over_scans_reads_back_each_voltage(tiny: Callable[..., Any], tmp_path: Any) -> None:
    cfg = tiny("data=varied", f"data.cache={tmp_path}", "data.num_cases.train=4", "data.batch_size=4")
    data = build_data(cfg, 1)
    data.setup("fit")
    made, read = (next(iter(data.train_dataloader())).scan for _ in range(2))
    assert sorted(made.kvp) == sorted(read.kvp) and len(made.kvp) == 4
