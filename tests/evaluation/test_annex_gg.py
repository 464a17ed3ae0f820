"""What the study scans, and what is made of it."""

import numpy as np
import pytest

from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import REFERENCE, Conditions, Dose, Scanned, bias_hu, methods_of, scan_study
from ctmar.evaluation.judging import judge_study, judges_of
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods.li import LI
from ctmar.methods.uncorrected import Uncorrected
from ctmar.metrics.lesions import Lesion
from ctmar.phantoms.chest import ChestPhantom
from ctmar.physics import Noise, Scanner
from ctmar.scenes.generators import RandomGenerator
from ctmar.scenes.spinal_rod import SpinalRod

GRID, BEAM, HALF = ImageGrid((128, 128), 2.8), ParallelBeam(180, 185, 2.8), 8
METHODS = {"uncorrected": Uncorrected(), "li": LI()}


def dose(photons_per_ray: float, generator: object = SpinalRod(lesion_radius_mm=6.0)) -> Dose:
    scanner = Scanner(noise=Noise(photons_per_ray=photons_per_ray))
    simulator = Simulator(ChestPhantom(), generator, scanner, GRID, BEAM, slices=1)  # type: ignore[arg-type]
    return Dose(simulator, METHODS)


@pytest.fixture(scope="module")
def scanned() -> Scanned:
    return scan_study(Conditions([1e6, 1e5], [80.0], 8), dose, half=HALF, progress=False)


def test_every_condition_is_scanned_and_the_lesion_is_in_the_middle(scanned: Scanned) -> None:
    assert list(scanned.present) == [(1e6, 80.0), (1e5, 80.0)] and list(scanned.absent) == [1e6, 1e5]
    assert methods_of(scanned) == ["uncorrected", "li", "clean"]
    assert scanned.off_trace_max_abs_change == 0.0 and scanned.spacing_mm == 2.8
    for (photons, _), present in scanned.present.items():
        absent = scanned.absent[photons]
        assert present["li"].shape == absent["li"].shape == (8, 17, 17)
        added = (present[REFERENCE] - absent[REFERENCE]).mean(0)
        middle = added[HALF - 1 : HALF + 2, HALF - 1 : HALF + 2]
        assert middle.mean() == pytest.approx(80.0, rel=0.1)


def test_metal_is_left_out_of_every_image_and_less_dose_is_more_noise(scanned: Scanned) -> None:
    for patches in scanned.absent.values():
        # 200 HU above muscle is what streaks do; the rod itself has thousands.
        assert patches["uncorrected"].max() < 1000
    spread = [(x["clean"] - x[REFERENCE]).std() for x in scanned.absent.values()]
    assert spread[1] == pytest.approx(spread[0] * np.sqrt(10), rel=0.15)


def test_scans_lie_differently_and_those_with_and_without_are_independent(scanned: Scanned) -> None:
    reference = scanned.absent[1e6][REFERENCE]
    assert all(np.abs(one - reference[0]).max() > 1 for one in reference[1:])
    noise = [x["clean"] - x[REFERENCE] for x in (scanned.present[1e6, 80.0], scanned.absent[1e6])]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def made_up(count: int = 60, side: int = 15) -> Scanned:
    """``li`` is four times less noisy than ``uncorrected`` and 5 HU too bright."""
    rng = np.random.default_rng(0)
    offset = np.arange(side) - side // 2
    disc = (np.hypot(offset[:, None], offset[None]) <= 3).astype(float)

    def patches(contrast: float) -> dict[str, np.ndarray]:
        base = np.tile(54.0 + contrast * disc, (count, 1, 1))
        noise = rng.normal(0, 1, (2, *base.shape))
        noisy = {"uncorrected": base + 40 * noise[0], "li": base + 5 + 10 * noise[1]}
        return noisy | {REFERENCE: base, "clean": base + rng.normal(0, 1, base.shape)}

    present = {(1e5, contrast): patches(contrast) for contrast in (30.0, 5.0, 10.0)}
    return Scanned(present, {1e5: patches(0.0)}, Lesion(9, 9, 3.0, 1.0), 1.0, 0.0)


def test_the_better_method_is_found_with_its_interval_and_bias() -> None:
    study = made_up()
    summary = judge_study(study, judges_of("ctmar", 15, 6.0))
    better = summary["methods"]["li"]
    assert better["delta_auc"]["low"] > 0
    assert better["auc"]["low"] < better["auc"]["mean"] < better["auc"]["high"]
    assert better["bias_hu"]["low"] < 5.0 < better["bias_hu"]["high"]
    assert better["bias_hu"]["mean"] == pytest.approx(np.mean(bias_hu(study, "li")))
    assert "delta_auc" not in summary["methods"]["uncorrected"]
    rows = [row for row in summary["cells"] if row["method"] == "li"]
    assert [row["contrast_hu"] for row in rows] == [30.0, 5.0, 10.0]
    assert better["auc"]["mean"] == pytest.approx(np.mean([row["auc"] for row in rows]))
    smallest = np.mean([row["delta_auc"] for row in rows[1:]])
    assert better["delta_auc_lowest"]["mean"] == pytest.approx(smallest)
    assert summary["num_cases"] == 240


def test_what_is_no_study_is_refused() -> None:
    conditions = Conditions([1e5], [10.0], 8)
    with pytest.raises(CtmarError, match="the study's generator must be a SpinalRod, got RandomGenerator"):
        scan_study(conditions, lambda photons: dose(photons, RandomGenerator()), half=HALF)
    with pytest.raises(CtmarError, match="a patch of 201 pixels must lie in the image of 128 × 128"):
        scan_study(conditions, dose, half=100)
