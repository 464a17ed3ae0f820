import csv
import json
import math
from dataclasses import replace

import pytest
import torch

from ctmar.case import Case, Scan, Truth
from ctmar.errors import CtmarError
from ctmar.evaluation import METRICS, evaluate, evaluate_case, find_materials, format_table
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import Completed, Method, Uncorrected
from ctmar.methods.elsewhere import FunctionMethod

MU_WATER = 0.02
SIZE = 24


class IdentityRay:
    """Stands in for the ray transform: image and sinogram are one, so that errors can be worked by hand."""

    grid = ImageGrid((SIZE, SIZE), 1.0)
    beam = ParallelBeam(SIZE, SIZE, 1.0)

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], str]] = []

    def fbp(self, sinogram, filter="ram-lak"):
        self.calls.append((tuple(sinogram.shape), filter))
        return sinogram * MU_WATER  # line integral 1 is water, 0 HU; 0.001 is 1 HU


def make_case(
    index: int = 0, slices: int = 1, metal: bool = True, batch: int = 1, ray: IdentityRay | None = None
) -> Case:
    """Water with metal; the trace is a wider square around it, where ``measured`` is 500 HU too high."""
    shape = (batch, slices, SIZE, SIZE)
    clean = torch.ones(shape)
    trace, mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    trace[..., 8:16, 8:16] = metal
    mask[..., 11:13, 11:13] = metal
    measured = torch.where(trace, clean + 0.5, clean)
    told = {"hardware": [{"material": "Ti-6Al-4V"}, {"rod": {"material": "CoCrMo"}}]}
    scan = Scan(
        measured=measured,
        metal_trace=trace,
        metal_mask=mask,
        metal_path_mm=trace.float(),
        mu_water=torch.full((batch,), MU_WATER),
        ray=ray or IdentityRay(),
        fills={"li": torch.where(trace, clean + 0.1, measured)},
        case_id=tuple(f"test-{index + i}" for i in range(batch)),
    )
    truth = Truth(
        clean=clean,
        reference_hu=torch.zeros(shape),
        body_mask=torch.ones(shape, dtype=torch.bool),
        tissue_labels=torch.zeros(shape, dtype=torch.uint8),
        parameters=(told,) * batch,
    )
    return Case(scan, truth)


def with_parameters(case: Case, told: dict) -> Case:
    return Case(case.scan, replace(case.truth, parameters=(told,)))


def method(function, name: str = "model") -> Method:
    return FunctionMethod(function, name)


def clean_of(scan: Scan) -> torch.Tensor:
    """The clean sinogram of every case here: water."""
    return torch.ones_like(scan.measured)


METHODS = {
    "uncorrected": Uncorrected(),
    "li": method(lambda s: s.fills["li"], "li"),
    "model": method(clean_of),
}


def read_rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def run(tmp_path, cases, methods=METHODS, **options):
    return evaluate(methods, cases, tmp_path, progress=False, **{"num_panels": 0} | options)


def test_summary_has_the_promised_schema(tmp_path):
    summary = run(tmp_path, [make_case(0), make_case(1)])
    stored = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert stored == summary
    assert stored["schema"] == 1 and stored["num_cases"] == 2
    assert stored["off_trace_max_abs_change"] == 0.0
    assert list(stored["methods"]) == ["uncorrected", "li", "model", "clean"]
    for metrics in stored["methods"].values():
        assert tuple(metrics) == METRICS
        assert all(set(figures) == {"mean", "std", "median", "n"} for figures in metrics.values())


def test_errors_worked_by_hand(tmp_path):
    methods = run(tmp_path, [make_case()])["methods"]
    # 64 pixels of trace, 4 of them metal; 576 - 4 pixels of body are scored.
    assert methods["uncorrected"]["rmse_hu_body"]["mean"] == pytest.approx(
        500 * math.sqrt(60 / 572), rel=1e-5
    )
    assert methods["li"]["rmse_hu_body"]["mean"] == pytest.approx(100 * math.sqrt(60 / 572), rel=1e-5)
    assert methods["li"]["rmse_sinogram_trace"]["mean"] == pytest.approx(0.1, rel=1e-5)
    assert methods["uncorrected"]["bias_hu_near"]["mean"] > 0
    assert methods["model"]["rmse_hu_near"]["mean"] == pytest.approx(0.0, abs=1e-3)


