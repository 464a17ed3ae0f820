"""Case i is the same bytes: with any number of workers, alone or in a batch, after a resume."""

from pathlib import Path

import pytest

from ctmar.anatomy.sources import ProceduralSpine
from ctmar.data.cache import save_case
from ctmar.data.module import MARDataModule
from ctmar.data.simulate import Simulator
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.physics import Scanner
from ctmar.scenes.generators import MixedGenerator

CASES = 6


def simulator() -> Simulator:
    spine = ProceduralSpine({"train": 2, "val": 1, "test": 1}, ("L1", "L2", "L3"), (2.0, 2.0, 3.0))
    return Simulator(
        spine,
        MixedGenerator(0.7),
        Scanner(electronic_noise=5.0),
        ImageGrid((64, 64), 5.6),
        ParallelBeam(48, 93, 5.6),
    )


def written(folder: Path, workers: int) -> dict[str, bytes]:
    counts = {"train": CASES, "val": 1, "test": 1}
    module = MARDataModule(simulator(), counts, folder=folder, num_workers=workers, in_memory=False)
    module.prepare("train")
    return {path.name: path.read_bytes() for path in sorted((folder / "train").iterdir())}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_a_case_is_the_same_bytes_however_it_was_made(tmp_path: Path) -> None:
    alone = {}
    for index in reversed(range(CASES)):
        save_case(tmp_path / "alone" / f"{index:05d}.npz", simulator().case("train", index))
        alone[f"{index:05d}.npz"] = (tmp_path / "alone" / f"{index:05d}.npz").read_bytes()
    for workers in (0, 1, 4):
        assert written(tmp_path / str(workers), workers) == alone, workers
    resumed = tmp_path / "0"
    for name in ("00001.npz", "00004.npz"):
        (resumed / "train" / name).unlink()
    (resumed / "train" / "00002.npz").write_bytes(alone["00002.npz"][:500])
    assert written(resumed, 4).keys() == alone.keys()
    module = MARDataModule(
        simulator(), {"train": CASES, "val": 1, "test": 1}, folder=resumed, in_memory=False
    )
    for index in range(CASES):
        module.sets["train"][index]
        path = resumed / "train" / f"{index:05d}.npz"
        assert path.read_bytes() == alone[path.name], index
