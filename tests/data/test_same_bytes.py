"""Case i is the same bytes: with any number of workers, alone or in a batch, after a resume."""

from pathlib import Path

import pytest
import torch

from ctmar.data.encoding import digest, encode
from ctmar.data.module import MARDataModule
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Noise, Scanner
from ctmar.scenes.generators import MixedGenerator

CASES = 6


def simulator() -> Simulator:
    spine = ProceduralSpine({"train": 2, "val": 1, "test": 1}, ("L1", "L2", "L3"), (2.0, 2.0, 3.0))
    return Simulator(
        spine,
        MixedGenerator(0.7),
        Scanner(noise=Noise(electronic_noise=5.0)),
        ImageGrid((64, 64), 5.6),
        ParallelBeam(48, 93, 5.6),
        fills={"li": LI(), "nmar": NMAR()},
    )


def module(folder: Path, workers: int) -> MARDataModule:
    counts = {"train": CASES, "val": 1, "test": 1}
    store = CaseStore(folder, shard_cases=4)
    return MARDataModule(simulator(), counts, store=store, num_workers=workers, in_memory=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "train").iterdir())}


def written(folder: Path, workers: int) -> dict[str, bytes]:
    module(folder, workers).prepare("train")
    return files(folder)


def packed(folder: Path) -> dict[str, bytes]:
    CaseStore(folder, shard_cases=4).pack("train", range(CASES))
    return files(folder)


@pytest.mark.slow
def test_a_case_is_the_same_bytes_however_it_was_made(tmp_path: Path) -> None:
    alone = CaseStore(tmp_path / "alone")
    for index in reversed(range(CASES)):
        alone.save("train", index, simulator().case("train", index))
    wanted = files(tmp_path / "alone")
    assert len(wanted) == CASES
    for workers in (0, 1, 4):
        assert written(tmp_path / str(workers), workers) == wanted, workers
    # A resume: two cases gone, one cut short.
    resumed = tmp_path / "0" / "train"
    for name in ("00001.h5", "00004.h5"):
        (resumed / name).unlink()
    (resumed / "00002.h5").write_bytes(wanted["00002.h5"][:500])
    assert written(tmp_path / "0", 4) == wanted
    whole = packed(tmp_path / "1")
    assert list(whole) == ["shard-00000.h5", "shard-00001.h5"]
    assert packed(tmp_path / "0") == whole and packed(tmp_path / "4") == whole
    # A set that grew: its last shard held one case less.
    grown = CaseStore(tmp_path / "grown", shard_cases=4)
    for index in range(CASES - 1):
        grown.save("train", index, simulator().case("train", index))
    grown.pack("train", range(CASES - 1))
    assert len(files(tmp_path / "grown")["shard-00001.h5"]) < len(whole["shard-00001.h5"])
    grown.save("train", CASES - 1, simulator().case("train", CASES - 1))
    assert packed(tmp_path / "grown") == whole
    # Read in batches, from shards: still the case itself.
    for batch in module(tmp_path / "4", 0).train_dataloader():
        for row, name in enumerate(batch.scan.case_id):
            single = simulator().case("train", int(name.split("-")[1])).scan
            assert torch.equal(batch.scan.measured[row], single.measured[0])
            assert torch.equal(batch.scan.fills["nmar"][row], single.fills["nmar"][0])


def test_another_case_is_other_bytes() -> None:
    made = simulator()
    digests = [
        digest(encode(made.case(split, index))) for split, index in (("train", 0), ("train", 2), ("val", 0))
    ]
    assert len(set(digests)) == 3 and digest(encode(simulator().case("train", 0))) == digests[0]
