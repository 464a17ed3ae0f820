"""New cases from a batch by exact symmetries of the sinogram: turned and mirrored patients."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctmar.networks.wrap import mirror_left_right, roll_views
from ctmar.sample import IMAGE_FIELDS, SINOGRAM_FIELDS, MARSample


def augment(
    sample: MARSample,
    generator: np.random.Generator,
    mirror: bool,
    rotate_views: int,
    images: bool = False,
) -> MARSample:
    """Mirrors each case with probability one half and turns it by a whole number of views.

    Nothing is interpolated, so the noise and the off-trace equality of the sample stay as they are.
    Only the sinogram fields and the fills change: **the image fields are stale in the result**, which is
    for losses on the sinogram; unless ``images``.

    Args:
        sample: A batch whose beam :attr:`~ctmar.geometry.ParallelBeam.wraps`.
        generator: Gives one draw a case.
        mirror: Whether to mirror left to right.
        rotate_views: Largest turn in views, to either side; 0 for none.
        images: Mirror the image fields too, and turn nothing: an image can be mirrored without
            interpolation, but not turned.
    """
    if images:
        rotate_views = 0
    batch = len(sample.measured)
    mirrored = (generator.random(batch) < 0.5) & mirror
    turns = generator.integers(-rotate_views, rotate_views + 1, size=batch)

    def move(field: Tensor) -> Tensor:
        cases = []
        for case, flip, views in zip(field, mirrored, turns, strict=True):
            cases.append(roll_views(mirror_left_right(case) if flip else case, int(views)))
        return torch.stack(cases)

    changed: dict[str, Any] = {name: move(getattr(sample, name)) for name in SINOGRAM_FIELDS}
    if images:
        which = torch.from_numpy(mirrored).to(sample.metal_mask.device)[:, None, None, None]
        for name in IMAGE_FIELDS:
            image = getattr(sample, name)
            changed[name] = torch.where(which, image.flip(-1), image)
    return sample._replace(**changed, fills={name: move(fill) for name, fill in sample.fills.items()})


def move_sample(sample: MARSample, mirror: bool, views: int) -> MARSample:
    """Every case mirrored or not and turned by the same views; exact, and :func:`move_back` undoes it."""

    def move(field: Tensor) -> Tensor:
        return roll_views(mirror_left_right(field) if mirror else field, views)

    changed: dict[str, Any] = {name: move(getattr(sample, name)) for name in SINOGRAM_FIELDS}
    return sample._replace(**changed, fills={name: move(fill) for name, fill in sample.fills.items()})


def move_back(sinogram: Tensor, mirror: bool, views: int) -> Tensor:
    """A sinogram of a moved sample where it was before."""
    turned = roll_views(sinogram, -views)
    return mirror_left_right(turned) if mirror else turned