def test_spread_is_that_of_the_cases(tmp_path):
    scale = {"test-0": 0.1, "test-1": 0.2, "test-2": 0.6}

    def off_by(scan):
        return torch.where(scan.metal_trace, clean_of(scan) + scale[scan.case_id[0]], scan.measured)

    summary = run(tmp_path, [make_case(i) for i in range(3)], {"model": method(off_by)})
    figures = summary["methods"]["model"]["rmse_sinogram_trace"]
    assert figures["mean"] == pytest.approx(0.3, rel=1e-5)
    assert figures["median"] == pytest.approx(0.2, rel=1e-5)
    assert figures["std"] == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 3), rel=1e-5)
    assert figures["n"] == 3


def test_a_change_off_the_trace_is_reported_for_its_method_and_case(tmp_path):
    def leaky(scan):
        completed = clean_of(scan)
        completed[0, 0, 0, 0] += 0.25 if scan.case_id == ("test-1",) else 0.0
        return completed

    methods = {"li": METHODS["li"], "model": method(leaky)}
    summary = run(tmp_path, [make_case(0), make_case(1)], methods)
    assert summary["off_trace_max_abs_change"] == 0.25
    rows = read_rows(tmp_path / "cases.csv")
    changed = {(r["case_id"], r["method"]) for r in rows if float(r["off_trace_max_abs_change"]) > 0}
    assert changed == {("test-1", "model")}


def test_a_change_in_a_side_slice_counts_too(tmp_path):
    def leaky(scan):
        completed = clean_of(scan)
        completed[0, 2, 0, 0] += 0.5
        return completed

    summary = run(tmp_path, [make_case(slices=3)], {"model": method(leaky)})
    assert summary["off_trace_max_abs_change"] == 0.5


def test_the_centre_slice_alone_is_scored():
    case = make_case(slices=3)
    side = case.truth.clean.clone()
    side[:, 0] += 1.0
    center = case.truth.clean.clone()
    center[:, 1] += 1.0
    methods = {"side": method(lambda s: side), "center": method(lambda s: center)}
    result = evaluate_case(methods, case)
    errors = {row["method"]: row["rmse_hu_body"] for row in result.rows}
    assert errors["side"] == pytest.approx(0.0, abs=1e-3) and errors["center"] == pytest.approx(
        1000.0, rel=1e-5
    )


def test_all_methods_of_a_case_are_reconstructed_in_one_call_with_the_filter_asked_for():
    ray = IdentityRay()
    evaluate_case(METHODS, make_case(slices=3, ray=ray), filter="hann")
    assert ray.calls == [((5, 1, SIZE, SIZE), "hann")]  # three methods, clean, and what was measured


def test_cases_have_one_row_a_method_with_what_is_in_them(tmp_path):
    run(tmp_path, [make_case(0), make_case(1)])
    rows = read_rows(tmp_path / "cases.csv")
    names = ["uncorrected", "li", "model", "clean"]
    assert [(r["case_id"], r["method"]) for r in rows] == [(f"test-{i}", n) for i in range(2) for n in names]
    assert all(r["materials"] == "CoCrMo+Ti-6Al-4V" and float(r["metal_area_mm2"]) == 4.0 for r in rows)
    assert set(METRICS) < set(rows[0])


def test_cases_without_metal_are_listed_and_leave_the_near_figures_alone(tmp_path):
    with_metal = run(tmp_path / "a", [make_case(0)])
    both = run(tmp_path / "b", [make_case(0), make_case(1, metal=False)])
    assert both["cases_without_near_region"] == ["test-1"] and both["num_cases"] == 2
    near = both["methods"]["li"]["rmse_hu_near"]
    assert near["n"] == 1 and near["mean"] == with_metal["methods"]["li"]["rmse_hu_near"]["mean"]
    assert "no pixel near metal in: test-1" in format_table(both)
    rows = read_rows(tmp_path / "b" / "cases.csv")
    assert {r["rmse_hu_near"] for r in rows if r["case_id"] == "test-1"} == {"nan"}


def test_nothing_to_measure_and_infinity_are_null_in_valid_json(tmp_path):
    run(tmp_path, [make_case(metal=False)])

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    metrics = json.loads(text, parse_constant=refuse)["methods"]["li"]
    assert metrics["rmse_hu_near"] == {"mean": None, "std": None, "median": None, "n": 0}
    assert metrics["psnr_indudonet"] == {"mean": None, "std": None, "median": None, "n": 1}  # equal images
    assert metrics["rmse_sinogram_trace"]["n"] == 0


