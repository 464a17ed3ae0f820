"""Training on a published set: its patients divided, its metals drawn, its sinograms as measured."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ctmar.config.build import build_source
from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import benchmark
from ctmar.jobs.evaluate import run as evaluate
from ctmar.jobs.published import PublishedSet, of_files
from ctmar.jobs.train import train
from ctmar.pairs import PairedSynDeepLesion
from tests.published_files import write_slice
from tests.tiny_runs import Compose

SCANS = ("000001_03_01", "000001_04_02", "000002_01_01", "000003_01_01", "000004_02_01")
"""Of four patients."""
OWN = ["geometry=syndeeplesion", "data=syndeeplesion"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of five slices with three metals each, laid out as the real one."""
    folder = tmp_path_factory.mktemp("set")
    first = write_slice(folder, patient=SCANS[0])
    for number in (5, 6):
        (first / f"{number}.h5").hardlink_to(first / "4.h5")
    for scan in SCANS[1:]:
        shutil.copytree(first, folder / "train_640geo" / scan / "113", copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


@pytest.fixture
def source(tiny: Compose, root: Path):  # type: ignore[no-untyped-def]
    """Gives ``make(*overrides)``: the source of a run on the set."""

    def make(*overrides: str) -> PairedSynDeepLesion:
        made = build_source(tiny(*OWN, f"data.root={root}", *overrides), 1)
        assert isinstance(made, PairedSynDeepLesion)
        return made

    return make


def test_no_patient_is_in_two_splits(source) -> None:
    for overrides in ((), ("data.splits={train:0.5,val:0.25,test:0.25}",)):
        made = source(*overrides)
        found = {
            split: {name.split("/")[1] for name, _ in made.cases(split)} for split in ("train", "val", "test")
        }
        assert sorted(scan for scans in found.values() for scan in scans) == sorted(SCANS)
        assert found["train"] >= set(SCANS[:2])  # two scans of one patient


def test_metals_are_drawn_by_seed_and_slice_or_all_taken(source) -> None:
    one = source().cases("train")
    assert len(one) == len({name for name, _ in one}) == 3
    assert one == source().cases("train")
    drawn = {tuple(source(f"data.seed={seed}").cases("train")) for seed in range(6)}
    assert len(drawn) > 1 and {number for cases in drawn for _, number in cases} == {4, 5, 6}
    assert [n for _, n in source("data.drawn=null").cases("train")] == [4, 5, 6] * 3
    assert [n for _, n in source("data.drawn=7", "data.masks=[5,6]").cases("train")] == [5, 6] * 3
    # What a slice gets does not depend on which others there are.
    alone = source("data.splits={test:['*/000003*']}").cases("test")
    everyone = source("data.splits={test:1.0}").cases("test")
    assert set(alone) <= set(everyone)


def test_a_case_is_the_benchmark_s(source, tiny: Compose, root: Path) -> None:
    beam = ["geometry.beam.det_count=1185", "geometry.beam.det_spacing_mm=0.48076923", "data.fills=[]"]
    made = source(*beam, "data.splits={test:1.0}", "data.masks=[4]")
    ours = made.case("test", 0)
    of = ["benchmark=syndeeplesion", f"benchmark.root={root}", "model=li", "data.fills=[]"]
    theirs = PublishedSet(of_files(tiny(*of, job="benchmark")), 1).files.case(0)
    assert torch.equal(ours.scan.measured, theirs.scan.measured)
    assert torch.equal(ours.truth.clean, theirs.truth.clean)
    assert torch.equal(ours.scan.metal_trace, theirs.scan.metal_trace)
    assert torch.equal(ours.scan.mu_water, theirs.scan.mu_water)
    assert ours.scan.case_id == theirs.scan.case_id and ours.truth.parameters[0]["source"] == "raw"
    assert (ours.scan.ray.grid, ours.scan.ray.beam) == (theirs.scan.ray.grid, theirs.scan.ray.beam)


def test_bad_input_is_one_line(tiny: Compose, source, root: Path, tmp_path: Path) -> None:
    empty, few = tmp_path / "empty", tmp_path / "few"
    empty.mkdir()
    write_slice(few)
    for overrides, match in (
        ((f"data.root={empty}",), "must lie under .*empty as"),
        ((f"data.root={tmp_path}/nowhere",), "must lie under .*nowhere as"),
        ((f"data.root={few}",), "there must be 3 files or groups or more to divide"),
        (
            ("data.splits={train:['*/000001_03*'],test:['*/000001_04*']}",),
            "files of one group must be in one",
        ),
        (("data.splits={train:['*/000009*']}",), "must name files that are there, got"),
        (("data.drawn=0",), "data.drawn must be 1 or more metals a slice, or null for all, got 0"),
        (("geometry=tiny",), "geometry=syndeeplesion scanner=syndeeplesion.*, got 64 × 64 pixels of 5.6 mm"),
        (("geometry/acquisition=parallel",), "got an acquisition of other rays"),
        (("geometry/acquisition=adn",), r"got an acquisition of \(320, 197\)"),
        (("scanner=standard",), "got a scanner whose patients are 1 times too small"),
    ):
        with pytest.raises(CtmarError, match=match) as caught:
            source(*overrides)
        assert "\n" not in str(caught.value)
    with pytest.raises(CtmarError, match="split train must hold a file, got none of 5"):
        source("data.splits={test:1.0}").count("train")
    with pytest.raises(
        CtmarError, match=r"split val must hold a slice with one of the metals \[9\], got none in 1"
    ):
        source("data.masks=[9]").count("val")
    with pytest.raises(CtmarError, match=r"model.slices must be 1, got 3"):
        build_source(tiny(*OWN, f"data.root={root}"), 3)


def near(summary: dict, method: str) -> float:
    return float(summary["methods"][method]["rmse_hu_near"]["mean"])


@pytest.mark.slow
def test_a_network_trained_on_the_set_is_evaluated_and_benchmarked(
    tiny: Compose, root: Path, tmp_path: Path
) -> None:
    few = ["geometry.beam.num_angles=80", "data.batch_size=1", "data.fills=[li]", "model.fill=li"]
    count = ["data.num_cases={train:2,val:1,test:1}", "trainer.max_epochs=1", f"data.root={root}"]
    train(tiny(*OWN, *few, *count, "test=false"))
    file = str(tmp_path / "run/checkpoints/best.ckpt")
    given = [f"ckpt_path={file}", "evaluation.lesions=false", "evaluation.num_panels=0", "+paths.run=again"]
    cfg = tiny(*given, job="evaluate", bare=True)
    cfg.paths.output_dir = str(tmp_path / "again")
    evaluate(cfg, given)
    alone = json.loads((tmp_path / "again/evaluation/summary.json").read_text(encoding="utf-8"))
    assert alone["source"] == "raw" and alone["off_trace_max_abs_change"] == 0.0
    assert near(alone, "model") < near(alone, "uncorrected")
    scored = [
        "benchmark=syndeeplesion",
        f"benchmark.root={root}",
        "num_cases=1",
        "model=li",
        "models=[uncorrected]",
    ]
    scored += [
        "data.fills=[]",
        "evaluation.num_panels=0",
        "benchmark.geometry.beam.num_angles=80",
        f"checkpoints={{mine:'{file}'}}",
    ]
    table = benchmark(tiny(*scored, job="benchmark"), tmp_path / "table")
    assert near(table, "mine") < near(table, "uncorrected")
