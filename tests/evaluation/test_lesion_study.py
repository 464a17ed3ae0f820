"""What a method hides or makes up is seen where it was planted, and nowhere else."""

from dataclasses import replace

import pytest
import torch

from ctmar.case import Case, Scan, Truth
from ctmar.evaluation.lesions import LesionStudy, plant
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import LI, Method, linear_interpolation
from ctmar.methods.elsewhere import FunctionMethod
from ctmar.metrics.lesions import Lesion, measured_contrast
from ctmar.operators import RayTransform
from ctmar.units import mu_to_hu

GRID, BEAM, MU = ImageGrid((64, 64), 2.0), ParallelBeam(120, 91, 2.0), 0.02
RAY = RayTransform(GRID, BEAM)
LI_AT_HAND = FunctionMethod(lambda scan: scan.fills["li"], "li")


def case(index: int) -> Case:
    y, x = torch.meshgrid(*2 * [(torch.arange(64) - 31.5) * 2], indexing="ij")
    body = (x**2 + y**2 < 58**2)[None, None]
    metal = ((x - index) ** 2 + y**2 < 36)[None, None]
    clean = RAY.forward(1.03 * MU * body.float())
    generator = torch.Generator().manual_seed(index)
    clean = clean + 0.004 * torch.randn(clean.shape, generator=generator)
    trace = RAY.forward(metal.float()) > 0.1
    measured = torch.where(trace, clean + 1.0, clean)
    scan = Scan(
        measured=measured,
        metal_trace=trace,
        metal_mask=metal,
        metal_path_mm=RAY.forward(metal.float()) * trace,
        mu_water=torch.tensor([MU]),
        ray=RAY,
        fills={"li": linear_interpolation(measured, trace)},
        case_id=(f"test-{index}",),
    )
    truth = Truth(
        clean=clean,
        reference_hu=mu_to_hu(RAY.fbp(RAY.forward(1.03 * MU * body.float())), MU),
        body_mask=body,
        tissue_labels=torch.zeros(1, 1, 64, 64, dtype=torch.uint8),
        parameters=({},),
    )
    return Case(scan, truth)


def test_a_planted_lesion_is_in_the_measurement_the_truth_and_the_fills() -> None:
    known, lesion = case(0), Lesion(32, 44, 5.0, 60.0)
    planted = plant(known, [lesion], {"li": LI()})
    scored = known.truth.body_mask[0, 0] & ~known.scan.metal_mask[0, 0]
    image = mu_to_hu(RAY.fbp(planted.truth.clean) - RAY.fbp(known.truth.clean), MU)[0, 0] + 1000
    assert measured_contrast(image, lesion, scored, 2.0).item() == pytest.approx(
        60.0, rel=0.15
    )  # the pixels blur it
    change = planted.scan.measured - known.scan.measured
    torch.testing.assert_close(change, planted.truth.clean - known.truth.clean, atol=1e-5, rtol=0)
    anew = linear_interpolation(planted.scan.measured, planted.scan.metal_trace)
    assert torch.equal(planted.scan.fills["li"], anew)
    assert torch.equal(known.scan.measured, case(0).scan.measured)  # the case itself stays as it was


def of(scan: Scan) -> Case:
    """What a scan looks like without any lesion, and its truth."""
    return case(int(scan.case_id[0].split("-")[1]))


def erase(scan: Scan) -> torch.Tensor:
    """A method that returns what the case looks like without any lesion: it hides all."""
    return of(scan).truth.clean


class Inventor(Method):
    """A method of images that paints a lesion wherever one could be."""

    completes, own_image = False, True

    def finish(self, scan: Scan, corrected_hu: torch.Tensor, uncorrected_hu: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
        return of(scan).truth.reference_hu + 80.0 * torch.cos(rows / 2.0) * torch.cos(columns / 2.0)


@pytest.fixture(scope="module")
def study() -> dict:
    methods = {"li": LI_AT_HAND, "eraser": FunctionMethod(erase, "eraser"), "inventor": Inventor()}
    cases = [case(n) for n in range(12)]
    found = LesionStudy(fills={"li": LI()}, count=2, radius_mm=4.0)
    for one in cases:
        found.add(methods, one)
    return found.summary()


def test_what_hides_lesions_misses_all_and_what_invents_them_is_false(study) -> None:
    assert study["cases"] == 12
    methods = study["methods"]
    assert methods["eraser"]["missed"] == 1.0 and methods["eraser"]["recovery"] == pytest.approx(
        0.0, abs=0.02
    )
    assert methods["inventor"]["false"] > 0.1 and methods["eraser"]["false"] == 0.0
    assert methods["clean"]["missed"] < 0.2 and methods["clean"]["false"] == 0.0


def test_detectability_is_chance_where_nothing_is_left_and_high_in_the_clean_image(study) -> None:
    methods = study["methods"]
    assert methods["clean"]["auc"] > 0.95
    assert methods["clean"]["auc_low"] <= methods["clean"]["auc"] <= methods["clean"]["auc_high"]
    assert methods["eraser"]["auc"] == pytest.approx(0.5, abs=0.02)


def test_a_case_without_room_adds_nothing() -> None:
    free = case(0)
    crowded = Case(free.scan, replace(free.truth, reference_hu=free.truth.reference_hu + 500))
    study = LesionStudy(fills={"li": LI()})
    study.add({"li": LI_AT_HAND}, crowded)
    assert study.rows == [] and study.summary()["methods"] == {}