def test_a_completion_that_is_not_finite_stops_before_anything_is_written(tmp_path):
    def spoiled(scan):
        completed = clean_of(scan)
        if scan.case_id == ("test-1",):
            completed[0, 0, 9, 9:11] = torch.nan
        return completed

    folder = tmp_path / "evaluation"
    with pytest.raises(CtmarError, match="'model' must return finite line integrals, got 2 others in test-1"):
        evaluate({"model": method(spoiled)}, [make_case(0), make_case(1)], folder, progress=False)
    assert not folder.exists()


class Returns(Method):
    """A method of one's own whose completion is not the scan's shape."""

    def __init__(self, take) -> None:
        self.take = take

    def complete(self, scan: Scan) -> Completed:
        return Completed(self.take(clean_of(scan)))


class Traces(Returns):
    """The same of the trace alone, which is then composed with what was measured."""

    complete = Method.complete

    def trace(self, scan: Scan) -> torch.Tensor:
        return self.take(clean_of(scan))


@pytest.mark.parametrize("take", [lambda p: p[0], lambda p: p.squeeze(), lambda p: p[:, :1]])
@pytest.mark.parametrize("made", [lambda take: method(lambda s: take(clean_of(s))), Returns, Traces])
def test_a_completion_of_another_shape_is_refused(tmp_path, made, take):
    with pytest.raises(CtmarError, match=r"shape \(1, 3, 24, 24\), got"):
        run(tmp_path, [make_case(slices=3)], {"model": made(take)})


def test_what_is_no_method_is_refused(tmp_path):
    with pytest.raises(CtmarError, match="method 'model' must be a Method, got <function"):
        run(tmp_path, [make_case()], {"model": clean_of})


def test_batches_no_cases_and_the_name_clean_are_refused(tmp_path):
    with pytest.raises(CtmarError, match="batches of one case, got 2"):
        run(tmp_path, [make_case(batch=2)])
    with pytest.raises(CtmarError, match="at least one case, got none"):
        run(tmp_path, [])
    with pytest.raises(CtmarError, match="must not be named 'clean'"):
        run(tmp_path, [make_case()], {"clean": METHODS["li"]})
    assert list(tmp_path.iterdir()) == []


def test_panels_are_drawn_for_the_first_cases_only(tmp_path):
    run(tmp_path, [make_case(i) for i in range(3)], num_panels=1)
    assert sorted(p.name for p in (tmp_path / "panels").iterdir()) == ["test-0-sinograms.png", "test-0.png"]


def test_no_part_of_a_file_is_left(tmp_path):
    run(tmp_path, [make_case()])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.csv", "summary.json"]


def test_cases_may_come_one_by_one_and_methods_get_no_gradients(tmp_path):
    gradients = []

    def model(scan):
        gradients.append(torch.is_grad_enabled())
        return clean_of(scan)

    summary = run(tmp_path, (make_case(i) for i in range(2)), {"model": method(model)})
    assert summary["num_cases"] == 2 and gradients == [False, False]


def test_progress_goes_to_standard_error(tmp_path, capsys):
    evaluate(METHODS, [make_case()], tmp_path, num_panels=0)
    captured = capsys.readouterr()
    assert "evaluation: case 1 of 1" in captured.err and captured.out == ""


def test_table_gives_ratios_to_uncorrected(tmp_path):
    table = format_table(run(tmp_path, [make_case(0), make_case(1)])).splitlines()
    assert table[0].split()[:2] == ["method", "near"]
    ratio = {line.split()[0]: line.split()[5] for line in table[2:6]}
    assert (ratio["uncorrected"], ratio["li"]) == ("1.000", "0.200")
    assert "2 cases" in table[-2] and "off the trace 0" in table[-2]
    assert table[-1] == "cases without tissue labels, and so without figures by tissue: 2"


def test_report_says_what_sinogram_and_metal_were_made_from(tmp_path):
    known = {"source": "image", "metal_from": "threshold"}
    summary = run(tmp_path, [with_parameters(make_case(), known)])
    assert (summary["source"], summary["metal_from"]) == ("image", "threshold")
    assert "; image sinograms, metal from threshold\n" in format_table(summary)
    assert "sinograms" not in format_table(run(tmp_path, [make_case()]))


def test_table_without_uncorrected_has_no_ratio(tmp_path):
    table = format_table(run(tmp_path, [make_case()], {"li": METHODS["li"]})).splitlines()
    assert table[2].split()[5] == "-"


