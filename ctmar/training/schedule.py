"""How the learning rate goes: a short warm-up, then a cosine over the steps or the time."""

import math

import pytorch_lightning as pl

WARMUP_STEPS = 50
"""Steps of linear warm-up before the cosine: Adam's first, badly scaled steps meet a head of zeros."""


def cosine_factor(step: int, steps: int, share: float = 0.0) -> float:
    """Factor of the learning rate: linear over the first steps, then a half cosine down to 0.01.

    Args:
        step: Steps done.
        steps: Steps planned.
        share: Share of the time limit that is over; decides where it is more than the share of the steps.
    """
    warmup = min(1.0, (step + 1) / max(1, min(WARMUP_STEPS, steps // 10)))
    progress = min(max(step / max(1, steps), share), 1.0)
    return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def time_share(timer: pl.callbacks.Timer | None) -> float:
    """Share of ``trainer.max_time`` that training has used; 0 where there is no limit."""
    remaining = None if timer is None else timer.time_remaining()
    if timer is None or remaining is None:
        return 0.0
    elapsed = timer.time_elapsed()
    return elapsed / max(elapsed + remaining, 1e-9)
