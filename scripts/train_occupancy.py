"""The network that tells metal from streaks in stored images: ``python scripts/train_occupancy.py FOLDER``.

Simulates scans of bodies with metal by many scanners (``data=varied`` on 512² pixels of 0.7 mm) into FOLDER,
what is there already is kept, and trains :class:`~ctmar.networks.occupancy.MetalOccupancy` on parts of their
images, scaled, turned, made softer or sharper, and cut off or not. Prints the Dice of validation images.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ctmar.config.build import build_simulator
from ctmar.config.composing import composed
from ctmar.data.simulate import Simulator
from ctmar.networks.occupancy import HEAVY, LIGHT, MetalOccupancy
from ctmar.physics.materials import MATERIALS, attenuation, named
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU

Images = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""``(row, column)`` in HU; the share of metal; and how heavy that is, 0 to 1."""

COMMON = (
    "anatomy=spines",
    "anatomy.parts={procedural: 1, thorax: 1}",
    "data=varied",
    "data.fills=[]",
    "geometry=large",
    # A fan takes ten times as long, and looks the same in images.
    "data.scans.blurred.acquisition=null",
    "data.scans.blurred.parts=4",
    "+data.scans.scattering.parts=2",
)
KINDS = {
    "screws": ("data.generator.realistic_ratio=0.65",),
    "operations": (
        "data.generator.realistic_ratio=0.9",
        "+data.generator.realistic.construct=rich",
        "data.seed=7",
    ),
}
CASES = {"train": {"screws": 1000, "operations": 300}, "val": {"screws": 40, "operations": 24}}
PART, SIDE = 288, 192
"""Pixels of what is kept of an image, around its metal; and of what the network sees of that."""
LEAST, LEAST_SHARE, LEAST_METAL = 0.1, 1e-3, 30.0
SEEN_KEV = 75.0
"""Energy at which metals are held against each other."""
HEAVY_WEIGHT = 0.3
LEARNING_RATE, BATCH, REPORTED = 2.0e-3, 6, 300


def simulator(kind: str) -> Simulator:
    """What makes cases of a kind."""
    return build_simulator(composed("train", [*COMMON, *KINDS[kind], "paths.output_dir=."]), 1)


def simulate(folder: Path, split: str) -> None:
    """Writes the images of a split that are not there yet."""
    for kind, count in CASES[split].items():
        wanted = [folder / split / f"{kind}-{index:05d}.npz" for index in range(count)]
        if all(path.is_file() for path in wanted):
            continue
        made = simulator(kind)
        for index, path in enumerate(wanted):
            if not path.is_file():
                image, share, heavy = stored(made, split, index)
                aside = path.with_suffix(".part.npz")
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(aside, hu=image, share=share, heavy=heavy)
                aside.rename(path)


def stored(made: Simulator, split: str, index: int) -> Images:
    """A case's image with all its HU, and the metal in its own slice."""
    scan, over = made.case(split, index).scan, made.scanner_of(index).oversampling
    cut = made.scene(split, index).slices([0], made.ray.grid.refine(over))
    none = np.zeros_like(cut.hu)
    weighed = sum((heaviness(name) * part for name, part in cut.metal.items()), none)
    share, heavy = (
        avg_pool2d(torch.from_numpy(part), over)[0].numpy()
        for part in (sum(cut.metal.values(), none), weighed)
    )
    return scan.image_hu(scan.measured)[0, 0].numpy(), share, heavy / np.maximum(share, LEAST_SHARE)


def heaviness(name: str) -> float:
    """Where a material's attenuation lies between the light alloy's, 0, and the heavy one's, 1."""
    mu, light, heavy = (
        float(attenuation(named(one, MATERIALS), np.array([SEEN_KEV]))[0]) for one in (name, LIGHT, HEAVY)
    )
    return float(np.clip((mu - light) / (heavy - light), 0, 1))


def parts(folder: Path, split: str) -> list[Images]:
    """The part around the metal of each image."""
    out = []
    for path in sorted((folder / split).glob("*.npz")):
        file = np.load(path)
        image, share, heavy = file["hu"], file["share"], file["heavy"]
        at = np.nonzero(share > LEAST)
        if not len(at[0]):
            continue
        where = []
        for places, side in zip(at, image.shape, strict=True):
            first = int(places.min() + places.max()) // 2 - PART // 2
            first = min(max(first, 0), side - PART)
            where.append(slice(first, first + PART))
        out.append(tuple(one[tuple(where)].copy() for one in (image, share, heavy)))
    return out


