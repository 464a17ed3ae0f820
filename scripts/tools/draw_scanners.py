"""Draws one case under several scanners: ``scripts/tools/draw_scanners.py docs/scanners-panel.png``.

The rows are scanners; the columns the metal-free reference, the uncorrected image and its error.
"""

import argparse
import sys
from pathlib import Path

from ctmar.config.build import build_simulator
from ctmar.config.composing import composed
from ctmar.errors import CtmarError
from ctmar.report.canvas import black_figure, body_crop, paint_mask, save_figure
from ctmar.report.panels import DIFFERENCE_HU
from ctmar.units import WINDOWS_HU

COLUMNS = ("metal-free reference", "uncorrected", f"error, ±{DIFFERENCE_HU:.0f} HU")


def main() -> int:
    """Simulates the case under each scanner and draws it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scanners", default="standard,syndeeplesion")
    parser.add_argument("--anatomy", default="abdomen")
    parser.add_argument("--geometry", default="large")
    parser.add_argument("--index", type=int, default=1, help="case of the test split")
    options = parser.parse_args()
    names = options.scanners.split(",")
    figure, axes = None, None
    for row, name in enumerate(names):
        choices = [f"scanner={name}", f"anatomy={options.anatomy}", f"geometry={options.geometry}"]
        cfg = composed("train", [*choices, "data.fills=[]", "paths.output_dir=unused"])
        try:
            simulator = build_simulator(cfg, 1)
            case = simulator.case("test", options.index)
        except CtmarError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        scan, truth = case.scan, case.truth
        hu = scan.image_hu(scan.measured, cfg.projector.filter)[0, 0].numpy()
        reference, metal = truth.reference_hu[0, 0].numpy(), scan.metal_mask[0, 0].numpy()
        crop = body_crop(truth.body_mask[0, 0].numpy())
        if figure is None or axes is None:
            height, width = reference[crop].shape
            figure, axes = black_figure(len(names), len(COLUMNS), height / width)
        low, high = WINDOWS_HU["soft"]
        for ax, picture in zip(axes[row], (reference, hu), strict=False):
            ax.imshow(picture[crop], cmap="gray", vmin=low, vmax=high)
        error_hu = (hu - reference)[crop]
        axes[row, 2].imshow(error_hu, cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU)
        for ax, title in zip(axes[row], COLUMNS, strict=True):
            paint_mask(ax, metal[crop])
            ax.set_title(title if row == 0 else "", color="white", fontsize=9)
        largest = float(truth.clean.max())
        label = f"{name}\nlargest metal-free\nline integral {largest:.1f}"
        axes[row, 0].set_ylabel(label, color="white", fontsize=9)
    assert figure is not None
    save_figure(figure, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
