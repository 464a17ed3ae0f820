"""Cases on disk: every bit back, shards whole or absent, damage found, no pickles."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctmar.case import Case
from ctmar.data.encoding import decode, digest, encode
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform

Make = Callable[[int], Case]
SCAN = ("measured", "metal_trace", "metal_mask", "metal_path_mm", "mu_water")
TRUTH = ("clean", "reference_hu", "body_mask", "tissue_labels")
RAY, KVP = RayTransform(ImageGrid((8, 8), 1.0), ParallelBeam(48, 65, 1.0)), 120.0


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Make:
    def make(index: int) -> Case:
        made = make_case(batch=1, slices=3, seed=index)
        rng = torch.Generator().manual_seed(index)
        reference_hu = 300 * torch.randn((1, 3, 8, 8), generator=rng)
        told = {"kind": "made up", "plan": {"number": index}}
        scan = replace(
            made.scan,
            metal_mask=reference_hu > 400,
            ray=RAY,
            kvp=(KVP,),
            case_id=(f"train-{index:05d}",),
            deviations={"nmar": made.scan.metal_path_mm / 7},
        )
        body, labels = reference_hu > -400, reference_hu.abs().clamp(max=255).byte()
        truth = replace(made.truth, reference_hu=reference_hu, body_mask=body, tissue_labels=labels)
        return Case(scan, replace(truth, parameters=(told,)))

    return make


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def equal(a: Case, b: Case) -> bool:
    scan = all(same(getattr(a.scan, n), getattr(b.scan, n)) for n in SCAN)
    truth = all(same(getattr(a.truth, n), getattr(b.truth, n)) for n in TRUTH)
    fills = a.scan.fills.keys() == b.scan.fills.keys() and all(
        same(a.scan.fills[n], b.scan.fills[n]) for n in a.scan.fills
    )
    names = (a.scan.case_id, a.truth.parameters) == (b.scan.case_id, b.truth.parameters)
    fills = fills and a.scan.deviations.keys() == b.scan.deviations.keys()
    fills = fills and all(same(a.scan.deviations[n], b.scan.deviations[n]) for n in a.scan.deviations)
    return scan and truth and fills and names and (a.scan.ray, a.scan.kvp) == (b.scan.ray, b.scan.kvp)


def test_a_case_comes_back_to_the_last_bit(case: Make) -> None:
    made = case(0)
    arrays = encode(made)
    assert arrays["clean"].shape == (int(made.scan.metal_trace.sum()),)
    assert equal(decode(arrays, RAY, KVP), made)


def test_that_an_image_was_cut_off_is_kept(case: Make) -> None:
    whole = case(0)
    cut = replace(whole, scan=replace(whole.scan, clipped=(True,)))
    read = [decode(encode(one), whole.scan.ray, KVP).scan.clipped for one in (whole, cut)]
    assert read == [(), (True,)]


def test_the_arrays_of_a_case_keep_their_names_types_and_shapes(case: Make) -> None:
    """Shards of earlier versions hold these: another name or shape would leave them unreadable."""
    made = case(0)
    arrays, rays = encode(made), int(made.scan.metal_trace.sum())
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items() if name != "about"} == {
        "metal_trace": ("|u1", (3 * 48 * 65 // 8,)),
        "metal_mask": ("|u1", (3 * 8 * 8 // 8,)),
        "body_mask": ("|u1", (3 * 8 * 8 // 8,)),
        "tissue_labels": ("|u1", (3, 8, 8)),
        "mu_water": ("<f4", ()),
        "measured": ("<f4", (3, 48, 65)),
        "reference_hu": ("<f4", (3, 8, 8)),
        "clean": ("<f4", (rays,)),
        "fill_li": ("<f4", (rays,)),
        "fill_nmar": ("<f4", (rays,)),
        "deviation_nmar": ("<f4", (rays,)),
        "metal_path_mm": ("<f4", (rays,)),
    }
    about = b'{"case_id": "train-00000", "parameters": {"kind": "made up", "plan": {"number": 0}}}'
    assert arrays["about"].dtype == np.uint8 and arrays["about"].tobytes() == about


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_read_is_written_as_the_same_bytes(case: Make, dtype: str) -> None:
    made = case(0)
    arrays = encode(made, dtype)
    again = encode(decode(arrays, RAY, KVP), dtype)
    assert list(again) == list(arrays) and digest(again) == digest(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype and again[name].tobytes() == array.tobytes(), name


def test_half_precision_rounds_sinograms_and_keeps_the_contract(case: Make) -> None:
    made = case(0)
    again = decode(encode(made, "float16"), RAY, KVP)
    assert again.scan.measured.dtype == torch.float32
    torch.testing.assert_close(again.scan.measured, made.scan.measured, rtol=2**-10, atol=1e-6)
    assert not torch.equal(again.scan.measured, made.scan.measured)
    off = ~again.scan.metal_trace
    assert torch.equal(again.truth.clean[off], again.scan.measured[off])
    assert torch.equal(again.scan.metal_mask, made.scan.metal_mask)


@pytest.mark.parametrize("field", ["clean", "metal_path_mm", "fills", "deviations"])
def test_a_case_that_breaks_the_contract_is_not_kept(case: Make, field: str, tmp_path: Path) -> None:
    made = case(0)
    scan, truth = made.scan, made.truth
    fields = {"clean": truth.clean, "metal_path_mm": scan.metal_path_mm}
    fields |= {"fills": scan.fills["li"], "deviations": scan.deviations["nmar"]}
    broken = fields[field].clone()
    broken[tuple(torch.nonzero(~scan.metal_trace)[7])] += 1
    if field == "clean":
        made = Case(scan, replace(truth, clean=broken))
    else:
        changed = {field: broken if field == "metal_path_mm" else {"li": broken}}
        made = Case(replace(scan, **changed), truth)
    with pytest.raises(CtmarError, match="off the metal trace, got other values"):
        CaseStore(tmp_path).save("train", 0, made)
    assert not list(tmp_path.iterdir())


def test_a_case_that_cannot_be_written_leaves_nothing(
    case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        CaseStore(tmp_path).save("train", 0, case(0))
    assert not list((tmp_path / "train").iterdir())
    with pytest.raises(CtmarError, match="dtype must be one of float32, float16, got 'int8'"):
        CaseStore(tmp_path, "int8")


def test_shards_hold_what_the_files_held(case: Make, tmp_path: Path) -> None:
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
        found = store.load("train", index, RAY, KVP)
        assert found is not None and equal(found, case(index))
    store.save("train", 3, case(3))
    store.pack("train", range(4))
    assert (tmp_path / "train" / "shard-00001.h5").is_file() and not (
        tmp_path / "train" / "00002.h5"
    ).exists()
    told = list(store.about("train", range(5)))
    assert [line["parameters"]["plan"]["number"] for line in told] == list(range(5))
    assert [line["sha256"] for line in told] == [digest(encode(case(index))) for index in range(5)]


def test_the_same_cases_are_the_same_shard(case: Make, tmp_path: Path) -> None:
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        store = CaseStore(tmp_path / folder, shard_cases=3)
        for index in order:
            store.save("train", index, case(index))
        store.pack("train", range(3))
    shards = [(tmp_path / folder / "train" / "shard-00000.h5").read_bytes() for folder in "ab"]
    assert shards[0] == shards[1]


def test_damage_is_found_and_the_case_missing(case: Make, tmp_path: Path) -> None:
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
    assert store.load("train", 2, RAY, KVP) is None and store.load("train", 0, RAY, KVP) is not None


def test_pickles_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "00000.h5.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "train" / "00000.h5.npy").rename(tmp_path / "train" / "00000.h5")
    assert CaseStore(tmp_path).load("train", 0, RAY, KVP) is None


def test_a_closed_set_takes_no_new_cases(case: Make, tmp_path: Path) -> None:
    with pytest.raises(CtmarError, match="other code made that set"):
        CaseStore(tmp_path, closed=True).save("train", 0, case(0))
    with pytest.raises(CtmarError, match="shard_cases must be a positive whole number, got 0"):
        CaseStore(tmp_path, shard_cases=0)
