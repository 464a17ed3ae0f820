"""Draws a point, its image and its sinogram, axes and signs: ``scripts/tools/draw_conventions.py FILE``."""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform

AT_MM = (60.0, 30.0)


def main() -> None:
    """Projects a small disk with the real operator and draws where it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    grid, beam = ImageGrid((200, 200), 1.0), ParallelBeam(180, 285, 1.0)
    middle = np.arange(200) - 99.5
    x, y = middle[None, :], -middle[:, None]
    image = ((x - AT_MM[0]) ** 2 + (y - AT_MM[1]) ** 2 < 36).astype(np.float32)
    sinogram = RayTransform(grid, beam, "native").forward(torch.from_numpy(image)).numpy()
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    left.imshow(image, cmap="gray", extent=(-100, 100, -100, 100))
    left.axhline(0, color="C1", lw=0.8)
    left.axvline(0, color="C1", lw=0.8)
    theta = np.radians(30)
    left.annotate(
        "",
        90 * np.array([np.cos(theta), np.sin(theta)]),
        (0, 0),
        arrowprops={"arrowstyle": "->", "color": "C0"},
    )
    left.text(62, 52, "s, θ = 30°", color="C0")
    left.set(xlabel="x in mm, along columns", ylabel="y in mm, up: against rows", title="image (row, column)")
    right.imshow(sinogram, cmap="gray", aspect="auto", extent=(-142.5, 142.5, 179.5, -0.5))
    degrees = np.arange(180)
    s = AT_MM[0] * np.cos(np.radians(degrees)) + AT_MM[1] * np.sin(np.radians(degrees))
    right.plot(s, degrees, "C1--", lw=1, label="x cos θ + y sin θ")
    right.legend(loc="lower right")
    right.set(xlabel="s in mm, along bins", ylabel="θ in degrees", title="sinogram (angle, detector)")
    plt.tight_layout()
    plt.savefig(file, dpi=80)


if __name__ == "__main__":
    main()
