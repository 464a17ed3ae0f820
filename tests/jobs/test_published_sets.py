"""The benchmark on ADN's, CNN-MAR's and AAPM CT-MAR's files: rows, scores, and what the table tells."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import benchmark, run
from ctmar.report.table import benchmark_text
from tests.published_files import write_aapm, write_adn, write_adn_masks, write_cnnmar
from tests.tiny_runs import Compose

FEW = ("models=[li]", "model=li", "data.fills=[]", "evaluation.num_panels=0")


def of(summary: dict, method: str, metric: str) -> float:
    return float(summary["methods"][method][metric]["mean"])


def rmse(image: np.ndarray, reference: np.ndarray, scored: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - reference)[scored] ** 2)))


@pytest.mark.slow
def test_adn_is_scored_by_its_masks_and_without_them(tiny: Compose, tmp_path: Path) -> None:
    root = tmp_path / "deep_lesion"
    folder = write_adn(root / "test")
    given = ["benchmark=adn", f"benchmark.root={root}", "benchmark.masks=[1]", *FEW]
    alone = benchmark(tiny(*given, job="benchmark"), tmp_path / "alone")
    told = benchmark_text(alone)
    assert "1 cases: projections made from the files' images (512 × 731), metal from the images' diff" in told
    assert "images of the files themselves: ma_CT; no ceiling among them" in told
    masks = write_adn_masks(root)
    metal = masks[..., 0].reshape(256, 2, 256, 2).mean((1, 3)) >= 0.5
    summary = benchmark(tiny(*given, job="benchmark"), tmp_path / "masked")
    assert list(summary["methods"]) == ["li", "ma_CT", "clean"] and summary["metal_from"] == "mask"
    # The family's figure from the file's own pixels: 1/cm, clipped at 0.5, 8 bit, metal zeroed in both.
    reference = np.maximum(loadmat(folder / "gt.mat")["image"].astype(float) - 32768, -1000)
    pair = loadmat(folder / "1.mat")["image"].T, (reference / 1000 + 1) * 0.192
    a, b = (np.where(metal, 0, np.round(np.clip(x, 0, 0.5) / 0.5 * 255) / 255) for x in pair)
    assert of(summary, "ma_CT", "psnr_indudonet") == pytest.approx(
        -10 * np.log10(np.mean((a - b) ** 2)), abs=0.05
    )
    assert summary["off_trace_max_abs_change"] == 0.0


@pytest.mark.slow
def test_cnnmar_is_scored_on_its_own_projections(tiny: Compose, tmp_path: Path) -> None:
    file = write_cnnmar(tmp_path / "set")
    given = ["benchmark=cnnmar", f"benchmark.root={tmp_path}/set", *FEW]
    summary = benchmark(tiny(*given, f"export={tmp_path}/cases", job="benchmark"), tmp_path / "run")
    told = benchmark_text(summary)
    rays = "as measured in the files (984 × 1025), rebinned to 984 × 1457"
    assert f"1 cases: projections {rays}, those without metal made from the image without it" in told
    assert list(summary["methods"]) == ["li", "imRaw", "clean"] and summary["source"] == "raw"
    held = loadmat(file, simplify_cells=True)["imData"]
    hu = {name: (held[name].astype(float) / 0.19 - 1) * 1000 for name in ("imRaw", "imRef")}
    body = np.hypot(*(np.indices((512, 512)) - 255)) * 0.8 < 130
    scored = body & ~held["metalBW"].astype(bool)
    wanted = 20 * np.log10(3000 / rmse(hu["imRaw"], hu["imRef"], scored))
    assert of(summary, "imRaw", "psnr_range3000") == pytest.approx(wanted, abs=0.05)
    assert of(summary, "li", "rmse_hu_body") < of(summary, "imRaw", "rmse_hu_body")
    with np.load(tmp_path / "cases" / "sample_1.npz") as case:
        assert case["uncorrected_hu"].shape == (512, 512)


@pytest.mark.slow
def test_aapm_is_scored_on_its_own_projections(tiny: Compose, tmp_path: Path) -> None:
    write_aapm(tmp_path / "set")
    given = ["benchmark=aapm", f"benchmark.root={tmp_path}/set", *FEW]
    summary = benchmark(tiny(*given, job="benchmark"), tmp_path / "run")
    told = benchmark_text(summary)
    assert (
        "projections as measured in the files (1000 × 900), rebinned to 1000 × 1457, metal from masks" in told
    )
    assert "as published: aapm" in told and list(summary["methods"]) == ["li", "metalart_img", "clean"]

    def read(name: str) -> np.ndarray:
        (file,) = (tmp_path / "set").glob(f"*/training_body_{name}_img7_512x512x1.raw")
        return np.fromfile(file, "<f4").reshape(512, 512).astype(float)

    metal = read("metalonlymask") > 0.5
    wide = np.pad(metal, 2)
    wide = np.any([wide[r : r + 512, c : c + 512] for r in range(5) for c in range(5)], 0)
    body = np.hypot(*(np.indices((512, 512)) - 255.5)) * 400 / 512 < 130
    wanted = 20 * np.log10(5000 / rmse(read("metalart"), read("nometal"), body & ~wide))
    assert of(summary, "metalart_img", "psnr_aapm") == pytest.approx(wanted, abs=0.05)
    assert of(summary, "clean", "rmse_hu_body") < 0.5 * of(summary, "metalart_img", "rmse_hu_body")


@pytest.mark.parametrize("name", ["adn", "cnnmar", "aapm", "aapm_head"])
def test_a_folder_without_the_set_is_one_line(tiny: Compose, tmp_path: Path, name: str) -> None:
    with pytest.raises(CtmarError, match=f"benchmark.root must be the folder of {name}'s files, got None"):
        run(tiny(f"benchmark={name}", "model=li", job="benchmark"))
    with pytest.raises(CtmarError, match=r"must lie under .* got none") as caught:
        benchmark(
            tiny(f"benchmark={name}", f"benchmark.root={tmp_path}", *FEW, job="benchmark"), tmp_path / "run"
        )
    assert "\n" not in str(caught.value)
