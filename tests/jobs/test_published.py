"""The benchmark on a published set's own files, real ones and mock ones."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam
from ctmar.jobs.benchmark import benchmark, run
from ctmar.jobs.published import PublishedSet, of_files
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.pairs.published import SynDeepLesionFiles, rebinned_scan
from ctmar.report.table import benchmark_text
from tests.published_files import write_slice

SCORE = "psnr_indudonet"


def psnr(file: Path, field: str, metal: np.ndarray, of: str = "gt.h5") -> float:
    """The family's figure from the file's own pixels: 1/cm, clipped at 0.5, 8 bit, metal zeroed in both."""
    with h5py.File(file.parent / "gt.h5") as truth, h5py.File(file.parent / of) as other:
        images = [np.clip(image[()], 0, 0.5) / 0.5 for image in (truth["image"], other[field])]
    a, b = (np.where(metal, 0, np.round(image * 255) / 255) for image in images)
    return float(10 * np.log10(1 / np.mean((a - b) ** 2)))


def difference(file: Path) -> np.ndarray:
    """The metal that stands in where no masks are at hand."""
    with h5py.File(file.parent / "gt.h5") as truth, h5py.File(file) as case:
        return (case["ma_CT"][()] - truth["image"][()]) / 0.192 * 1000 > 3000


def of(summary: dict, method: str, metric: str = SCORE) -> float:
    return float(summary["methods"][method][metric]["mean"])


@pytest.mark.slow
def test_real_images_score_what_their_pixels_give(tiny, data_dir: Path, tmp_path: Path) -> None:
    root = data_dir / "syndeeplesion_sample"
    if not root.is_dir():
        pytest.skip("no real slice: CTMAR_DATA has no syndeeplesion_sample")
    for folder in SynDeepLesionFiles(root).folders.values():
        for file in sorted(folder.glob("[0-9]*.h5")):
            given = [f"benchmark.root={folder.parent}", f"benchmark.masks=[{file.stem}]"]
            given += ["benchmark=syndeeplesion", "models=[uncorrected,li]", "model=li"]
            summary = benchmark(tiny(*given, job="benchmark"), tmp_path / file.stem)
            metal = difference(file)
            for field, at in (("ma_CT", file.name), ("LI_CT", file.name), ("poly_CT", "gt.h5")):
                assert of(summary, field) == pytest.approx(psnr(file, field, metal, at), abs=0.05)
            # The set's own reconstruction is 0.8 % too bright in tissue: a right one lies above its ceiling.
            assert of(summary, "clean") > of(summary, "poly_CT") - 0.3
            assert of(summary, "li") > of(summary, "uncorrected") + 1
            assert of(summary, "li") == pytest.approx(of(summary, "LI_CT"), abs=1.5)


def test_a_set_is_scored_with_its_masks_its_images_and_a_peer_s(tiny, tmp_path: Path) -> None:
    folder = write_slice(tmp_path / "set")
    masks = np.zeros((512, 512, 5), np.uint8)
    masks[320:352, 192:224, 4] = 1
    np.save(tmp_path / "set" / "trainmask.npy", masks)
    given = ["benchmark=syndeeplesion", f"benchmark.root={tmp_path}/set", "models=[li]", "model=li"]
    cfg = tiny(*given, f"export={tmp_path}/cases", job="benchmark")
    benchmark(cfg, tmp_path / "first")
    (case,) = (tmp_path / "cases").glob("*.npz")
    assert case.stem == "000001_03_01-113-4"
    with h5py.File(folder / "4.h5") as file:
        np.save(case.with_suffix(".npy"), (file["LI_CT"][()] / 0.192 - 1) * 1000)
    summary = benchmark(tiny(*given, f"images={{peer:{case.parent}}}", job="benchmark"), tmp_path / "second")
    assert list(summary["methods"]) == ["li", "peer", "ma_CT", "LI_CT", "poly_CT", "clean"]
    metal = np.zeros((416, 416), bool)
    metal[260:286, 156:182] = True  # 16 of the mask's pixels are 13 of the image's
    for field, at in (("ma_CT", "4.h5"), ("LI_CT", "4.h5"), ("poly_CT", "gt.h5")):
        assert of(summary, field) == pytest.approx(psnr(folder / "4.h5", field, metal, at), abs=0.05)
    assert of(summary, "peer") == pytest.approx(of(summary, "LI_CT"), abs=1e-3)
    assert summary["source"] == "raw" and summary["metal_from"] == "mask"
    assert summary["off_trace_max_abs_change"] == 0.0
    told = benchmark_text(summary)
    assert "1 cases: projections as measured in the files (640 × 641), rebinned to 640 × 1185" in told
    row = told.partition("as published: indudonet")[2].partition("ma_CT")[2].split()
    assert float(row[0]) == pytest.approx(psnr(folder / "4.h5", "ma_CT", metal, "4.h5"), abs=0.05)
    assert float(row[1]) == pytest.approx(of(summary, "ma_CT", "ssim_indudonet"), abs=1e-4)
    assert "metal from masks of the set" in told and "ceiling: poly_CT" in told


def test_projections_are_made_where_the_files_have_none(tiny, tmp_path: Path) -> None:
    write_slice(tmp_path, images_alone=True)
    given = ["benchmark=syndeeplesion", f"benchmark.root={tmp_path}", "models=[li]", "model=li"]
    summary = benchmark(tiny(*given, job="benchmark"), tmp_path / "run")
    assert summary["source"] == "image" and summary["metal_from"] == "difference"
    told = "\n".join(summary["benchmark"]["notes"])
    assert "projections made from the files' images (640 × 1185), metal from the images' difference" in told


def test_no_metal_leaks_out_of_the_rebinned_trace() -> None:
    fan = FanBeam(60, 41, 3.0, 120.0, 80.0)
    clean = torch.rand(fan.shape, generator=torch.Generator().manual_seed(0))
    trace = torch.zeros(fan.shape, dtype=torch.bool)
    trace[:, 17:21] = True
    beam = replace(fan.parallel(), det_spacing_mm=0.9)
    light, heavy = (torch.where(trace, clean + metal, clean) for metal in (5.0, 50.0))
    (a, on), (b, also) = (rebinned_scan(measured, trace, fan, beam) for measured in (light, heavy))
    assert torch.equal(on, also) and 0 < int(on.sum()) < on.numel() / 2
    assert torch.equal(a[~on], b[~on])
    assert float((b - a)[on].max()) > 40
    plain = [rebin_fan_to_parallel(measured, fan, beam) for measured in (light, heavy)]
    assert float((plain[1] - plain[0])[~on].abs().max()) > 1  # cubics alone would leak


@pytest.mark.parametrize(
    "given,match",
    [
        ((), "benchmark.root must be the folder of syndeeplesion's files, got None"),
        (("benchmark.root=nowhere",), "benchmark.root must be the folder"),
        (("benchmark.root=.", "benchmark.masks=[a]"), "benchmark.masks must be"),
        (("benchmark.root=.", "benchmark.mu_water=water"), "benchmark.mu_water must be"),
        (("benchmark.root=.", "benchmark.geometry=null"), "benchmark.geometry must be"),
        (("benchmark.root=.", "benchmark.protocol=null"), "benchmark.protocol must be"),
        (("benchmark.root=.", "freeze=true"), "freeze must be false where cases are files"),
        (("benchmark.root=.", "evaluation.limit=true"), "evaluation.limit must be false where"),
    ],
)
def test_what_a_published_set_has_not_is_refused(tiny, given: tuple[str, ...], match: str) -> None:
    with pytest.raises(CtmarError, match=match):
        run(tiny("benchmark=syndeeplesion", "model=li", *given, job="benchmark"))


def test_cases_that_are_not_there_are_refused(tiny, tmp_path: Path) -> None:
    write_slice(tmp_path)
    given = ["benchmark=syndeeplesion", f"benchmark.root={tmp_path}", "model=li"]
    with pytest.raises(CtmarError, match=r"must have one of the metals \[7\], got none"):
        PublishedSet(of_files(tiny(*given, "benchmark.masks=[7]", job="benchmark")), None)
    with pytest.raises(CtmarError, match="num_cases must be from 1 to 1, got 2"):
        PublishedSet(of_files(tiny(*given, job="benchmark")), 2)
