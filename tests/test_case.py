"""What a method may see, what it may not, and batches of both."""

from dataclasses import fields, replace

import pytest
import torch

from ctmar.case import Case, Scan, Truth, collate
from ctmar.errors import CtmarError
from ctmar.operators import RayTransform
from ctmar.units import mu_to_hu

SINOGRAMS = ("measured", "metal_trace", "metal_path_mm")
IMAGES = ("reference_hu", "body_mask", "tissue_labels")


def tensors(case: Case) -> dict[str, torch.Tensor]:
    """Every tensor of a case, by name."""
    scan, truth = case.scan, case.truth
    of_scan = {name: getattr(scan, name) for name in (*SINOGRAMS, "metal_mask", "mu_water")}
    of_truth = {name: getattr(truth, name) for name in ("clean", *IMAGES)}
    told = {f"deviation {name}": deviation for name, deviation in scan.deviations.items()}
    return of_scan | of_truth | told | {f"fill {name}": fill for name, fill in scan.fills.items()}


def assert_same(case: Case, other: Case) -> None:
    assert tensors(case).keys() == tensors(other).keys()
    for name, value in tensors(case).items():
        assert value.dtype == tensors(other)[name].dtype
        assert torch.equal(value, tensors(other)[name]), name
    assert case.scan.case_id == other.scan.case_id
    assert case.truth.parameters == other.truth.parameters


def several(make_case, count: int, **shape: int) -> list[Case]:
    """Cases of their own, one a batch, told apart by their names and parameters."""
    made = [make_case(batch=1, seed=n, **shape) for n in range(count)]
    return [
        Case(
            replace(c.scan, case_id=(f"case-{n}",), deviations={"nmar": c.scan.metal_path_mm / (7 + n)}),
            replace(c.truth, parameters=({"n": n},)),
        )
        for n, c in enumerate(made)
    ]


def test_a_scan_holds_what_a_hospital_could_have_and_no_truth() -> None:
    assert [field.name for field in fields(Scan)] == [
        "measured",
        "metal_trace",
        "metal_mask",
        "metal_path_mm",
        "mu_water",
        "ray",
        "kvp",
        "fills",
        "case_id",
        "clipped",
        "deviations",
    ]
    known_alone = ("clean", "reference_hu", "body_mask", "tissue_labels", "parameters")
    assert tuple(field.name for field in fields(Truth)) == known_alone


def test_no_attribute_of_a_scan_leads_to_the_truth(make_case) -> None:
    case = make_case()
    public = [getattr(case.scan, name) for name in dir(case.scan) if not name.startswith("__")]
    assert not any(isinstance(value, Case | Truth) for value in public)
    hidden = {value.data_ptr() for value in (case.truth.clean, case.truth.reference_hu)}
    shown = (*(v for v in public if isinstance(v, torch.Tensor)), *case.scan.fills.values())
    assert hidden.isdisjoint(value.untyped_storage().data_ptr() for value in shown)
    assert not vars(case.scan).keys() & {*IMAGES, "clean", "parameters", "truth"}


def test_the_centre_of_three_slices_is_the_second_and_of_one_itself(make_case) -> None:
    case = make_case(slices=3)
    for name, value in tensors(case.center()).items():
        assert torch.equal(value, tensors(case)[name] if name == "mu_water" else tensors(case)[name][:, 1:2])
    assert case.scan.center().slices == 1 and case.scan.slices == 3
    assert_same(make_case(slices=1).center(), make_case(slices=1))


def test_slices_are_taken_of_sinograms_and_images_alike(make_case) -> None:
    case = make_case(slices=5)
    taken = case.take(slice(1, 4))
    assert (len(taken), taken.scan.slices) == (2, 3)
    for name, value in tensors(taken).items():
        assert torch.equal(value, tensors(case)[name] if name == "mu_water" else tensors(case)[name][:, 1:4])
    assert taken.scan.case_id == case.scan.case_id and taken.scan.ray is case.scan.ray


def test_one_of_a_batch_is_a_batch_of_one(make_case) -> None:
    cases = several(make_case, 3, slices=3)
    batch = collate(cases)
    for n, case in enumerate(cases):
        assert len(batch.one(n)) == 1
        assert_same(batch.one(n), case)


