import multiprocessing
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.case import Case, collate
from ctmar.data.dataset import CaseDataset, EpochShuffle, simulate_ahead
from ctmar.data.encoding import digest, encode
from ctmar.data.fingerprint import fingerprint, input_digest
from ctmar.data.module import MARDataModule
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.methods import LI, NMAR, linear_interpolation
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Faults, Noise, Optics, Scanner, Trace, Tube
from ctmar.physics.gantries import HelicalScan
from ctmar.scenes import MixedGenerator, RandomGenerator, RealisticGenerator
from tests.data.sources import with_source

GRID, BEAM = ImageGrid((64, 64), 5.6), ParallelBeam(48, 93, 5.6)
FAN = FanBeam(96, 90, 8.0, 541.0, 408.0, "arc", 2.0)
HELIX = HelicalScan(FAN, slice_mm=3.0, pitch=1.5)
FILLS = {"li": LI(), "nmar": NMAR()}


@pytest.fixture(scope="module")
def anatomy() -> ProceduralSpine:
    bodies = {"train": 2, "val": 1, "test": 1}
    return ProceduralSpine(num_bodies=bodies, levels=("L1", "L2", "L3"), spacing_mm=(2.0, 2.0, 3.0))


def simulator(anatomy: ProceduralSpine, **changes: object) -> Simulator:
    settings: dict = {"scanner": Scanner(), "grid": GRID, "beam": BEAM, "fills": FILLS} | changes
    return Simulator(anatomy, RealisticGenerator(), **with_source(settings))


def sinograms(case: Case) -> dict[str, torch.Tensor]:
    scan = case.scan
    own = {name: getattr(scan, name) for name in ("measured", "metal_trace", "metal_path_mm")}
    return own | {"clean": case.truth.clean}


def images(case: Case) -> dict[str, torch.Tensor]:
    own = {name: getattr(case.truth, name) for name in ("reference_hu", "body_mask", "tissue_labels")}
    return own | {"metal_mask": case.scan.metal_mask}


def equal(a: Case, b: Case) -> bool:
    pairs = [(sinograms(a), sinograms(b)), (images(a), images(b)), (a.scan.fills, b.scan.fills)]
    return all(torch.equal(one[name], other[name]) for one, other in pairs for name in one)


def test_fields_keep_the_contract(anatomy: ProceduralSpine) -> None:
    case = simulator(anatomy).case("train", 0)
    scan, truth = case.scan, case.truth
    assert len(case) == 1 and scan.case_id == ("train-00000",)
    assert all(sinogram.shape == (1, 3, 48, 93) for sinogram in sinograms(case).values())
    assert all(image.shape == (1, 3, 64, 64) for image in images(case).values())
    off = ~scan.metal_trace
    assert torch.equal(truth.clean[off], scan.measured[off])
    assert list(scan.fills) == ["li", "nmar"]
    for fill in scan.fills.values():
        assert fill.dtype == torch.float32 and torch.equal(fill[off], scan.measured[off])
    assert scan.metal_trace[0, 1].any() and scan.metal_mask[0, 1].any()
    assert not (scan.metal_mask & ~truth.body_mask).float().mean() > 0.01
    assert 0.0192 < float(scan.mu_water) < 0.0194 and scan.kvp == (Scanner().kvp,)
    (parameters,) = truth.parameters
    assert parameters["kind"] == "realistic"
    assert (parameters["source"], parameters["metal_from"]) == ("raw", "scene")
    assert torch.equal(scan.fills["li"], linear_interpolation(scan.measured, scan.metal_trace))
    assert torch.equal(scan.fills["nmar"], NMAR().complete(replace(scan, fills={})).sinogram)


