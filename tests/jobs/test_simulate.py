"""Data sets on disk: resumed after kill -9, in parts, extended, refused to others, read by training."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from ctmar.config.build import build_data, build_simulator
from ctmar.config.cases import case_settings
from ctmar.data.encoding import digest, encode
from ctmar.errors import CtmarError
from ctmar.jobs.simulate import run
from tests import children

ROOT = Path(__file__).parents[2]
BASE = ["data.fills=[li]", "shard_cases=3"]


def files(folder: Path) -> dict[str, str]:
    """Every file of a set but the hidden ones, by its digest."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(found)}


def command(tmp_path: Path, folder: str, *overrides: str) -> list[str]:
    every = ["geometry=tiny", "anatomy=procedural_small", f"folder={tmp_path}/{folder}", *BASE, *overrides]
    every += [f"paths.outputs={tmp_path}/outputs", "data.num_workers=2"]
    return [sys.executable, str(ROOT / "scripts" / "simulate.py"), *every]


def simulate(
    tmp_path: Path, folder: str, *overrides: str, imported: bool | None = None
) -> subprocess.CompletedProcess[str]:
    return children.run(command(tmp_path, folder, *overrides), imported=imported)


@pytest.mark.slow
def test_a_set_killed_at_any_moment_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    # In an interpreter of its own; those that are killed are forked from one with everything imported.
    assert simulate(tmp_path, "whole", "num_cases=8", imported=False).returncode == 0
    whole = files(tmp_path / "whole")
    assert set(whole) == {
        "manifest.json",
        "train/cases.jsonl",
        *(f"train/shard-0000{n}.h5" for n in range(3)),
    }
    killed = tmp_path / "killed"
    for wanted in (1, 4):
        job = children.start(command(tmp_path, "killed", "num_cases=8"))
        deadline = time.monotonic() + 120
        while len(list(killed.glob("train/0*.h5"))) < wanted:
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.005)
        children.end(job)
        assert files(killed) != whole
    # What a process may have had in hand.
    (killed / "train" / ".00003.h5.77.part").write_bytes(b"half")
    assert simulate(tmp_path, "killed", "num_cases=8").returncode == 0
    assert files(killed) == whole
    lines = [
        json.loads(line)
        for line in (tmp_path / "whole/train/cases.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [line["case_id"] for line in lines] == [f"train-{n:05d}" for n in range(8)]
    assert all(line["parameters"]["plan"]["screws"] and line["seed"][2] == n for n, line in enumerate(lines))


def sets(tiny, folder: Path, *overrides: str):  # type: ignore[no-untyped-def]
    """A simulate job's config; the tiny run's own counts do not matter."""
    return tiny(*BASE, f"folder={folder}", *overrides, job="simulate")


@pytest.mark.slow
def test_parts_make_the_set_that_one_job_makes(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(sets(tiny, tmp_path / "one", "num_cases={train: 4, val: 1}"))
    whole = files(tmp_path / "one")
    assert {"train/cases.jsonl", "val/cases.jsonl", "val/shard-00000.h5"} < set(whole)
    for part in (1, 0):
        assert not (tmp_path / "two/train/cases.jsonl").exists()
        run(sets(tiny, tmp_path / "two", "num_cases={train: 4, val: 1}", f"part={part}", "parts=2"))
    assert files(tmp_path / "two") == whole
    # It grows: three more cases, the last shard packed anew; and a damaged one heals.
    run(sets(tiny, tmp_path / "one", "num_cases=5"))
    run(sets(tiny, tmp_path / "new", "num_cases={train: 5, val: 1}"))
    assert files(tmp_path / "one") == files(tmp_path / "new")
    shard = tmp_path / "one/train/shard-00001.h5"
    content = bytearray(shard.read_bytes())
    with h5py.File(shard) as file:  # a byte that is read: between the arrays lies some that is not
        found: list[h5py.Dataset] = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        chunk = max((item for item in found if item.chunks), key=lambda item: item.nbytes).id.get_chunk_info(
            0
        )
    content[chunk.byte_offset + chunk.size // 2] ^= 255
    shard.write_bytes(bytes(content))
    run(sets(tiny, tmp_path / "one", "num_cases=5", "verify=true"))
    assert files(tmp_path / "one") == files(tmp_path / "new")


@pytest.mark.slow
def test_training_reads_a_set_of_its_settings_and_no_other(
    tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    folder = tmp_path / "set"
    run(sets(tiny, folder, "num_cases={train: 2, val: 1, test: 1}", "model.slices=1"))
    counts = "data.num_cases={train: 2, val: 1, test: 1}"
    cfg = tiny("data.fills=[li]", counts, f"data.cache={folder}", "model.slices=1")
    case = build_simulator(cfg, 1).case("train", 1)
    with monkeypatch.context() as patch:
        patch.setattr("ctmar.data.simulate.Simulator.case", lambda *_: pytest.fail("simulated"))
        data = build_data(cfg, 1)
        data.prepare("train", "val", "test")
        assert digest(encode(data.sets["train"][1])) == digest(encode(case))
    before = files(folder)
    cfg.data.num_cases.val = 2
    build_data(cfg, 1).prepare("val")
    assert set(files(folder)) - set(before) == {"val/00001.h5"}
    changes = {
        "seed=1": r"data.seed: 0 → 1\)",
        "scanner.noise.photons_per_ray=5": r"scanner.noise.photons_per_ray: 1000000.0 → 5\)",
        "scanner=ideal": r"scanner\..*",
        "data=random": r"data.generator: RealisticGenerator → RandomGenerator\)",
    }
    for change, named in changes.items():
        with pytest.raises(CtmarError, match=rf"was made by another \({named}"):
            build_data(tiny("data.fills=[li]", f"data.cache={folder}", "model.slices=1", change), 1)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"code": "older"}), encoding="utf-8")
    data = build_data(cfg, 1)
    assert data.sets["train"][0].scan.case_id == ("train-00000",)
    cfg.data.num_cases.val = 3
    with pytest.raises(CtmarError, match="other code made that set"):
        build_data(cfg, 1).prepare("val")
    with pytest.raises(CtmarError, match="was made by other code"):
        run(sets(tiny, folder, "num_cases=2", "model.slices=1"))
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CtmarError, match="must be the manifest of a data set, schema 2"):
        build_data(cfg, 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["num_cases=0"], "num_cases must be a positive whole number, got 0"),
        (["num_cases={all: 3}"], "split must be one of train, val, test, got 'all'"),
        (["num_cases=3", "part=2", "parts=2"], "part must be a whole number from 0 to parts - 1, got 2 of 2"),
        (["num_cases=3", "dtype=int8"], "dtype must be one of float32, float16, got 'int8'"),
        (["num_cases=3", "shard_cases=0"], "shard_cases must be a positive whole number, got 0"),
    ],
)
def test_bad_sets_are_refused_before_anything_is_written(
    tiny,
    tmp_path: Path,
    overrides: list[str],
    message: str,  # type: ignore[no-untyped-def]
) -> None:
    with pytest.raises(CtmarError, match=message):
        run(sets(tiny, tmp_path / "set", *overrides))
    assert not (tmp_path / "set").exists()


