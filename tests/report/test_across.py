"""Runs side by side."""

import pytest

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.jobs.cli import main
from ctmar.jobs.compare import compare
from ctmar.methods import Uncorrected
from ctmar.methods.elsewhere import FunctionMethod
from ctmar.report.across import comparison_table, contact_sheet, curves_figure, find_runs, labels, ordered
from tests.evaluation.test_evaluation import clean_of, make_case
from tests.report.test_page import parsed


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three runs with λ 100, 1 and 10, whose model errs by 0.1, 0.3 and 0.2."""
    folder = tmp_path_factory.mktemp("sweep")
    for n, (weight, error) in enumerate(((100.0, 0.1), (1.0, 0.3), (10.0, 0.2))):
        methods = {
            "uncorrected": Uncorrected(),
            "model": FunctionMethod(lambda s, e=error: clean_of(s) + e * s.metal_trace, "model"),
        }
        config = {"model": {"lambda_l2": weight, "channels": [8]}, "paths": {"out": n}, "seed": 0}
        cases = [make_case(i) for i in range(2)]
        run = folder / str(n)
        evaluate(methods, cases, run / "evaluation", num_panels=1, progress=False, config=config)
        (run / "csv").mkdir()
        (run / "csv" / "metrics.csv").write_text("epoch,val/loss\n0,1.0\n1,\n1,0.5\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_sweep_is_sorted_by_lambda_and_named_by_what_differs(sweep) -> None:
    runs = ordered(find_runs([sweep]))
    assert labels(runs) == ["λ=1.0", "λ=10.0", "λ=100.0"]
    assert labels(runs[:1]) == ["1"]  # nothing differs: the folder's name


def test_differences_are_paired_by_case(sweep) -> None:
    table = comparison_table(ordered(find_runs([sweep])), "model", ["rmse_sinogram_trace"])
    assert table[0] == ["run", "rmse_sinogram_trace", "95 % interval", "to the first, paired"]
    assert table[1][1:] == ["0.3 (2)", "0.3 to 0.3", ""]
    assert table[3][1] == "0.1 (2)" and table[3][3] == "-0.2 [-0.2, -0.2]"


def test_the_contact_sheet_shows_the_same_cases_for_every_run(sweep) -> None:
    runs = ordered(find_runs([sweep]))
    figure = contact_sheet(runs, "model", "soft")
    titles = [ax.get_title() for ax in figure.axes[:5]]
    assert titles == ["reference", "uncorrected", "λ=1.0", "λ=10.0", "λ=100.0"]
    assert [ax.get_ylabel() for ax in figure.axes[::5]] == ["test-0"]
    # On the trace the model of λ = 1 is 300 HU too bright.
    shown = [ax.images[0].get_array() for ax in figure.axes[:5]]
    assert shown[2].max() == pytest.approx(300, abs=1) and shown[4].max() == pytest.approx(100, abs=1)
    assert contact_sheet(runs, "nmar", "soft") is None


def compare_command(monkeypatch, *words) -> int:
    monkeypatch.setattr("sys.argv", ["ctmar", "compare", *map(str, words)])
    return main()


def test_curves_are_those_of_validation(sweep) -> None:
    runs = find_runs([sweep])
    assert runs[0].curve == ([0.0, 1.0], [1.0, 0.5])
    assert len(curves_figure(runs).axes[0].lines) == 3


@pytest.mark.slow
def test_one_page_with_table_curves_and_sheets(sweep, tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "page.html"
    text = compare([sweep / "0", sweep / "2"], out, "model")
    assert "λ=10.0" in text and f"page: {out}" in text
    page = out.read_text(encoding="utf-8")
    tags = parsed(page)
    assert sum(tag == "img" for tag, _ in tags.found) == 1 + 4
    assert (
        compare_command(monkeypatch, sweep, "--out", out) == 0 and "95 % interval" in capsys.readouterr().out
    )


def test_runs_whose_images_are_their_own_are_marked(sweep, tmp_path) -> None:
    sentence = "images not bound to the measured rays, which they can change off the trace: model of λ=10.0"
    text = compare([sweep / "0", sweep / "2"], tmp_path / "bound.html", "model")
    assert sentence not in text
    for name in ("0", "2"):
        table = (sweep / name / "evaluation" / "cases.csv").read_text(encoding="utf-8").splitlines()
        if name == "2":
            table = [line.replace(",False,", ",True,") if ",model," in line else line for line in table]
        folder = tmp_path / "runs" / name / "evaluation"
        folder.mkdir(parents=True)
        (folder / "cases.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
        config = (sweep / name / "evaluation" / "config.json").read_text(encoding="utf-8")
        (folder / "config.json").write_text(config, encoding="utf-8")
    text = compare([tmp_path / "runs"], tmp_path / "own.html", "model")
    assert sentence in text
    assert sentence[1:] in (tmp_path / "own.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_one_line(sweep, tmp_path, capsys, monkeypatch) -> None:
    with pytest.raises(CtmarError, match=r"a run must hold evaluation/cases\.csv"):
        find_runs([tmp_path])
    assert compare_command(monkeypatch, sweep, "--method", "nmar", "--out", tmp_path / "p.html") == 2
    assert capsys.readouterr().err.startswith("error: method must be one of clean, model, uncorrected")
    assert compare_command(monkeypatch, sweep, "--metrics", "psnr", "--out", tmp_path / "p.html") == 2
    assert not (tmp_path / "p.html").exists()