@pytest.mark.parametrize("acquisition", [FAN, HELIX], ids=["fan", "helix"])
def test_a_scan_in_its_own_geometry_keeps_the_contract(
    anatomy: ProceduralSpine, acquisition: FanBeam | HelicalScan
) -> None:
    case = simulator(anatomy, acquisition=acquisition).case("train", 0)
    parallel = simulator(anatomy).case("train", 0)
    scan, truth = case.scan, case.truth
    assert all(sinogram.shape == (1, 3, 48, 93) for sinogram in sinograms(case).values())
    off = ~scan.metal_trace
    assert torch.equal(truth.clean[off], scan.measured[off])
    for fill in scan.fills.values():
        assert torch.equal(fill[off], scan.measured[off])
    assert torch.equal(truth.tissue_labels, parallel.truth.tissue_labels)
    # A helical slice shows some of its neighbours' metal.
    assert torch.equal(scan.metal_mask, parallel.scan.metal_mask) == isinstance(acquisition, FanBeam)
    assert 0.8 < float(scan.metal_mask.sum() / parallel.scan.metal_mask.sum()) < 1.5
    body = truth.body_mask & parallel.truth.body_mask
    assert float((truth.reference_hu - parallel.truth.reference_hu)[body].abs().median()) < 30
    one = simulator(anatomy, acquisition=acquisition, slices=1).case("train", 0)
    assert equal(case.center(), one)
    image = simulator(anatomy, acquisition=acquisition, slices=1, source="image").case("train", 0)
    off = ~image.scan.metal_trace
    assert torch.equal(image.truth.clean[off], image.scan.measured[off])


def test_a_helix_goes_on_beyond_the_volume(anatomy: ProceduralSpine) -> None:
    sim = simulator(anatomy, acquisition=HelicalScan(FAN, slice_mm=30.0, pitch=2.0))
    scene = sim.scene("train", 0)
    scan, cut, _ = sim.scan(scene, [np.random.SeedSequence(n) for n in range(3)])
    assert len(scan.measured) == len(cut.hu) == 3
    places = sim._stations.at(0).gantry.slices(scene.center_slice, (scene.center_slice,), 3.0)
    assert places[0] < 0 or places[-1] >= len(scene.anatomy.hu)
    assert scan.measured.isfinite().all()


def test_a_case_depends_on_seed_split_and_index_alone(anatomy: ProceduralSpine) -> None:
    first = simulator(anatomy)
    a = first.case("train", 3)
    first.case("train", 1), first.case("val", 0)
    assert equal(a, first.case("train", 3))
    fresh = ProceduralSpine(num_bodies={"train": 2, "val": 1, "test": 1}, levels=("L1", "L2", "L3"), spacing_mm=(2.0, 2.0, 3.0))  # fmt: skip  # noqa: E501
    assert equal(a, simulator(fresh).case("train", 3))
    for other in (simulator(anatomy, seed=1).case("train", 3), first.case("train", 5), first.case("val", 3)):
        assert not torch.equal(a.scan.measured, other.scan.measured)


@pytest.mark.parametrize("source", ["raw", "image"])
def test_centre_slice_is_the_same_alone(anatomy: ProceduralSpine, source: str) -> None:
    three, one = (simulator(anatomy, slices=n, source=source).case("test", 2) for n in (3, 1))
    assert equal(three.center(), one)
    assert not torch.equal(three.scan.measured[0, 0], one.scan.measured[0, 0])


