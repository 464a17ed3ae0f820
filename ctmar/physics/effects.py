"""Effects of one's own on what a detector gives: before the logarithm and after it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.rays import Rays


class Effect(Protocol):
    """What an effect must be: a callable whose answer depends on its settings and what it is given alone.

    It is called for each slice by itself: for the reading with metal, the one without, and the reference.
    """

    def __call__(self, x: Tensor, rays: Rays, random: np.random.Generator | None) -> Tensor:
        """The same, changed.

        Args:
            x: Before the logarithm the ``(2, view, bin)`` signal that arrives, in photons for one sent: its
                mean and its variance, scatter included; photons are drawn of what is returned, which must
                not be negative. After it ``(view, bin)`` line integrals, behind the water precorrection.
            rays: The bins.
            random: For what is drawn. The same numbers with metal and without, since both are one detector's;
                None for the reference, in which nothing is drawn.

        Returns:
            Finite values of the same shape.
        """
        ...


@dataclass(frozen=True)
class Effects:
    """Effects in turn, each with random numbers of its own.

    Attributes:
        name: The scanner's key of the list.
        effects: What is applied, the first first.
        stream: Which of a slice's streams of random numbers is theirs.
        least: What they must not go below.

    Raises:
        CtmarError: If something in the list cannot be called.
    """

    name: str
    effects: tuple[Effect, ...]
    stream: int
    least: float = -np.inf

    def __post_init__(self) -> None:
        for n, effect in enumerate(self.effects):
            if not callable(effect):
                raise CtmarError(
                    f"{self.name}[{n}] must be an effect, called with x, rays and random, got {effect!r}"
                )

    def __call__(self, x: Tensor, rays: Rays, seed: np.random.SeedSequence | None) -> Tensor:
        """What the effects make of ``x``; see :class:`Effect`.

        Args:
            x: Signal or line integrals.
            rays: The bins.
            seed: The slice's; None draws nothing.
        """
        for n, effect in enumerate(self.effects):
            random = None if seed is None else np.random.default_rng(child(seed, self.stream, n))
            # A copy: one that writes into what it is given must not change what others read.
            x = self._fit(n, effect(x.clone(), rays, random), x)
        return x

    def _fit(self, n: int, out: Tensor, given: Tensor) -> Tensor:
        """The effect's answer, if it is one."""
        kind = getattr(self.effects[n], "__name__", type(self.effects[n]).__name__)
        which, shape = f"{self.name}[{n}] ({kind})", tuple(given.shape)
        if not isinstance(out, Tensor) or out.shape != given.shape:
            came = f"one of {tuple(out.shape)}" if isinstance(out, Tensor) else repr(out)
            raise CtmarError(f"{which} must return a tensor of shape {shape}, got {came}")
        wrong = ~torch.isfinite(out) | (out < self.least)
        if wrong.any():
            least = "" if self.least == -np.inf else f" from {self.least:g} up"
            raise CtmarError(f"{which} must return finite values{least}, got {out[wrong][0].item():g}")
        return out.to(given)


def child(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """A child of a seed by its number; unlike ``spawn`` the same one every time."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
