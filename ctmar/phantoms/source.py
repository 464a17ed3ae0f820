"""Procedural bodies for data sets: no file needed, a body serves one split alone."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.sources import SPLITS, check_case, frozen, vertebra_slices
from ctmar.errors import CtmarError
from ctmar.phantoms.procedural import DEFAULT_LEVELS, DEFAULT_SPACING_MM, build_body

KEPT_BODIES = 24


@lru_cache(maxsize=KEPT_BODIES)
def _body(seed: int, levels: tuple[str, ...], spacing_mm: tuple[float, float, float]) -> Anatomy:
    return frozen(build_body(seed, levels, spacing_mm))


class ProceduralSpine:
    """Bodies built from seeds; a body serves one split alone.

    Args:
        num_bodies: How many bodies each split has; case ``i`` takes body ``i % n``.
        levels: A run within T1–S1 from the head down.
        spacing_mm: Voxel size (x, y, z).
        seed: Changes all bodies.
        name: What reports call it.
    """

    def __init__(
        self,
        num_bodies: Mapping[str, int] | None = None,
        levels: Sequence[str] = DEFAULT_LEVELS,
        spacing_mm: Sequence[float] = DEFAULT_SPACING_MM,
        seed: int = 0,
        name: str = "procedural",
    ) -> None:
        self.num_bodies = {"train": 6, "val": 2, "test": 4} if num_bodies is None else dict(num_bodies)
        for split, count in self.num_bodies.items():
            if split not in SPLITS:
                raise CtmarError(f"num_bodies must name train, val or test, got {split!r}")
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise CtmarError(f"num_bodies.{split} must be a positive whole number, got {count!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise CtmarError(f"seed must be a whole number from 0, got {seed!r}")
        self.levels = tuple(levels)
        self.spacing_mm = cast(tuple[float, float, float], tuple(float(s) for s in spacing_mm))
        self.seed = seed
        self.name = name

    def body_seed(self, split: str, index: int) -> int:
        """Seed of the body of case ``index``, from (seed, split, index % number of bodies)."""
        check_case(split, index, tuple(self.num_bodies), self.name)
        key = (self.seed, SPLITS.index(split), index % self.num_bodies[split])
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The body of a case, and its slices that hold vertebrae, but for the first and the last."""
        anatomy = _body(self.body_seed(split, index), self.levels, self.spacing_mm)
        low, high = vertebra_slices(anatomy)
        return anatomy, range(low + 1, high)
