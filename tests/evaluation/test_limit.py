"""The photon limit: its weights by hand, its laws by dose, its row in what is written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ctmar.case import Case
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.evaluation import LIMIT, evaluate, format_table
from ctmar.evaluation.limit import PhotonLimit, photon_limit
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.methods import NMAR, Uncorrected
from ctmar.phantoms import ProceduralSpine
from ctmar.physics import Noise, Scanner, Trace
from ctmar.physics.expectation import Expectation
from ctmar.scenes import RandomGenerator
from tests.data.sources import with_source

GRID, BEAM = ImageGrid((64, 64), 5.6), ParallelBeam(48, 93, 5.6)
FAN = FanBeam(96, 90, 8.0, 541.0, 408.0, "arc", 2.0)


@pytest.fixture(scope="module")
def anatomy() -> ProceduralSpine:
    bodies = {"train": 1, "val": 1, "test": 1}
    return ProceduralSpine(num_bodies=bodies, levels=("L1", "L2", "L3"), spacing_mm=(2.0, 2.0, 3.0))


def simulator(anatomy: ProceduralSpine, photons: float | None = 1.0e6, **changes: object) -> Simulator:
    scanner = Scanner(noise=Noise(photons, electronic_noise=5.0))
    settings: Mapping = {"scanner": scanner, "grid": GRID, "beam": BEAM, "slices": 1} | changes
    return Simulator(anatomy, RandomGenerator(), **with_source(dict(settings)))


def limited(made_by: Simulator, index: int = 0) -> tuple[Case, torch.Tensor]:
    """A test case and its limit."""
    case = made_by.case("test", index)
    return case, PhotonLimit({"test": (made_by, "test")})(case)


def rms(sinogram: torch.Tensor, case: Case, to: torch.Tensor) -> float:
    """Root mean square difference on the trace."""
    return float((sinogram - to)[case.scan.metal_trace].square().mean().sqrt())


def test_a_ray_is_weighed_by_its_variance(anatomy: ProceduralSpine) -> None:
    case = simulator(anatomy).case("test", 0)
    scan, trace = case.scan, case.scan.metal_trace
    nmar = NMAR().complete(scan).sinogram
    # NMAR is 0.2 off everywhere; what is read, magnified by 1.5, has 0.3 of deviation.
    known = Expectation(
        measured=scan.measured[0] - 0.04,
        ideal=nmar[0] + 0.2,
        deviation=torch.full_like(nmar[0], 0.2),
        gain=torch.full_like(nmar[0], 1.5),
    )
    first, second = torch.nonzero(trace[0, 0])[:2].tolist()
    known.gain[0, first[0], first[1]] = torch.inf
    known.deviation[0, second[0], second[1]] = torch.inf
    limit = photon_limit(case, known)
    weight = 0.2**2 / (0.2**2 + 0.3**2)
    wanted = torch.where(trace, nmar + weight * (0.2 + 1.5 * 0.04), scan.measured)
    for view, ray in (first, second):  # of these rays nothing is known
        wanted[0, 0, view, ray] = nmar[0, 0, view, ray]
    torch.testing.assert_close(limit, wanted, rtol=0, atol=2e-5)


def test_with_dose_it_goes_to_the_scan_without_metal(anatomy: ProceduralSpine) -> None:
    errors = []
    for photons in (1.0e4, 1.0e6, 1.0e8, 1.0e10):
        made_by = simulator(anatomy, photons)
        case, limit = limited(made_by)
        errors.append(rms(limit, case, made_by.expected("test", 0).ideal))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3 and errors[0] > 1e-2
    # And so to the clean acquisition itself, whose noise goes as well.
    assert rms(limit, case, case.truth.clean) < 1e-3


def test_without_noise_it_is_the_clean_line(anatomy: ProceduralSpine) -> None:
    made_by = simulator(anatomy, None)
    case, limit = limited(made_by)
    ideal, trace = made_by.expected("test", 0).ideal[None], case.scan.metal_trace
    assert torch.equal(limit[trace], ideal[trace]) and torch.equal(limit[trace], case.truth.clean[trace])


@pytest.mark.parametrize(
    "scanner", [Scanner(noise=Noise(1.0e-3)), Scanner(trace=Trace(measures_metal=False))]
)
@pytest.mark.parametrize("acquisition", [None, FAN], ids=["parallel", "fan"])
def test_where_nothing_is_measured_it_is_nmar(
    anatomy: ProceduralSpine, scanner: Scanner, acquisition: FanBeam | None
) -> None:
    case, limit = limited(simulator(anatomy, scanner=scanner, acquisition=acquisition))
    assert torch.equal(limit, NMAR().complete(case.scan).sinogram)


@pytest.mark.parametrize(
    "changes", [{}, {"acquisition": FAN}, {"metal": "threshold"}], ids=["raw", "fan", "found"]
)
def test_off_the_trace_is_what_was_measured_and_the_bits_are_the_same_twice(
    anatomy: ProceduralSpine, changes: dict
) -> None:
    case, limit = limited(simulator(anatomy, **changes))
    again = limited(simulator(anatomy, slices=3, **changes))[1]
    trace = case.scan.metal_trace
    assert trace.any() and torch.equal(limit[~trace], case.scan.measured[~trace])
    assert torch.equal(limit, limited(simulator(anatomy, **changes))[1])
    assert torch.equal(limit, again[:, 1:2])  # a slice is the same alone and between its neighbours
    expected = simulator(anatomy, **changes).expected("test", 0).ideal
    assert rms(limit, case, expected) < 0.5 * rms(NMAR().complete(case.scan).sinogram, case, expected)


def test_it_is_a_row_before_the_clean_one(anatomy: ProceduralSpine, tmp_path: Path) -> None:
    made_by = simulator(anatomy)
    case = made_by.case("test", 0)
    methods = {"uncorrected": Uncorrected(), "nmar": NMAR()}
    limit = PhotonLimit({"test": (made_by, "test")})
    summary = evaluate(methods, [case], tmp_path, limit=limit, num_panels=1, progress=False)
    near = {name: figures["rmse_hu_near"]["mean"] for name, figures in summary["methods"].items()}
    assert list(near) == ["uncorrected", "nmar", LIMIT, "clean"]
    assert near["clean"] < near[LIMIT] < near["nmar"] and LIMIT in format_table(summary)
    assert summary["off_trace_max_abs_change"] == 0.0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    best = {row.partition("<td>")[2].partition("<")[0] for row in page.split("<tr>") if 'class="best"' in row}
    assert best and not best & {LIMIT, "clean"}
    without = evaluate(methods, [case], tmp_path / "w", num_panels=0, progress=False)
    assert list(without["methods"]) == ["uncorrected", "nmar", "clean"]
    assert without["methods"]["nmar"]["rmse_hu_near"] == summary["methods"]["nmar"]["rmse_hu_near"]


def test_cases_that_it_cannot_be_had_of_are_refused(anatomy: ProceduralSpine) -> None:
    class Own:
        """A source of one's own."""

    with pytest.raises(CtmarError, match="evaluation.limit must be false where .* not simulated, got .* Own"):
        PhotonLimit({"test": (Own(), "test")})  # type: ignore[dict-item]
    image = simulator(anatomy, source="image")
    with pytest.raises(CtmarError, match="must go with data.source=raw, got data.source=image"):
        PhotonLimit({"test": (image, "test")})
    made_by, case = simulator(anatomy), simulator(anatomy, seed=1).case("test", 0)
    with pytest.raises(
        CtmarError, match="test-00000 must be what this version simulates for evaluation.limit"
    ):
        PhotonLimit({"test": (made_by, "test")})(case)
    renamed = replace(case.scan, case_id=("part-00000",))
    own = PhotonLimit({"part": (simulator(anatomy, seed=1), "test")})
    assert own(Case(renamed, case.truth)).shape == case.scan.measured.shape
    with pytest.raises(CtmarError, match="must not be named 'limit'"):
        evaluate({LIMIT: NMAR()}, [case], Path("nowhere"))