def test_a_set_is_of_one_configuration_and_one_kind(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(sets(tiny, tmp_path / "set", "num_cases=1", "dtype=float16"))
    for change in ("seed=1", "data.metal=threshold", "geometry/acquisition=clinical"):
        with pytest.raises(CtmarError, match="was made by another"):
            run(sets(tiny, tmp_path / "set", "num_cases=1", "dtype=float16", change))
    with pytest.raises(CtmarError, match="dtype must be the folder's own, 'float16', got 'float32'"):
        run(sets(tiny, tmp_path / "set", "num_cases=1"))


def test_cases_have_a_seed_of_their_own_where_one_is_named(tiny):  # type: ignore[no-untyped-def]
    kept = [case_settings(tiny(f"seed={seed}", "data.seed=7"), 1) for seed in (0, 1)]
    assert kept[0] == kept[1] == case_settings(tiny("seed=7"), 1)
    assert case_settings(tiny("seed=1"), 1) != kept[0]


def test_screw_files_count_by_their_content_not_by_their_place(tiny, tmp_path):  # type: ignore[no-untyped-def]
    for name, text in (("a", "solid one"), ("b", "solid one"), ("c", "solid two")):
        (tmp_path / f"{name}.stl").write_text(text, encoding="utf-8")
    a, b, c = (case_settings(tiny(f"data.generator.screw_meshes=[{tmp_path}/{n}.stl]"), 1) for n in "abc")
    assert a == b != c
