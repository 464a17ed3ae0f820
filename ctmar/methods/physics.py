"""Polychromatic inversion: what lies behind the metal, from the rays that passed it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Classical, Completed, Method, filled
from ctmar.methods.nmar import NMAR
from ctmar.methods.polychromatic.inversion import Inversion, Inverted
from ctmar.methods.polychromatic.rays import MetalPixels
from ctmar.methods.polychromatic.smooth import smoothed_prior
from ctmar.methods.polychromatic.tables import Beam, Floats
from ctmar.methods.smoothing import gaussian
from ctmar.physics.tissue import tissue_fractions
from ctmar.units import mu_to_hu

REFINE = 2
"""Metal is fitted in as many parts a pixel's side."""
BORDER = 1
"""... and in so many of these parts around the mask."""
WIDE_BINS = 0.75
"""Bins wider than this many pixels are two sub-rays each, whose intensities are averaged."""
FIT_VIEWS = 180
"""Views that the metal is fitted to; all of 360 give the same to 1 %."""
FIRST, LATER = (4, 15), (2, 10)
"""How often a fit makes the model linear, and its steps each time: of the first look, and of those after."""
BONE_SMOOTHING_MM = 1.4
LEAST_FULL = 0.5
"""Metal that attenuates less than this share of the lightest alloy was not measured as it is, as where an
image was cut off at 3071 HU: its rays tell nothing of the tissue. Median share on 32 validation cases at
least 0.63, on 8 cut-off images at most 0.41."""
LEAST_ERROR, MOST_ERROR = 0.06, 0.25
"""Bounds of the error that a prior is found to have."""