def test_materials_are_found_at_any_depth():
    parameters = {
        "a": [{"material": "Ti"}],
        "materials": {"rod": "Co", "set": ["W"]},
        "name": "steel",
        "n": 3,
    }
    assert find_materials(parameters) == {"Ti", "Co", "W"}
    assert find_materials({}) == set()


@pytest.mark.parametrize(("origin", "known"), [("scene", True), ("threshold", False)])
def test_metal_is_not_held_against_a_mask_of_the_image_itself(tmp_path, origin, known):
    case = make_case()
    case = with_parameters(case, case.truth.parameters[0] | {"metal_from": origin})
    figures = run(tmp_path, [case])["methods"]["li"]
    assert (figures["metal_dice"]["mean"] is not None) == known


class Refined(Method):
    """Completes as the clean sinogram, and shows an image with 20 HU more in 36 pixels off the trace."""

    name, own_image = "model", True

    def trace(self, scan):
        return clean_of(scan)

    def finish(self, scan, corrected_hu, uncorrected_hu):
        image = corrected_hu.clone()
        image[..., :6, :6] += 20.0
        return image


class Projects(IdentityRay):
    """Image and sinogram are one in both directions."""

    def forward(self, image_mu):
        return image_mu / MU_WATER


@pytest.mark.parametrize("own_image", [True, False])
def test_an_image_of_its_own_is_marked_in_every_report(tmp_path, own_image):
    model = Refined()
    if not own_image:
        model.own_image = False
    methods = METHODS | {"model": model}
    evaluate(methods, [make_case(ray=Projects())], tmp_path, progress=False, num_panels=1)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in read_rows(tmp_path / "cases.csv")}
    # 20 HU are 0.02 of water's line integral 1; they hit 36 of the 576 - 64 rays off the trace.
    changed = 0.02 * math.sqrt(36 / 512) if own_image else 0.0
    assert float(rows["model"]["off_trace_rms_reprojected"]) == pytest.approx(changed, rel=1e-3)
    assert summary["changes_untouched_rays"] == (["model"] if own_image else [])
    assert {name: row["changes_untouched_rays"] for name, row in rows.items()} == {
        "uncorrected": "False",
        "li": "False",
        "model": str(own_image),
        "clean": "False",
    }
    assert all(float(rows[name]["off_trace_rms_reprojected"]) == 0.0 for name in ("uncorrected", "li"))
    # What is promised of the completed sinogram stands beside it.
    assert summary["off_trace_max_abs_change"] == 0.0
    sentence = "mages not bound to the measured rays, which they can change off the trace: model (RMS 0.0053"
    assert (sentence in format_table(summary)) == own_image
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(sentence) == (2 if own_image else 0)  # at the top, and in the tables


class Image(Method):
    """A method of images alone."""

    completes, own_image = False, True


def test_an_image_alone_is_marked_without_a_figure(tmp_path):
    class Folder(Image):
        def finish(self, scan, corrected_hu, uncorrected_hu):
            return torch.zeros_like(corrected_hu)

    summary = run(tmp_path, [make_case()], METHODS | {"theirs": Folder()})
    assert summary["changes_untouched_rays"] == ["theirs"]
    assert summary["methods"]["theirs"]["off_trace_rms_reprojected"]["mean"] is None
    assert format_table(summary).endswith("which they can change off the trace: theirs")


def test_screws_are_measured_in_what_an_image_shows_of_them(tmp_path):
    class Shown(Image):
        """The screw of rows 2 to 22 and columns 11 to 13, three pixels short."""

        def finish(self, scan, corrected_hu, uncorrected_hu):
            image = torch.zeros_like(corrected_hu)
            image[..., 5:22, 11:13] = 9000.0
            return image

    case = make_case()
    case.scan.metal_mask[...] = False
    case.scan.metal_mask[..., 2:22, 11:13] = True
    methods = run(tmp_path, [case], {"uncorrected": METHODS["uncorrected"], "theirs": Shown()})["methods"]
    assert methods["theirs"]["screw_tip_error_mm"]["mean"] == pytest.approx(3.0)
    assert methods["theirs"]["screw_diameter_error_mm"]["mean"] == pytest.approx(0.0)
    # No pixel of the uncorrected image is as bright as metal: all 20 mm of the screw are lost.
    assert methods["uncorrected"]["screw_tip_error_mm"]["mean"] == pytest.approx(20.0)
