"""``scripts/validation/compare_aapm_scorer.py``, with a stand-in of the challenge's scorer."""

import sys
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.metrics.aapm import AAPM_METRICS
from scripts.validation import compare_aapm_scorer
from scripts.validation.compare_aapm_scorer import compared, load_scorer, simulated, table

STAND_IN = """
import numpy as np
from scipy import ndimage


def metric_ssim(reference, image, mask, metal):
    return None, 0.75


def metric_sobel(reference, image, soft, bone):
    def steep(x, mask):
        return np.percentile(np.hypot(ndimage.sobel(x, 0), ndimage.sobel(x, 1))[mask == 1], 90)

    ratios = [steep(image, mask) / steep(reference, mask) for mask in (bone, soft)]
    return *ratios, np.mean(ratios)


def relative(mask, true):
    return abs(mask.sum() / true.sum() - 1), 2 * (mask & true).sum() / (mask.sum() + true.sum()), 0.0


def metric_metalgeometry(image, metal, region, voxel, bone, more):
    return relative((image > bone + more) & region, metal)


def metric_bone_geometry(reference, image, mask, bone, voxel):
    first, second = ((x >= 150) & (x < 2500) & mask for x in (reference, image))
    return relative(second, first)


def metric_protonrange(angle, reference, image, target, external, voxel):
    return [], [], [], 12.5, 0.1


def metric_streak(image, reference, region):
    errors = np.sort((image - reference)[region])
    share = int(len(errors) / 20)
    return abs(errors[-share:].mean() - errors[:share].mean())
"""


def scorer(folder: Path, text: str = STAND_IN) -> Path:
    folder.mkdir()
    (folder / "utils.py").write_text(text, encoding="utf-8")
    return folder


def test_what_is_defined_alike_agrees_and_what_is_not_is_told(tmp_path: Path) -> None:
    (case,) = simulated(1, ImageGrid((64, 64), 5.6), ParallelBeam(48, 93, 5.6))
    pairs = compared(load_scorer(scorer(tmp_path / "scorer")), case)
    assert list(pairs) == list(AAPM_METRICS) and {len(values) for values in pairs.values()} == {3}
    for theirs, ours in [*pairs["noise_error_hu"], pairs["sharpness_error"][0]]:
        assert theirs == pytest.approx(ours, rel=1e-4)
    # Pixels of 5.6 mm: the metal that completions show reaches into the gradient beside it.
    assert pairs["sharpness_error"][1][0] > pairs["sharpness_error"][1][1] * 1.1
    assert [theirs for theirs, _ in pairs["dssim_aapm"]] == [0.25] * 3
    assert [theirs for theirs, _ in pairs["rmse_wepl_mm"]] == [12.5] * 3
    # On their diamond around metal as on our square: the same order of methods, not the same figure.
    ranked = [sorted(range(3), key=lambda k: pairs["rmse_hu_aapm"][k][side]) for side in (0, 1)]
    assert ranked[0] == ranked[1] and pairs["rmse_hu_aapm"][0][0] > pairs["rmse_hu_aapm"][0][1]


def test_the_table_has_differences_by_metric() -> None:
    pairs = {
        "alike": [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)],
        "turned": [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (float("nan"), 1.0)],
        "constant": [(1.0, 5.0)] * 3,
        "nowhere": [(float("nan"), 1.0)],
    }
    _, _, alike, turned, constant, nowhere = (line.split() for line in table(pairs).splitlines())
    assert alike == ["alike", "2", "2", "0", "0", "1.000", "3"]
    assert turned == ["turned", "2", "2", "1.33", "2", "-1.000", "3"]
    assert constant == ["constant", "1", "5", "4", "4", "-", "3"]
    assert "no image has both" in " ".join(nowhere)


@pytest.mark.parametrize(
    "text,match",
    [
        (None, "must be a folder with the challenge's utils.py, got"),
        ("import a_module_that_is_nowhere", "must find what it imports: No module named"),
        (STAND_IN.replace("metric_streak", "metric_other"), "got no metric_streak"),
    ],
)
def test_a_scorer_that_is_none_is_one_line(text: str | None, match: str, tmp_path: Path) -> None:
    folder = tmp_path / "none" if text is None else scorer(tmp_path / "scorer", text)
    with pytest.raises(CtmarError, match=match):
        load_scorer(folder)


def test_the_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, told in (
        ([str(tmp_path / "none")], "error: the scorer must be a folder"),
        ([str(scorer(tmp_path / "scorer")), "--cases", "0"], "error: --cases must be 1 or more, got 0"),
    ):
        monkeypatch.setattr(sys, "argv", ["compare_aapm_scorer.py", *words])
        assert compare_aapm_scorer.main() == 2
        assert capsys.readouterr().err.startswith(told)