def changed(images: Images, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A part scaled and turned, softer or sharper, cut off or not: ``(1, row, column)`` in HU, and the two
    shares ``(2, row, column)``.
    """
    scale = math.exp(rng.uniform(math.log(0.65), math.log(1.45)))
    angle = rng.uniform(-0.5, 0.5) + math.pi / 2 * rng.integers(4)
    mirrored = rng.choice([-1, 1])
    zoom = SIDE / PART / scale
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = torch.tensor([[[cos * mirrored, -sin, 0.0], [sin * mirrored, cos, 0.0]]], dtype=torch.float32)
    room = max(0.0, 1 - 1.2 * zoom)
    turn[0, :, 2] = torch.from_numpy(rng.uniform(-room, room, 2))
    image, share, heavy = images
    all_ = np.stack([image, share, share * heavy])[None]
    if scale < 0.9:
        all_ = ndimage.gaussian_filter(all_, (0, 0, 0.4 / scale, 0.4 / scale))
    grid = F.affine_grid(turn, [1, 3, SIDE, SIDE], align_corners=False)
    seen = F.grid_sample(torch.from_numpy(all_), grid, padding_mode="border", align_corners=False)[0]
    metal = torch.stack([seen[1], (seen[2] / seen[1].clamp(min=LEAST_SHARE)).clamp(0, 1)])
    return torch.from_numpy(_by_kernel(seen[0].numpy(), rng))[None], metal


def _by_kernel(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """An image as other kernels, doses and scales would show it."""
    kernel = rng.random()
    if kernel < 0.35:
        hu = ndimage.gaussian_filter(hu, rng.uniform(0.3, 1.1))
    elif kernel < 0.55:
        hu = hu + rng.uniform(0.2, 1.0) * (hu - ndimage.gaussian_filter(hu, rng.uniform(0.6, 1.2)))
    if rng.random() < 0.3:
        hu = hu + rng.normal(0, rng.uniform(5, 40), hu.shape).astype(np.float32)
    if rng.random() < 0.55:
        hu = hu.clip(STORED_MIN_HU, STORED_MAX_HU if rng.random() < 0.8 else rng.uniform(2500, 4000))
    return hu.astype(np.float32)


def loss(logits: Tensor, metal: Tensor) -> Tensor:
    """Of the share cross-entropy, eightfold near metal, and one less a soft Dice; of the other that in metal.

    Args:
        logits: ``(batch, 2, row, column)``.
        metal: The same shape, 0 to 1: share, and how heavy.
    """
    share = metal[:, :1]
    weighed = share * F.binary_cross_entropy_with_logits(logits[:, 1:], metal[:, 1:], reduction="none")
    heavy = weighed.sum((1, 2, 3)) / (share.sum((1, 2, 3)) + LEAST_METAL)
    logits = logits[:, :1]
    entropy = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    weight = torch.where(F.max_pool2d(share, 9, 1, 4) > 0.05, 8.0, 1.0)
    found = logits.sigmoid()
    both, each = (found * share).sum((1, 2, 3)), (found**2 + share**2).sum((1, 2, 3))
    dice = (2 * both + 1) / (each + 1)
    return 4 * (weight * entropy).mean() + (1 - dice).mean() + HEAVY_WEIGHT * heavy.mean()


def dices(net: nn.Module, shown: Sequence[tuple[Tensor, Tensor]]) -> NDArray[np.float64]:
    """Dice of each image's pixels that are mostly metal, where it shows some."""
    net.eval()
    out = []
    with torch.inference_mode():
        for hu, metal in shown:
            found, true = net(hu[None])[0, 0] >= 0.5, metal[0] >= 0.5
            if true.any():
                out.append(float(2 * (found & true).sum() / (found.sum() + true.sum())))
    return np.array(out)


def train(folder: Path, minutes: float, out: Path) -> None:
    """Trains for so long and writes the averaged weights."""
    torch.manual_seed(0)
    rng, fixed = np.random.default_rng(0), np.random.default_rng(5)
    known = parts(folder, "train")
    shown = [changed(images, fixed) for images in parts(folder, "val") for _ in range(4)]
    net = MetalOccupancy()
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-4)
    start, steps = time.monotonic(), 0
    losses: list[float] = []
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        rate = LEARNING_RATE * min(1, (steps + 1) / 100) * (1 + math.cos(math.pi * done)) / 2 + 1e-5
        optimizer.param_groups[0]["lr"] = rate
        batch = [changed(known[rng.integers(len(known))], rng) for _ in range(BATCH)]
        hu, metal = (torch.stack(list(one)) for one in zip(*batch, strict=True))
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = net.logits(hu)
        value = loss(logits.float(), metal)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        mean.update_parameters(net)
        steps, losses = steps + 1, [*losses[-REPORTED + 1 :], value.item()]
        if steps % REPORTED == 0:
            print(f"{steps} steps, {done:.0%} of the time, loss {np.mean(losses):.4f}", flush=True)
    found = dices(mean.module, shown)
    print(f"Dice {found.mean():.3f}, {np.mean(found < 0.8):.1%} of {len(found)} below 0.8")
    save_file({name: value.contiguous() for name, value in mean.module.state_dict().items()}, out)


def main(words: Sequence[str] | None = None) -> int:
    """Simulates, trains and writes; the exit status."""
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the images are kept")
    parser.add_argument("--minutes", type=float, default=40.0, help="of training")
    parser.add_argument("--out", type=Path, default=Path("occupancy.safetensors"), help="the weights")
    arguments = parser.parse_args(words)
    if not arguments.out.parent.is_dir():
        parser.error(f"--out must lie in a folder that exists, got {arguments.out}")
    if not arguments.minutes > 0:
        parser.error(f"--minutes must be positive, got {arguments.minutes:g}")
    for split in CASES:
        simulate(arguments.folder, split)
    train(arguments.folder, arguments.minutes, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
