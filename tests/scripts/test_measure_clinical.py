"""``scripts/measure_clinical.py``: its table's arithmetic, what it measures of a scan, what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.clinical import STORED, correct
from ctmar.config.build import build_simulator
from ctmar.learned.pretrained import Pretrained
from ctmar.methods.ensemble import Ensemble
from ctmar.metrics import near_metal_mask
from ctmar.stored.methods import DEFAULT_METHOD
from scripts import measure_clinical

KEYS = {"method", "mean", "median", "off_uncorrected", "worse_than_uncorrected"}


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["measure_clinical.py", *map(str, words)])
    return measure_clinical.main()


def test_the_table_is_of_means_over_the_scans() -> None:
    errors = {"uncorrected": [100.0, 200.0, 300.0, 400.0], "a": [105.0, 211.0, 30.0, 54.0]}
    before, after = measure_clinical.table(errors)
    assert before == {
        "method": "uncorrected",
        "mean": 250.0,
        "median": 250.0,
        "off_uncorrected": 0.0,
        "worse_than_uncorrected": 0,
    }
    assert (after["method"], after["mean"], after["median"]) == ("a", 100.0, 79.5)
    assert after["off_uncorrected"] == pytest.approx(0.6)  # of the means, not the mean of 1 - ratios
    assert after["worse_than_uncorrected"] == 1  # 5 % is not more than 5 %, 5.5 % is


def test_the_rows_are_written_as_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[str], bool, int, str]] = []

    def simulated(methods: dict, clipped: bool, scans: int, split: str) -> tuple[dict, dict]:
        asked.append((list(methods), clipped, scans, split))
        reading = measure_clinical.Reading(0.9, 4, 1, -20.0), measure_clinical.Reading(0.7, 4, 0, 10.0)
        return {"uncorrected": [100.0, 300.0]} | {name: [50.0, 50.0] for name in methods}, {"nmar": reading}

    monkeypatch.setattr(measure_clinical, "simulated", simulated)
    words = ["simulated", "--scans", "14", "--clipped", "--methods", "default,nmar,pretrained_mbhc"]
    assert run(monkeypatch, *words, "--json", tmp_path / "f.json") == 0
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    rows = found["rows"]
    assert found["name"] == "clinical-cut-off" and found["errors"]["nmar"] == [50.0, 50.0]
    assert found["tables"][0]["rows"][1] == ["default", [50.0, 50.0, 50.0], 50.0, 75.0]
    assert found["tables"][1]["rows"] == [] and found["tables"][2]["rows"][0] == ["default", 0]
    assert found["tables"][3]["rows"] == [["nmar", 0.8, 0.7, 12.5, 8, -5.0, -20.0, 2]]
    assert asked == [(["default", "nmar", "pretrained_mbhc"], True, 14, "test")]
    assert [row["method"] for row in rows] == ["uncorrected", "default", "nmar", "pretrained_mbhc"]
    assert all(set(row) == KEYS for row in rows) and rows[1]["off_uncorrected"] == 0.75
    assert "75.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("simulated", "--scans", "41"), "argument --scans: invalid choice: 41"),
        (("simulated", "--methods", "magic"), "--methods must be from default, physics, mbhc, nmar"),
        (("simulated", "--json", "/no/such/f.json"), "--json must lie in a folder that exists"),
        (("series",), "series needs a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        status = run(monkeypatch, *words)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_there_are_as_many_scans_as_said_and_the_fourteen_are_among_the_forty() -> None:
    for scans, kinds in measure_clinical.SIZES.items():
        assert sum(kind.scans for kind in kinds) == scans
    assert measure_clinical.SIZES[40][:3] == measure_clinical.SETS
    for kind in measure_clinical.OTHERS:  # each composes
        measure_clinical.config(
            f"anatomy={kind.anatomy}", f"data={kind.data}", *measure_clinical.USUAL, *kind.more
        )


def test_methods_are_held_against_mbhc_scan_by_scan() -> None:
    errors = {"uncorrected": [100.0, 300.0], "mbhc": [80.0, 120.0], "physics": [40.0, 60.0]}
    tables = measure_clinical.error_tables(errors, measure_clinical.table(errors))
    assert tables[1].title == "Against mbhc, paired"
    assert tables[1].rows == [["uncorrected", (-100.0, -150.0, -25.0)], ["physics", (50.0, 50.0, 50.0)]]


@pytest.mark.parametrize("clipped", [False, True])
def test_names_are_those_of_the_correction(clipped: bool) -> None:
    assert measure_clinical.maker("default")(clipped) is STORED[DEFAULT_METHOD]
    assert measure_clinical.maker("tv")(clipped) is STORED["tv"]
    network, mean = (measure_clinical.maker(name)(clipped) for name in ("pretrained", "pretrained_mbhc"))
    assert isinstance(network, Pretrained) and isinstance(mean, Ensemble)
    assert network.card["trained_on"]["data"].get("extended_scale", False) != clipped


@pytest.mark.parametrize("clipped", [False, True])
def test_a_scan_is_measured_near_its_metal(clipped: bool) -> None:
    cfg = measure_clinical.config("anatomy=procedural_small", "geometry=tiny", "data=random")
    simulator = build_simulator(cfg, 1)
    told: list[bool] = []

    def make_method(cut_off: bool) -> measure_clinical.NMAR:
        told.append(cut_off)
        return measure_clinical.NMAR()

    found, read = measure_clinical.one_case(simulator, 0, {"mine": make_method}, clipped)
    assert set(found) == {"uncorrected", "mine", "raw li", "raw nmar"} and len(told) == 1
    case, spacing = simulator.case("test", 0), simulator.ray.grid.spacing_mm
    stored = case.scan.image_hu(case.scan.measured)[0, 0].numpy().round()
    stored = stored.clip(-1024, 3071) if clipped else stored
    image = correct(stored[None], (spacing, spacing, 1.0), method="nmar")[0]
    near = near_metal_mask(case.truth.body_mask[0, 0], case.scan.metal_mask[0, 0], spacing)
    error = torch.from_numpy(image - case.truth.reference_hu[0, 0].numpy())[near]
    assert found["mine"] == pytest.approx(float(np.sqrt(np.mean(error.numpy() ** 2))), rel=1e-6)
    assert set(read) == {"uncorrected", "mine"} and np.isnan(read["uncorrected"].dice)
    assert 0.0 < read["mine"].dice <= 1.0