@pytest.mark.slow
def test_threads_do_not_change_a_case(anatomy: ProceduralSpine) -> None:
    """At a size at which torch shares its work out; the scanner on its own does differ then."""
    sizes = {"grid": ImageGrid((192, 192), 1.9), "beam": ParallelBeam(270, 275, 1.9)}
    threads, digests, scans = torch.get_num_threads(), set(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            made = simulator(anatomy, **sizes)
            digests.add(digest(encode(made.case("train", 0))))
            noise = [np.random.SeedSequence(n) for n in range(3)]
            scans.append(made.scan(made.scene("train", 0), noise)[0].measured)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1
    assert not all(torch.equal(scan, scans[0]) for scan in scans)


def test_ideal_scanner_leaves_zero_on_the_trace(anatomy: ProceduralSpine) -> None:
    ideal = Scanner(Tube(kvp=None), noise=Noise(None), trace=Trace(measures_metal=False))
    case = simulator(anatomy, scanner=ideal, slices=1).case("train", 0)
    assert (case.scan.measured[case.scan.metal_trace] == 0).all()
    assert (case.truth.clean[case.scan.metal_trace] > 0).any()


def test_the_slice_profile_takes_in_neighbours_and_stops_at_the_volumes_ends(
    anatomy: ProceduralSpine,
) -> None:
    plain, wide = (
        Scanner(noise=Noise(None)),
        Scanner(optics=Optics(slice_profile=[1, 1, 1]), noise=Noise(None)),
    )
    sharp, soft = (simulator(anatomy, scanner=s).case("train", 3) for s in (plain, wide))
    assert soft.scan.measured.shape == sharp.scan.measured.shape
    mean = -torch.log(torch.exp(-sharp.truth.clean[0]).mean(0))
    # The middle of three slices, averaged as intensities (before the precorrection, which is near linear).
    off = ~soft.scan.metal_trace[0, 1] & ~sharp.scan.metal_trace[0].any(0)
    torch.testing.assert_close(soft.truth.clean[0, 1][off], mean[off], rtol=5e-3, atol=5e-3)
    assert torch.equal(soft.truth.tissue_labels, sharp.truth.tissue_labels)
    # Each slice shows its neighbours' metal too, so that none of it is scored as tissue.
    narrow, shown = sharp.scan.metal_mask[0], soft.scan.metal_mask[0, 1]
    assert not (narrow.any(0) & ~shown).sum() > 0.35 * narrow.any(0).sum()
    assert shown.sum() > narrow[1].sum()
    scene, edge = simulator(anatomy).scene("train", 0), simulator(anatomy, scanner=wide)
    last = len(scene.anatomy.hu) - 2
    at_end, _, _ = edge.scan(replace(scene, center_slice=last), [np.random.SeedSequence(n) for n in range(3)])
    assert at_end.measured.shape == (3, 48, 93) and at_end.measured.isfinite().all()


def test_shrunken_patients_are_the_same_patients_in_a_smaller_world(anatomy: ProceduralSpine) -> None:
    mono: dict = {"tube": Tube(kvp=None), "noise": Noise(None)}
    true, small = (simulator(anatomy, scanner=Scanner(**mono, faults=Faults(shrink=f))) for f in (1.0, 2.5))
    assert small.ray.grid.spacing_mm == pytest.approx(true.ray.grid.spacing_mm / 2.5)
    assert small.ray.beam.det_spacing_mm == pytest.approx(true.ray.beam.det_spacing_mm / 2.5)
    a, b = true.case("test", 0), small.case("test", 0)
    # The log of a mean is not linear: bins on an edge differ a little.
    torch.testing.assert_close(a.truth.clean / 2.5, b.truth.clean, rtol=2e-2, atol=5e-2)
    assert float(a.truth.clean.max() / b.truth.clean.max()) == pytest.approx(2.5, rel=0.01)
    assert (a.truth.reference_hu - b.truth.reference_hu).abs().mean() < 2.0
    assert torch.equal(a.scan.metal_mask, b.scan.metal_mask)
    assert (a.truth.body_mask ^ b.truth.body_mask).sum() < 0.01 * a.truth.body_mask.sum()


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"slices": 2}, "slices must be 1 or 3, got 2"),
        ({"source": "dicom"}, "data.source must be one of raw, image, got 'dicom'"),
        ({"metal": "guess"}, "data.metal must be one of scene, threshold, got 'guess'"),
        ({"beam": ParallelBeam(48, 64, 5.6)}, "detector must cover the image: det_count of at least 91"),
        ({"filter": "ramp"}, "filter must be one of"),
        ({"acquisition": FanBeam(96, 60, 8.0, 541.0, 408.0)}, "the fan must reach the image's edges"),
    ],
)
def test_bad_arguments_are_refused(anatomy: ProceduralSpine, changes: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        simulator(anatomy, **changes).case("train", 0)


def test_cache_gives_back_the_same_case_and_heals(anatomy: ProceduralSpine, tmp_path: Path) -> None:
    store = CaseStore(tmp_path)
    made_by = simulator(anatomy, slices=1)
    data = CaseDataset(made_by, "train", 2, store, in_memory=False)
    assert data.missing() == [0, 1]
    made = data[0]
    path = tmp_path / "train" / "00000.h5"
    assert data.missing() == [1] and [p.name for p in path.parent.iterdir()] == [path.name]
    assert equal(made, data[0]) and data[0].truth.parameters == made.truth.parameters
    path.write_bytes(path.read_bytes()[:1000])
    of = (made_by.ray, made_by.kvp)
    assert store.load("train", 0, *of) is None
    assert equal(made, data[0]) and store.load("train", 0, *of) is not None


def test_fingerprint_tells_settings_and_files_apart(tmp_path: Path) -> None:
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    first, second = tmp_path / "ct.nii", tmp_path / "other" / "moved.nii"
    second.parent.mkdir()
    first.write_bytes(b"1"), second.write_bytes(b"1")
    assert input_digest(first) == input_digest(second) != None  # noqa: E711
    first.write_bytes(b"2")
    assert input_digest(first) != input_digest(second)
    assert input_digest(tmp_path / "nowhere") is None
    before = input_digest(tmp_path)
    second.rename(tmp_path / "other" / "renamed.nii")
    assert input_digest(tmp_path) != before


@pytest.mark.slow
def test_module_batches_and_workers_agree(anatomy: ProceduralSpine, tmp_path: Path) -> None:
    counts = {"train": 3, "val": 1, "test": 2}
    module = MARDataModule(
        simulator(anatomy, slices=1), counts, batch_size=2, store=CaseStore(tmp_path), num_workers=2
    )
    module.prepare("train", "test")
    assert module.sets["train"].missing() == [] and module.sets["val"].missing() == [0]
    batch = next(iter(module.train_dataloader()))
    assert batch.scan.measured.shape == (2, 1, 48, 93) and len(batch.scan.case_id) == 2
    tests = list(module.test_dataloader())
    assert [b.scan.case_id for b in tests] == [("test-00000",), ("test-00001",)]
    module = MARDataModule(module.source, counts, store=CaseStore(tmp_path), in_memory=False, num_workers=2)
    loader = module.train_dataloader()
    first = iter(loader)
    assert len(list(first)) == 1 and iter(loader) is first  # the same processes, epoch after epoch
    direct = collate([simulator(anatomy, slices=1).case("test", 1)])
    torch.testing.assert_close(tests[1].scan.measured, direct.scan.measured)
    with pytest.raises(CtmarError, match="num_cases.val must be a positive whole number, got 0"):
        MARDataModule(module.source, counts | {"val": 0})


def test_what_is_wrong_with_a_later_split_is_said_before_the_first_is_simulated(
    anatomy: ProceduralSpine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MARDataModule(
        simulator(anatomy, slices=1), {"train": 3, "val": 1, "test": 1}, store=CaseStore(tmp_path)
    )
    case = Simulator.case

    def only_training(self: Simulator, split: str, index: int) -> Case:
        if split == "test":
            raise CtmarError("no vertebra has room")
        return case(self, split, index)

    monkeypatch.setattr(Simulator, "case", only_training)
    with pytest.raises(CtmarError, match="no vertebra has room"):
        module.prepare("train", "val", "test")
    assert module.sets["train"].missing() == [1, 2]


@pytest.mark.slow
def test_no_case_sends_tensors_to_the_process_that_makes_it(
    anatomy: ProceduralSpine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("the processes are not forked here")

    def handed_over(*_: object) -> None:
        raise AssertionError("torch hands a tensor over by a socket")

    made = CaseDataset(simulator(anatomy, slices=1), "train", 3, CaseStore(tmp_path))
    made.made(0)  # what it computed once it keeps: a filter of its ray transform
    reducers = dict.fromkeys(ForkingPickler._extra_reducers, handed_over)
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", reducers)
    with pytest.raises(AssertionError, match="by a socket"):
        ForkingPickler.dumps(torch.zeros(2))
    assert list(simulate_ahead([(f"{n}", made, n) for n in range(3)], 2, "simulating")) == [None] * 3
    assert made.missing() == []


def test_order_depends_on_seed_and_epoch_alone() -> None:
    shuffle = EpochShuffle(20, seed=4)
    first = list(shuffle)
    shuffle.set_epoch(1)
    second = list(shuffle)
    shuffle.set_epoch(0)
    assert list(shuffle) == first != second and sorted(second) == list(range(20))
    assert list(EpochShuffle(20, seed=5)) != first


@pytest.mark.parametrize("acquisition", [FAN, HELIX], ids=["fan", "helix"])
def test_own_geometries_shrink_and_take_in_neighbours_like_any_other(
    anatomy: ProceduralSpine, acquisition: FanBeam | HelicalScan
) -> None:
    mono: dict = {"tube": Tube(kvp=None), "noise": Noise(None)}
    small = simulator(
        anatomy, acquisition=acquisition, scanner=Scanner(**mono, faults=Faults(shrink=2.5))
    ).case("test", 0)
    true = simulator(anatomy, acquisition=acquisition, scanner=Scanner(**mono)).case("test", 0)
    torch.testing.assert_close(true.truth.clean / 2.5, small.truth.clean, rtol=2e-2, atol=5e-2)
    wide = Scanner(**mono, optics=Optics(slice_profile=[1, 2, 1]))
    three = simulator(anatomy, acquisition=acquisition, scanner=wide).case("test", 0)
    one = simulator(anatomy, acquisition=acquisition, scanner=wide, slices=1).case("test", 0)
    assert equal(three.center(), one)
    # A helix's collimation is its profile.
    assert torch.equal(three.truth.clean, true.truth.clean) == isinstance(acquisition, HelicalScan)


class Given:
    """A source of bodies or of scenes that gives what it is told to."""

    name = "given"

    def __init__(self, given: object) -> None:
        self.given = given

    def pick(self, split: str, index: int) -> object:
        return self.given

    def sample(self, *of: object) -> object:
        return self.given


def test_what_is_no_source_and_no_generator_is_refused(anatomy: ProceduralSpine) -> None:
    body, slices = anatomy.pick("train", 0)
    rays = {"scanner": Scanner(), "grid": GRID, "beam": BEAM}
    with pytest.raises(CtmarError, match="anatomy must have a method pick.split, index., got object"):
        Simulator(object(), RandomGenerator(), **rays)  # type: ignore[arg-type]
    with pytest.raises(CtmarError, match="data.generator must have a method sample.anatomy, slices, rng."):
        Simulator(anatomy, object(), **rays)  # type: ignore[arg-type]
    for given, message in (
        (body, "pick must give an Anatomy and a range of its slices, not empty, got Anatomy$"),
        ((body, [3]), "not empty, got Anatomy, list$"),
        ((body, range(0)), "not empty, got Anatomy, range$"),
        ((body, range(3, 5000)), f"slices must lie in 0 to {len(body.hu) - 1} of {body.name}"),
    ):
        made = Simulator(Given(given), RandomGenerator(), **rays)  # type: ignore[arg-type]
        with pytest.raises(CtmarError, match=message):
            made.scene("train", 0)
    with pytest.raises(CtmarError, match="a generator must give a Scene, got NoneType"):
        Simulator(anatomy, Given(None), **rays).scene("train", 0)  # type: ignore[arg-type]
    assert slices


def test_a_metal_that_the_scanner_does_not_know_is_refused_at_once(anatomy: ProceduralSpine) -> None:
    rays = {"grid": GRID, "beam": BEAM}
    own = Scanner(materials={"nitinol": {"formula": "NiTi", "density_g_cm3": 6.45}})
    generators = (
        RandomGenerator(materials=["316L", "nitinol"]),
        RealisticGenerator(alloys={"titanium": 0.5, "Ti-6Al-4V/nitinol": 0.5}),
        MixedGenerator(random=RandomGenerator(materials=["nitinol"])),
    )
    for generator in generators:
        assert "nitinol" in generator.materials
        Simulator(anatomy, generator, own, **rays)  # type: ignore[arg-type]
        with pytest.raises(CtmarError, match="material must be one of water, .*, got 'nitinol'"):
            Simulator(anatomy, generator, Scanner(), **rays)  # type: ignore[arg-type]
    body, slices = anatomy.pick("train", 0)
    scene = RandomGenerator(materials=["nitinol"]).sample(body, slices, np.random.default_rng(0))
    made = Simulator(anatomy, Given(scene), Scanner(), **rays)  # type: ignore[arg-type]
    with pytest.raises(CtmarError, match="material must be one of water, .*, got 'nitinol'"):
        made.scene("train", 0)
