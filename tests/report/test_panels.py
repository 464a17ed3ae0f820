import warnings

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from ctmar.errors import CtmarError
from ctmar.files import file_stem
from ctmar.report.canvas import METAL_COLOR, body_crop, figure_rgb, save_figure
from ctmar.report.panels import panel_figure, render_panel

SHAPE = (40, 48)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    body = np.zeros(SHAPE, dtype=bool)
    body[10:30, 12:40] = True
    metal = np.zeros(SHAPE, dtype=bool)
    metal[18:22, 20:24] = True
    return np.where(body, 40.0, -1000.0), metal, body


def test_crop_is_the_body_and_its_margin():
    _, _, body = scene()
    assert body_crop(body, margin=3) == (slice(7, 33), slice(9, 43))
    assert body_crop(np.zeros(SHAPE, dtype=bool)) == (slice(0, 40), slice(0, 48))


def test_crop_stops_at_the_image():
    assert body_crop(np.ones(SHAPE, dtype=bool)) == (slice(0, 40), slice(0, 48))


def test_panel_has_the_reference_and_each_image_as_columns_in_three_rows():
    reference, metal, _ = scene()
    figure = panel_figure(
        {"uncorrected": reference + 10, "model": reference}, reference, metal, rmse_near={"model": 12.3}
    )
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["reference", "uncorrected", "model\nnear RMSE 12 HU"]
    assert sum(bool(ax.images) for ax in figure.axes) == 8  # the reference has no difference


def test_difference_is_image_minus_reference_within_the_crop():
    reference, metal, body = scene()
    figure = panel_figure({"model": reference + 50}, reference, metal, body_mask=body)
    shown = figure.axes[5].images[0]
    assert shown.get_clim() == (-200.0, 200.0)
    assert shown.get_array().shape == (28, 36)
    assert np.allclose(shown.get_array(), 50.0)


def test_windows_are_the_named_ones():
    reference, metal, _ = scene()
    figure = panel_figure({"model": reference}, reference, metal)
    assert figure.axes[0].images[0].get_clim() == (-160.0, 240.0)
    assert figure.axes[2].images[0].get_clim() == (-450.0, 1050.0)


def test_metal_is_painted_from_its_mask_in_every_image():
    reference, metal, body = scene()
    figure = panel_figure({"model": reference}, reference, metal, body_mask=body)
    crop = body_crop(body)
    for ax in (ax for ax in figure.axes if len(ax.images) == 2):
        layer = ax.images[1].get_array()
        assert np.array_equal(layer[..., 3] == 1.0, metal[crop])
        assert np.allclose(layer[metal[crop]][:, :3], METAL_COLOR)
    assert sum(len(ax.images) == 2 for ax in figure.axes) == 5


def test_nan_near_rmse_is_said_in_words():
    reference, metal, _ = scene()
    figure = panel_figure({"model": reference}, reference, metal, rmse_near={"model": float("nan")})
    assert figure.axes[1].get_title() == "model\nno near region"


def test_rendered_file_is_a_picture_on_black_and_leaves_no_part(tmp_path):
    reference, metal, _ = scene()
    render_panel(
        {"model": torch.tensor(reference)}, torch.tensor(reference), torch.tensor(metal), tmp_path / "a/b.png"
    )
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
    pixels = imread(tmp_path / "a/b.png")
    assert pixels.shape[0] > 200 and np.allclose(pixels[-1, 0, :3], 0.0)
    assert len(np.unique(pixels[..., 0])) > 10


def test_drawing_leaves_no_pyplot_state():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    reference, metal, _ = scene()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure_rgb(panel_figure({"model": reference}, reference, metal))
    assert plt.get_fignums() == before


def test_pixels_of_a_figure_are_rows_columns_and_rgb():
    reference, metal, _ = scene()
    rgb = figure_rgb(panel_figure({"model": reference}, reference, metal))
    assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.max() > 200


def test_a_failed_save_keeps_the_old_picture(tmp_path):
    class Broken:
        def savefig(self, path, **kwargs):
            path.write_bytes(b"half")
            raise OSError("disk full")

        def get_facecolor(self):
            return "black"

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        save_figure(Broken(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_images_of_another_shape_are_refused():
    reference, metal, _ = scene()
    with pytest.raises(CtmarError, match=r"model must have the reference's shape \(40, 48\), got \(39, 48\)"):
        panel_figure({"model": reference[1:]}, reference, metal)
    with pytest.raises(CtmarError, match="model must have rows and columns alone"):
        panel_figure({"model": reference[None]}, reference, metal)


def test_case_ids_become_names_of_files():
    assert file_stem("test-3") == "test-3"
    assert "/" not in file_stem("../../etc/x y")