def test_cases_of_one_geometry_become_a_batch_in_their_order(make_case) -> None:
    cases = several(make_case, 3)
    batch = collate(cases)
    assert len(batch) == len(batch.scan) == 3
    assert batch.scan.case_id == ("case-0", "case-1", "case-2")
    assert batch.truth.parameters == ({"n": 0}, {"n": 1}, {"n": 2})
    for name, value in tensors(batch).items():
        assert torch.equal(value, torch.cat([tensors(case)[name] for case in cases]))
    assert_same(collate([collate(cases[:2]), cases[2]]), batch)
    assert_same(collate(cases[:1]), cases[0])
    assert batch.scan.clipped == ()
    cut = replace(cases[1], scan=replace(cases[1].scan, clipped=(True,)))
    mixed = collate([cases[0], cut, cases[2]])
    assert mixed.scan.clipped == (False, True, False)
    assert [mixed.one(n).scan.clipped for n in range(3)] == [(False,), (True,), (False,)]


@pytest.mark.parametrize("what", ["grid", "beam"])
def test_cases_of_several_geometries_are_refused(make_case, what: str) -> None:
    first, second = several(make_case, 2)
    ray = second.scan.ray
    grid, beam = (replace(ray.grid, spacing_mm=2.0), ray.beam) if what == "grid" else (ray.grid, None)
    beam = beam or replace(ray.beam, det_spacing_mm=0.5)
    other = Case(replace(second.scan, ray=RayTransform(grid, beam)), second.truth)
    with pytest.raises(CtmarError, match="cases of a batch must be of one geometry, got several"):
        collate([first, other])


def test_the_same_geometry_twice_is_one(make_case) -> None:
    first, second = several(make_case, 2)
    assert first.scan.ray is not second.scan.ray
    assert len(collate([first, second])) == 2


@pytest.mark.parametrize("unlike", [{"fills": {}}, {"deviations": {}}], ids=["fills", "deviations"])
@pytest.mark.parametrize("step", [1, -1], ids=["after", "before"])
def test_cases_of_other_fills_are_refused(make_case, unlike: dict, step: int) -> None:
    first, second = several(make_case, 2)
    cases = [first, Case(replace(second.scan, **unlike), second.truth)]
    with pytest.raises(CtmarError, match="must have the same fills, got several"):
        collate(cases[::step])


@pytest.mark.parametrize("voltages", [(80.0, 140.0), (None, 140.0), (None, None)])
def test_each_scan_of_a_batch_keeps_its_tube_voltage(make_case, voltages: tuple[float | None, ...]) -> None:
    cases = [
        Case(replace(case.scan, kvp=() if kvp is None else (kvp,)), case.truth)
        for case, kvp in zip(several(make_case, 2), voltages, strict=True)
    ]
    batch = collate(cases).scan
    assert batch.kvp == (voltages if any(voltages) else ())
    assert [batch.one(n).kvp for n in range(2)] == [(kvp,) if any(voltages) else () for kvp in voltages]


def test_some_bins_are_of_every_sinogram_and_leave_the_images(make_case) -> None:
    scan = make_case().scan
    cut = scan.bins(slice(5, 60))
    for name in SINOGRAMS:
        assert torch.equal(getattr(cut, name), getattr(scan, name)[..., 5:60])
    assert {name: fill.shape[-1] for name, fill in cut.fills.items()} == {"li": 55, "nmar": 55}
    assert cut.metal_mask is scan.metal_mask and cut.ray is scan.ray


def test_a_device_is_that_of_every_tensor(make_case) -> None:
    moved = make_case().to("meta")
    assert {value.device.type for value in tensors(moved).values()} == {"meta"}


def test_an_image_is_each_scans_own_in_hu(make_case) -> None:
    scan = make_case(slices=3).scan
    scan = replace(scan, mu_water=torch.tensor([0.02, 0.025]))
    image = scan.image_hu(scan.measured)
    assert image.shape == (2, 3, 8, 8)
    for n, mu_water in enumerate((0.02, 0.025)):
        torch.testing.assert_close(image[n], mu_to_hu(scan.ray.fbp(scan.measured[n]), mu_water))
    assert not torch.equal(image, scan.image_hu(scan.measured, "hann"))
