"""Cases on disk: every bit back, shards whole or absent, damage found, no pickles."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctmar.data.encoding import decode, digest, encode
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.sample import IMAGE_FIELDS, SINOGRAM_FIELDS, MARSample

Make = Callable[..., MARSample]


@pytest.fixture
def case(make_sample: Make) -> Callable[[int], MARSample]:
    def make(index: int) -> MARSample:
        batch = make_sample(batch=1, slices=3, seed=index)
        taken = {name: getattr(batch, name)[0] for name in (*SINOGRAM_FIELDS, *IMAGE_FIELDS, "mu_water")}
        rng = torch.Generator().manual_seed(index)
        taken["reference_hu"] = 300 * torch.randn((3, 8, 8), generator=rng)
        taken["metal_mask"] = taken["reference_hu"] > 400
        fills = {name: fill[0] for name, fill in batch.fills.items()}
        path = torch.where(taken["metal_trace"], taken["metal_path_mm"], torch.zeros(()))
        told = {"kind": "made up", "plan": {"number": index}}
        return MARSample(
            **taken | {"metal_path_mm": path}, fills=fills, case_id=f"train-{index:05d}", parameters=told
        )  # type: ignore[arg-type]

    return make


def equal(a: MARSample, b: MARSample) -> bool:
    same = all(
        torch.equal(getattr(a, n), getattr(b, n)) for n in (*SINOGRAM_FIELDS, *IMAGE_FIELDS, "mu_water")
    )
    return same and all(torch.equal(a.fills[n], b.fills[n]) for n in a.fills) and a[-2:] == b[-2:]


def test_a_case_comes_back_to_the_last_bit(case: Callable[[int], MARSample]) -> None:
    sample = case(0)
    arrays = encode(sample)
    assert arrays["clean"].shape == (int(sample.metal_trace.sum()),)
    assert equal(decode(arrays), sample)


def test_half_precision_rounds_sinograms_and_keeps_the_contract(case: Callable[[int], MARSample]) -> None:
    sample = case(0)
    again = decode(encode(sample, "float16"))
    assert again.measured.dtype == torch.float32
    torch.testing.assert_close(again.measured, sample.measured, rtol=2**-10, atol=1e-6)
    assert not torch.equal(again.measured, sample.measured)
    off = ~again.metal_trace
    assert torch.equal(again.clean[off], again.measured[off])
    assert torch.equal(again.metal_mask, sample.metal_mask)


@pytest.mark.parametrize("field", ["clean", "metal_path_mm", "fills"])
def test_a_case_that_breaks_the_contract_is_not_kept(
    case: Callable[[int], MARSample], field: str, tmp_path: Path
) -> None:
    sample = case(0)
    place = tuple(torch.nonzero(~sample.metal_trace)[7])
    broken = (sample.fills["li"] if field == "fills" else getattr(sample, field)).clone()
    broken[place] += 1
    changed = {"fills": {"li": broken}} if field == "fills" else {field: broken}
    with pytest.raises(CtmarError, match="off the metal trace, got other values"):
        CaseStore(tmp_path).save("train", 0, sample._replace(**changed))
    assert not list(tmp_path.iterdir())


def test_a_case_that_cannot_be_written_leaves_nothing(
    case: Callable[[int], MARSample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        CaseStore(tmp_path).save("train", 0, case(0))
    assert not list((tmp_path / "train").iterdir())
    with pytest.raises(CtmarError, match="dtype must be one of float32, float16, got 'int8'"):
        CaseStore(tmp_path, "int8")


def test_shards_hold_what_the_files_held(case: Callable[[int], MARSample], tmp_path: Path) -> None:
    store = CaseStore(tmp_path, shard_cases=2)
    for index in (0, 1, 2, 4):
        store.save("train", index, case(index))
    (tmp_path / "train" / ".00001.h5.7.part").write_bytes(b"killed")
    store.pack("train", range(5))
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    # Case 3 is not there, so its shard is not whole.
    assert names == ["00002.h5", "shard-00000.h5", "shard-00002.h5"]
    assert store.missing("train", range(6)) == [3, 5]
    for index in (0, 1, 2, 4):
        found = store.load("train", index)
        assert found is not None and equal(found, case(index))
    store.save("train", 3, case(3))
    store.pack("train", range(4))
    assert (tmp_path / "train" / "shard-00001.h5").is_file() and not (
        tmp_path / "train" / "00002.h5"
    ).exists()
    told = list(store.about("train", range(5)))
    assert [line["parameters"]["plan"]["number"] for line in told] == list(range(5))
    assert [line["sha256"] for line in told] == [digest(encode(case(index))) for index in range(5)]


def test_the_same_cases_are_the_same_shard(case: Callable[[int], MARSample], tmp_path: Path) -> None:
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        store = CaseStore(tmp_path / folder, shard_cases=3)
        for index in order:
            store.save("train", index, case(index))
        store.pack("train", range(3))
    shards = [(tmp_path / folder / "train" / "shard-00000.h5").read_bytes() for folder in "ab"]
    assert shards[0] == shards[1]


def test_damage_is_found_and_the_case_missing(case: Callable[[int], MARSample], tmp_path: Path) -> None:
    store = CaseStore(tmp_path)
    for index in range(3):
        store.save("train", index, case(index))
    path = tmp_path / "train" / "00001.h5"
    with h5py.File(path, "r+") as file:
        file["00001"]["measured"][0, 0, 0] += 1.0
    assert store.verify("train", range(5)) == [1] and store.missing("train", range(3)) == [1]
    # A flipped byte in the compressed data does not pass the chunk's own checksum.
    path = tmp_path / "train" / "00002.h5"
    with h5py.File(path, "r") as file:
        place = file["00002"]["measured"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 40] ^= 1
    path.write_bytes(bytes(content))
    assert store.load("train", 2) is None and store.load("train", 0) is not None


def test_pickles_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "00000.h5.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "train" / "00000.h5.npy").rename(tmp_path / "train" / "00000.h5")
    assert CaseStore(tmp_path).load("train", 0) is None


def test_a_closed_set_takes_no_new_cases(case: Callable[[int], MARSample], tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="other code made that set"):
        CaseStore(tmp_path, closed=True).save("train", 0, case(0))
    with pytest.raises(CtmarError, match="shard_cases must be a positive whole number, got 0"):
        CaseStore(tmp_path, shard_cases=0)
