"""What a method hides or makes up is seen where it was planted, and nowhere else."""

import pytest
import torch

from ctmar.completion import linear_interpolation
from ctmar.evaluation.lesions import lesion_study, plant
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.metrics.lesions import Lesion, measured_contrast
from ctmar.operators import RayTransform
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu

GRID, BEAM, MU = ImageGrid((64, 64), 2.0), ParallelBeam(120, 91, 2.0), 0.02
RAY = RayTransform(GRID, BEAM)


def case(index: int) -> MARSample:
    y, x = torch.meshgrid(*2 * [(torch.arange(64) - 31.5) * 2], indexing="ij")
    body = (x**2 + y**2 < 58**2)[None, None]
    metal = ((x - index) ** 2 + y**2 < 36)[None, None]
    clean = RAY.forward(1.03 * MU * body.float())
    generator = torch.Generator().manual_seed(index)
    clean = clean + 0.004 * torch.randn(clean.shape, generator=generator)
    trace = RAY.forward(metal.float()) > 0.1
    measured = torch.where(trace, clean + 1.0, clean)
    return MARSample(
        measured=measured,
        clean=clean,
        metal_trace=trace,
        metal_path_mm=RAY.forward(metal.float()) * trace,
        fills={"li": linear_interpolation(measured, trace)},
        reference_hu=mu_to_hu(RAY.fbp(RAY.forward(1.03 * MU * body.float())), MU),
        metal_mask=metal,
        body_mask=body,
        tissue_labels=torch.zeros(1, 1, 64, 64, dtype=torch.uint8),
        mu_water=torch.tensor([MU]),
        case_id=[f"test-{index}"],
        parameters=[{}],
    )


def test_a_planted_lesion_is_in_the_measurement_the_truth_and_the_fills() -> None:
    sample, lesion = case(0), Lesion(32, 44, 5.0, 60.0)
    planted = plant(sample, [lesion], RAY)
    scored = sample.body_mask[0, 0] & ~sample.metal_mask[0, 0]
    image = mu_to_hu(RAY.fbp(planted.clean) - RAY.fbp(sample.clean), MU)[0, 0] + 1000
    assert measured_contrast(image, lesion, scored, 2.0).item() == pytest.approx(
        60.0, rel=0.15
    )  # the pixels blur it
    change = planted.measured - sample.measured
    torch.testing.assert_close(change, planted.clean - sample.clean, atol=1e-5, rtol=0)
    assert torch.equal(planted.fills["li"], linear_interpolation(planted.measured, planted.metal_trace))
    assert torch.equal(sample.measured, case(0).measured)  # the case itself stays as it was


def erase(sample: MARSample) -> torch.Tensor:
    """A method that returns what the case looks like without any lesion: it hides all."""
    return case(int(sample.case_id[0].split("-")[1])).clean


class Inventor:
    """A method of images that paints a lesion wherever one could be."""

    def __init__(self) -> None:
        self.calls = 0

    def image_hu(self, sample: MARSample) -> torch.Tensor:
        rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
        return sample.reference_hu + 80.0 * torch.cos(rows / 2.0) * torch.cos(columns / 2.0)


@pytest.fixture(scope="module")
def study() -> dict:
    methods = {"li": lambda s: s.fills["li"], "eraser": erase, "inventor": Inventor()}
    return lesion_study(methods, [case(n) for n in range(12)], RAY, count=2, radius_mm=4.0).summary()


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
    sample = case(0)
    crowded = sample._replace(reference_hu=sample.reference_hu + 500)
    study = lesion_study({"li": lambda s: s.fills["li"]}, [crowded], RAY)
    assert study.rows == [] and study.summary()["methods"] == {}