@dataclass(frozen=True)
class Physics(Classical):
    """Polychromatic inversion (docs/theory.md), slice by slice.

    The metal is estimated from the rays, alloys as volume fractions on the mask and its border, with
    another method's completion for the tissue; each ray is then solved for what lies behind its metal, and
    weighed by its variance against that completion. A smooth image that keeps to the result is the prior of a
    second look. Where the metal found is too light to be any of the alloys, the fill stands. It does not
    read ``metal_path_mm``.

    Attributes:
        fill: The method whose completion is the first prior.
        beam: What the scanner is taken to be.
        alloys: Metals that volume fractions are fitted of; two that lie apart stand for those between.
        fill_error: Standard deviation of the fill's line integrals.
        prior_error: That of the smooth prior's.
        path_error: That of a path of 1 mm through metal, in mm; it grows with the root of the path.
        rounds: Looks after the first.
        steps: Steps of the smooth prior in each.
        strength_hu: Weight of the total variation in these.
        looseness: How much larger than found the prior's error is taken while its image is smoothed.
    """

    name = "physics"

    fill: Method = field(default_factory=NMAR)
    beam: Beam = field(default_factory=Beam)
    alloys: Sequence[str] = ("Ti-6Al-4V", "CoCrMo")
    fill_error: float = 0.15
    prior_error: float = 0.06
    path_error: float = 0.06
    rounds: int = 1
    steps: int = 8
    strength_hu: float = 50.0
    looseness: float = 2.0

    def __post_init__(self) -> None:
        # A config brings a list, which is no other setting than the same as a tuple.
        object.__setattr__(self, "alloys", tuple(self.alloys))
        for name in ("fill_error", "prior_error", "strength_hu", "looseness"):
            if not getattr(self, name) > 0:
                raise CtmarError(f"{name} must be positive, got {getattr(self, name)!r}")
        if not self.path_error >= 0:
            raise CtmarError(f"path_error must not be negative, got {self.path_error!r}")
        for name, least in (("rounds", 0), ("steps", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CtmarError(f"{name} must be a whole number from {least}, got {value!r}")

    def trace(self, scan: Scan) -> Completed:
        """The inversion of every slice, and its standard deviation."""
        fill = filled(scan, self.fill)
        slices = [
            self._slice(scan.one(n).take(slice(k, k + 1)), fill[n, k])
            for n in range(len(scan))
            for k in range(scan.slices)
        ]
        sinograms, deviations = (torch.stack(part) for part in zip(*slices, strict=True))
        shape = scan.measured.shape
        return Completed(sinograms.reshape(shape), deviations.reshape(shape))

    def _slice(self, scan: Scan, fill: Tensor) -> tuple[Tensor, Tensor]:
        """A slice's completion and deviation, ``(angle, detector)``."""
        alone = fill, torch.full_like(fill, self.fill_error)
        # An ideal scanner measures nothing behind metal, and says 0.
        seen = scan.metal_trace[0, 0] & (scan.measured[0, 0] != 0)
        mask = scan.metal_mask[0, 0].numpy()
        if not seen.any() or not mask.any():
            return alone
        look = _Look(self, scan, seen)
        prior, error = fill, self.fill_error
        found = look(prior, error, None)
        if found.fullness < LEAST_FULL:
            return alone
        drawn_by = self.looseness * look.error_of(prior, found)
        for _ in range(self.rounds):
            # While the image is smoothed the rays lead, as far as the prior was found to err.
            completed, trust = look.drawn(prior, found, max(drawn_by, self.prior_error))
            behind = look.placed(found.clean, fill)
            prior = smoothed_prior(scan, completed, behind, trust, self.steps, self.strength_hu)
            error = self.prior_error
            found = look(prior, error, found.fractions)
            drawn_by /= 2
        completed, trust = look.drawn(prior, found, error)
        # The variance of what is drawn to a ray by its weight is the rest of the weight times the prior's.
        return completed, torch.where(seen, error * (1 - trust).sqrt(), self.fill_error)


class _Look:
    """Looks at one slice's trace, each with another prior.

    Args:
        method: The settings.
        scan: The slice.
        seen: ``(angle, detector)`` rays of the trace on which anything was measured.
    """

    def __init__(self, method: Physics, scan: Scan, seen: Tensor) -> None:
        self.scan, self.seen, self.beam = scan, seen, method.beam
        tables = method.beam.tables(method.alloys, scan.kvp)
        # Line integrals in the tables' own attenuation of water.
        self.scale = tables.reference_mu / float(scan.mu_water)
        grid, beam = scan.ray.grid, scan.ray.beam
        subs = 2 if beam.det_spacing_mm > WIDE_BINS * grid.spacing_mm else 1
        pixels = MetalPixels.around(scan.metal_mask[0, 0].numpy(), grid, beam, REFINE, BORDER, subs)
        every = max(1, beam.num_angles // FIT_VIEWS)
        measured = self._scaled(scan.measured[0, 0])
        self.invert = Inversion(method.beam, tables, pixels, seen.numpy(), measured, every, method.path_error)

    def __call__(self, prior: Tensor, error: float, start: Floats | None) -> Inverted:
        """What the rays say beside a prior ``(angle, detector)`` of such an error."""
        counts = FIRST if start is None else LATER
        return self.invert(self._scaled(prior), self._bone_mm(prior), error * self.scale, start, *counts)

    def drawn(self, prior: Tensor, found: Inverted, error: float) -> tuple[Tensor, Tensor]:
        """The prior drawn to each ray's inversion, and how far, 0 to 1."""
        variance = (error * self.scale) ** 2
        trust = self.placed(variance / (variance + found.variance) * self.scale, torch.zeros_like(prior))
        return torch.lerp(prior, self.placed(found.clean, prior), trust), trust

    def error_of(self, prior: Tensor, found: Inverted) -> float:
        """Standard deviation of a prior by how far it lies from the rays' own inversion, noise taken off."""
        known = self._scaled(prior)[self.seen.numpy()]
        weight = 1 / (found.variance + LEAST_ERROR**2) ** 2
        square = (weight * ((found.clean - known) ** 2 - found.variance)).sum() / weight.sum()
        return float(np.sqrt(np.clip(square, LEAST_ERROR**2, MOST_ERROR**2)) / self.scale)

    def placed(self, values: Floats, otherwise: Tensor) -> Tensor:
        """``(ray,)`` line integrals put into a sinogram in the scan's own attenuation of water."""
        out = otherwise.clone()
        out[self.seen] = torch.from_numpy(values / self.scale).to(out.dtype)
        return out

    def _scaled(self, sinogram: Tensor) -> Floats:
        scaled: Floats = sinogram.numpy().astype(np.float64) * self.scale
        return scaled

    def _bone_mm(self, completed: Tensor) -> Floats:
        """Cortical bone on each ray, from the image of a completion; none in metal."""
        scan = self.scan
        hu = mu_to_hu(scan.ray.fbp(completed), float(scan.mu_water))
        hu = gaussian(hu, BONE_SMOOTHING_MM / scan.ray.grid.spacing_mm)
        bone = tissue_fractions(torch.where(scan.metal_mask[0, 0], 0.0, hu).numpy(), self.beam.reference_kev)[
            1
        ]
        mm: Floats = scan.ray.forward(torch.from_numpy(bone)).double().numpy()
        return mm
