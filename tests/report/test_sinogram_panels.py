from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from ctmar.case import Case, Scan, Truth
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.report.sinograms import render_sinograms, sinogram_figure


def cases(batch: int = 1, slices: int = 3) -> Case:
    sinogram, image = torch.ones(batch, slices, 12, 20), torch.zeros(batch, slices, 8, 8)
    sinogram = sinogram * torch.arange(1.0, slices + 1)[None, :, None, None]
    trace = torch.zeros_like(sinogram, dtype=torch.bool)
    trace[..., 8:12] = True
    scan = Scan(
        measured=torch.where(trace, sinogram + 3, sinogram),
        metal_trace=trace,
        metal_mask=image > 0,
        metal_path_mm=trace.float(),
        mu_water=torch.full((batch,), 0.02),
        ray=RayTransform(ImageGrid((8, 8), 1.0), ParallelBeam(12, 20, 1.0)),
        case_id=tuple(f"test-{i}" for i in range(batch)),
    )
    return Case(scan, Truth(sinogram, image, image == 0, image.to(torch.uint8), ({},) * batch))


def test_the_centre_slice_is_drawn_with_its_error_on_the_trace():
    case = cases()
    completed = torch.where(case.scan.metal_trace, case.truth.clean + 0.5, case.scan.measured)[0, 1]
    figure = sinogram_figure(case, {"li": completed})
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["measured", "metal trace", "clean", "li, RMSE on the trace 0.500"]
    assert np.allclose(figure.axes[2].images[0].get_array(), 2.0)  # clean of the middle slice
    error = figure.axes[6].images[0].get_array()
    assert np.allclose(error[:, 8:12], 0.5) and np.allclose(error[:, :8], 0.0)


def test_a_case_without_trace_is_drawn_too():
    case = cases()
    case = replace(case, scan=replace(case.scan, metal_trace=torch.zeros_like(case.scan.metal_trace)))
    figure = sinogram_figure(case, {"li": case.scan.measured[0, 1]})
    assert figure.axes[3].get_title() == "li, RMSE on the trace nan"


def test_the_picture_is_written(tmp_path):
    case = cases(slices=1)
    completed = dict.fromkeys(("uncorrected", "li", "nmar", "model"), case.scan.measured[0, 0])
    render_sinograms(case, completed, tmp_path / "s.png")
    assert imread(tmp_path / "s.png").shape[1] > 800


def test_a_batch_of_several_is_refused():
    with pytest.raises(CtmarError, match="sample must hold one case, got 2"):
        sinogram_figure(cases(batch=2), {})
