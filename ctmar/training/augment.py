"""New cases from a batch by exact symmetries of the sinogram: turned and mirrored patients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.learned.network import require_wraps
from ctmar.networks.wrap import mirror_left_right, roll_views
from ctmar.operators import RayTransform


@dataclass(frozen=True)
class Augment:
    """Mirrors each case with probability one half and turns it by a whole number of views.

    Nothing is interpolated, so the noise and the off-trace equality of a case stay as they are. A batch's
    draw depends on the seed, the epoch, the batch's number and the process only, so that resuming equals
    an unbroken run.

    Attributes:
        mirror: Mirror cases left to right at random.
        rotate_views: Largest turn in views, to either side; 0 for none.
        seed: Of the draws.
    """

    mirror: bool = False
    rotate_views: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rotate_views >= 0:
            raise CtmarError(f"augment_rotate_views must be 0 or more, got {self.rotate_views!r}")

    def check(self, ray: RayTransform) -> None:
        """Refuses a beam that does not close after half a turn."""
        if self.mirror:
            require_wraps("augment_mirror", ray)
        if self.rotate_views:
            require_wraps("augment_rotate_views", ray)

    def __call__(self, case: Case, key: Sequence[int], images: bool = False) -> Case:
        """The batch moved.

        **The images are stale in the result**, which is for losses on the sinogram; unless ``images``.

        Args:
            case: A batch whose beam wraps.
            key: What tells a draw from others beside the seed.
            images: Mirror the images too, and turn nothing: an image can be mirrored without
                interpolation, but not turned.
        """
        if not (self.mirror or self.rotate_views):
            return case
        generator = np.random.default_rng([self.seed, *key])
        turn = 0 if images else self.rotate_views
        mirrored = (generator.random(len(case)) < 0.5) & self.mirror
        turns = generator.integers(-turn, turn + 1, size=len(case))

        def move(field: Tensor) -> Tensor:
            cases = zip(field, mirrored, turns, strict=True)
            return torch.stack(
                [roll_views(mirror_left_right(x) if flip else x, int(views)) for x, flip, views in cases]
            )

        scan, truth = case.scan.sinograms(move), replace(case.truth, clean=move(case.truth.clean))
        if images:
            which = torch.from_numpy(mirrored).to(scan.metal_mask.device)[:, None, None, None]

            def flip(image: Tensor) -> Tensor:
                return torch.where(which, image.flip(-1), image)

            scan, truth = replace(scan, metal_mask=flip(scan.metal_mask)), truth.images(flip)
        return Case(scan, truth)
