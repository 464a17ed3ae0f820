"""A whole scan through the correction, a few slices in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ctmar.anatomy.masks import body_mask, reaches_border
from ctmar.anatomy.volume import TRUNCATED_SHARE
from ctmar.clinical.survey import Progress, Survey
from ctmar.metrics import SHELLS_MM, metal_distance_mm, shell_masks
from ctmar.metrics.regions import widened_metal
from ctmar.metrics.texture import RING_MM, ring_streaks
from ctmar.scans.stack import Sink, SliceStack, neighbours
from ctmar.stored.corrected import Corrected, Image
from ctmar.stored.metal import find_metal
from ctmar.stored.padding import padding_mask
from ctmar.stored.scale import as_air
from ctmar.stored.slices import SliceCorrector

SHOWN = 40
"""Most slices that the report shows, and whose streaks are measured."""


@dataclass(frozen=True)
class Change:
    """What was done to a slice with metal.

    Attributes:
        index: The slice, from 0.
        metal_mm2: Area of its metal.
        rms_hu: RMS change in the body by distance from metal, by the names of ``SHELLS_MM``; NaN where
            there is no such place.
        truncated: Whether the field of view cuts the body.
        streaks_hu: The ring measure before and after (:func:`~ctmar.metrics.texture.ring_streaks`), for
            slices that the report shows.
    """

    index: int
    metal_mm2: float
    rms_hu: dict[str, float]
    truncated: bool
    streaks_hu: tuple[float, float] | None


@dataclass
class Shown:
    """A slice before and after, for the report."""

    index: int
    before_hu: Image
    after_hu: Image


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        changes: One entry a slice with metal.
        shown: Slices to look at.
        masks: Metal of each slice with any, as packed bits, where asked for.
    """

    changes: list[Change] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def process(
    scan: SliceStack,
    sinks: Sequence[Sink],
    corrector: SliceCorrector,
    found: Survey,
    progress: Progress | None = None,
    *,
    with_spread: bool = False,
    keep_masks: bool = False,
) -> Outcome:
    """Corrects every slice of a scan and writes it to each of the sinks.

    Args:
        scan: The scan.
        sinks: Where slices go, each told of every slice in order.
        corrector: Made for the scan's shape and spacing.
        found: What a first look said.
        progress: Told of each slice.
        with_spread: Whether to say where methods disagree.
        keep_masks: Whether the metal is asked for.
    """
    count, reach = len(scan.places_mm), corrector.reach
    metal = _Metal(scan, corrector.area_mm2, found)
    shown = set(found.bright[:: -(-len(found.bright) // SHOWN)] if found.bright else ())
    outcome = Outcome()
    for index in range(count):
        near = neighbours(scan.places_mm, index, reach)
        mask = metal.of(index)
        if mask.any():
            window = [scan.read(k) for k in near]
            corrected = corrector.correct(window, [metal.of(k) for k in near], with_spread)
            before = window[reach]
            outcome.changes.append(_change(index, before, corrected, corrector, index in shown))
            if keep_masks:
                outcome.masks[index] = np.packbits(corrected.metal)
            if index in shown:
                outcome.shown.append(Shown(index, before, corrected.image_hu))
        else:
            corrected = corrector.correct([scan.read(index)], [mask], with_spread)
        for sink in sinks:
            sink.write(index, corrected)
        if progress is not None:
            progress("correcting", index + 1, count)
    for sink in sinks:
        sink.finish()
    return outcome


class _Metal:
    """The metal of slices; of the last few it is remembered."""

    def __init__(self, scan: SliceStack, area_mm2: float, found: Survey) -> None:
        self.scan, self.area_mm2, self.found = scan, area_mm2, found
        self.bright = set(found.bright)
        self._known: dict[int, NDArray[np.bool_]] = {}

    def of(self, index: int) -> NDArray[np.bool_]:
        if index not in self.bright:
            return np.zeros(self.scan.shape, bool)
        if index not in self._known:
            while len(self._known) > 4:
                self._known.pop(next(iter(self._known)))
            self._known[index] = find_metal(self.scan.read(index), self.area_mm2, self.found.rule)
        return self._known[index]


def _change(
    index: int,
    before: Image,
    corrected: Corrected,
    corrector: SliceCorrector,
    with_streaks: bool,
) -> Change:
    spacing = float(np.sqrt(corrector.area_mm2))
    body = body_mask(before, (corrector.spacing_mm[1], corrector.spacing_mm[0]))
    # Padding of the values of air is no end of the field of view: a phantom without noise lies in it.
    outside = padding_mask(before) & ~as_air(before)
    truncated = reaches_border(body[None], outside[None]) > TRUNCATED_SHARE
    mask, inside = torch.from_numpy(corrected.metal), torch.from_numpy(body)
    shells = shell_masks(inside, mask, spacing)
    squared = torch.from_numpy(corrected.image_hu - before).double().square()
    rms = {name: float(squared[shells[name]].mean().sqrt()) for name in SHELLS_MM}
    streaks = None
    if with_streaks:
        scored = inside & ~widened_metal(mask, spacing)
        ring = metal_distance_mm(mask, spacing) <= RING_MM
        images = torch.from_numpy(np.stack([before, corrected.image_hu]))
        pair = [float(x) for x in ring_streaks(images, scored, ring, spacing)]
        streaks = (pair[0], pair[1])
    return Change(index, float(corrected.metal.sum() * corrector.area_mm2), rms, truncated, streaks)
