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
from ctmar.methods.polychromatic.fit import Fitted
from ctmar.methods.polychromatic.inversion import Inversion, Inverted, Prior
from ctmar.methods.polychromatic.noise import photons_seen
from ctmar.methods.polychromatic.rays import ONE_PLANE, MetalPixels
from ctmar.methods.polychromatic.scatter import scattered
from ctmar.methods.polychromatic.smooth import smoothed_prior
from ctmar.methods.polychromatic.tables import Beam, Floats
from ctmar.methods.smoothing import gaussian
from ctmar.networks.occupancy import HEAVY, LIGHT, seen_metal
from ctmar.physics.tissue import tissue_fractions
from ctmar.units import STORED_MAX_HU, mu_to_hu

REFINE = 2
"""Metal is fitted in as many parts a pixel's side."""
BORDER = 1
"""... and in so many of these parts around the mask."""
WIDE_BINS = 0.75
"""Bins wider than this many pixels are two sub-rays each, whose intensities are averaged."""
FIT_VIEWS = 120
"""Views that the metal is fitted to. 90, 120 and 180 give 51.9, 51.5 and 51.3 HU on 64 validation cases."""
FIRST, LATER = (4, 15), (2, 10)
"""How often a fit makes the model linear, and its steps each time: of the first look, and of those after."""
BONE_SMOOTHING_MM = 1.4
MOST_MISFIT = 20.0
"""Mean square of the errors over their variances from which alloys explain nothing. On validation cases it is
at most 6.7 with metals of the list, or near them; 190 to 1000 with tantalum and gold."""
LEAST_ERROR, MOST_ERROR = 0.06, 0.25
"""Bounds of the error that a prior is found to have."""


@dataclass(frozen=True)
class Physics(Classical):
    """Polychromatic inversion (docs/theory.md).

    The metal is estimated from the rays, alloys as volume fractions on the mask and its border, with
    another method's completion for the tissue; each ray is then solved for what lies behind its metal, and
    weighed by its variance against that completion. A smooth image that keeps to the result is the prior of a
    second look. Scatter that the scanner left is found with the metal; where the slice's profile is
    told and neighbours are at hand, their metal is found too. What an image lost where it was cut off in
    metal (``scan.clipped``) is found as well. Where no alloy explains the rays, the fill stands. It does not
    read ``metal_path_mm``.

    Attributes:
        fill: The method whose completion is the first prior.
        beam: What the scanner is taken to be.
        alloys: Metals that volume fractions are fitted of; two that lie apart stand for those between.
        heavier: Those that are tried where the former do not explain the rays, if any; where these do not
            either, the fill stands.
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
    heavier: Sequence[str] = ("CoCrMo", "tantalum")
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
        object.__setattr__(self, "heavier", tuple(self.heavier))
        for name in ("fill_error", "prior_error", "strength_hu", "looseness"):
            if not getattr(self, name) > 0:
                raise CtmarError(f"{name} must be positive, got {getattr(self, name)!r}")
        if not self.path_error >= 0:
            raise CtmarError(f"path_error must not be negative, got {self.path_error!r}")
        for name, least in (("rounds", 0), ("steps", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CtmarError(f"{name} must be a whole number from {least}, got {value!r}")

    @property
    def neighbours(self) -> int:
        """The neighbours that a slice's profile reaches, if it is told."""
        return 0 if self.beam.slice_profile is None else 1

    def trace(self, scan: Scan) -> Completed:
        """The inversion of every slice, and its standard deviation; made on the CPU, wherever the scan is."""
        fill, device = filled(scan, self.fill).cpu(), scan.measured.device
        scan = scan.to("cpu")
        slices = [found for n in range(len(scan)) for found in self._stack(scan.one(n), fill[n])]
        sinograms, deviations = (torch.stack(part) for part in zip(*slices, strict=True))
        shape = scan.measured.shape
        return Completed(sinograms.reshape(shape).to(device), deviations.reshape(shape).to(device))

    def _stack(self, scan: Scan, fill: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each slice's completion and deviation, ``(angle, detector)``."""
        seen = self._explained([scan.take(slice(k, k + 1)) for k in range(scan.slices)], fill)
        # Beyond the outermost slice nothing is known: it goes on.
        around = [(max(k - 1, 0), min(k + 1, scan.slices - 1)) for k in range(scan.slices)]
        out = []
        for k, known in enumerate(seen):
            if known is None:
                out.append((fill[k], torch.full_like(fill[k], self.fill_error)))
            elif scan.slices > 1 and self.beam.slice_profile is not None:
                beside = (seen[j] for j in around[k])
                images = (None if other is None else other.image() for other in beside)
                out.append(known.look.last(known.look.with_neighbours(known.first, *images)))
            else:
                out.append(known.look.last(known.first))
        return out

    def _explained(self, slices: Sequence[Scan], fill: Tensor) -> "list[_Seen | None]":
        """Looks at each slice that has metal, with the first alloys that explain the rays of all."""
        for alloys in (self.alloys, self.heavier)[: 2 if self.heavier else 1]:
            looks = [_Look.at(self, scan, own, alloys) for scan, own in zip(slices, fill, strict=True)]
            seen = [None if look is None else _Seen(look, look.first()) for look in looks]
            if all(known is None or known.first.fitted.misfit <= MOST_MISFIT for known in seen):
                return seen
        return [None] * len(slices)


@dataclass(frozen=True)
class _Seen:
    """A look at a slice, and what it saw first."""

    look: "_Look"
    first: Inverted

    def image(self) -> Floats:
        """The slice's metal ``(fine row, fine column, alloy)``."""
        alloys = len(self.look.tables.mu_metal)
        return self.look.invert.pixels.dense(self.first.fitted.fractions[:, :alloys])


class _Look:
    """Looks at one slice's trace, each with another prior.

    Args:
        method: The settings.
        scan: The slice.
        fill: ``(angle, detector)``: the first prior.
        seen: ``(angle, detector)`` rays of the trace on which anything was measured.
        alloys: Metals that volume fractions are fitted of.
    """

    @staticmethod
    def at(method: Physics, scan: Scan, fill: Tensor, alloys: Sequence[str]) -> "_Look | None":
        """At a slice with metal that rays saw; else None."""
        # An ideal scanner measures nothing behind metal, and says 0.
        seen = scan.metal_trace[0, 0] & (scan.measured[0, 0] != 0)
        return _Look(method, scan, fill, seen, alloys) if seen.any() and scan.metal_mask.any() else None

    def __init__(
        self, method: Physics, scan: Scan, fill: Tensor, seen: Tensor, alloys: Sequence[str]
    ) -> None:
        self.method, self.scan, self.fill, self.seen = method, scan, fill, seen
        self.planes = ONE_PLANE
        self.tables = method.beam.tables(alloys, scan.kvp[0] if scan.kvp else None)
        # Line integrals in the tables' own attenuation of water.
        self.scale = self.tables.reference_mu / float(scan.mu_water)
        measured, trace = self._scaled(scan.measured[0, 0]), scan.metal_trace[0, 0].numpy()
        grid, beam = scan.ray.grid, scan.ray.beam
        subs = 2 if beam.det_spacing_mm > WIDE_BINS * grid.spacing_mm else 1
        pixels = MetalPixels.around(scan.metal_mask[0, 0].numpy(), grid, beam, REFINE, BORDER, subs)
        self.invert = Inversion(
            method.beam.with_at_most(photons_seen(measured, trace, self.tables)),
            self.tables,
            pixels,
            seen.numpy(),
            measured,
            self._scattered(scan.measured[0, 0]),
            max(1, beam.num_angles // FIT_VIEWS),
            method.path_error,
            any(scan.clipped),
            _likely(scan, pixels, alloys) if any(scan.clipped) else None,
        )

    def first(self) -> Inverted:
        """What the rays say beside the fill."""
        return self.invert(self._prior(self.fill, self.method.fill_error), None, *FIRST)

    def with_neighbours(self, first: Inverted, below: Floats | None, above: Floats | None) -> Inverted:
        """The same with the metal of the slices below and above, which the slice's profile reaches.

        Args:
            first: What the rays say by the slice alone.
            below: ``(fine row, fine column, alloy)`` fractions, None for no metal.
            above: The same.
        """
        shares = np.array(self.method.beam.slice_profile, dtype=np.float64)
        near, own, far = shares / shares.sum()
        held, alloys = self.invert.pixels.held, len(self.tables.mu_metal)
        seen, lost = first.fitted.fractions[:, :alloys], first.fitted.fractions[:, alloys:]
        beside = [np.zeros_like(seen) if metal is None else metal[held] for metal in (below, above)]
        # What a slice shows is the mean of its planes, as far as metal is thin.
        rest = np.clip((seen - near * beside[0] - far * beside[1]) / own, 0, 1)
        rest /= np.maximum(rest.sum(1, keepdims=True), 1)
        start = Fitted(np.concatenate([rest, *beside, lost], 1), first.fitted.left)
        prior, planes = self._prior(self.fill, self.method.fill_error), np.array([own, near, far])
        found = self.invert.fitted(prior, start, *FIRST, planes)
        self.planes = planes
        return self.invert.inverted(prior, found, planes)

    def last(self, found: Inverted) -> tuple[Tensor, Tensor]:
        """The completion after the looks to come, and its deviation."""
        method, prior, error = self.method, self.fill, self.method.fill_error
        drawn_by = method.looseness * self._error_of(prior, found)
        for _ in range(method.rounds):
            # While the image is smoothed the rays lead, as far as the prior was found to err.
            completed, trust = self._drawn(prior, found, max(drawn_by, method.prior_error))
            behind = self._placed(found.clean, self.fill)
            prior = smoothed_prior(self.scan, completed, behind, trust, method.steps, method.strength_hu)
            error = method.prior_error
            found = self.invert(self._prior(prior, error), found.fitted, *LATER, self.planes)
            drawn_by /= 2
        completed, trust = self._drawn(prior, found, error)
        # The variance of what is drawn to a ray by its weight is the rest of the weight times the prior's.
        return completed, torch.where(self.seen, error * (1 - trust).sqrt(), method.fill_error)

    def _prior(self, sinogram: Tensor, error: float) -> Prior:
        bone, scatter = self._bone_mm(sinogram), self._scattered(sinogram)
        return Prior(self._scaled(sinogram), bone, scatter, error * self.scale)

    def _drawn(self, prior: Tensor, found: Inverted, error: float) -> tuple[Tensor, Tensor]:
        """The prior drawn to each ray's inversion, and how far, 0 to 1."""
        variance = (error * self.scale) ** 2
        trust = self._placed(variance / (variance + found.variance) * self.scale, torch.zeros_like(prior))
        return torch.lerp(prior, self._placed(found.clean, prior), trust), trust

    def _error_of(self, prior: Tensor, found: Inverted) -> float:
        """Standard deviation of a prior by how far it lies from the rays' own inversion, noise taken off."""
        known = self._scaled(prior)[self.seen.numpy()]
        weight = 1 / (found.variance + LEAST_ERROR**2) ** 2
        square = (weight * ((found.clean - known) ** 2 - found.variance)).sum() / weight.sum()
        return float(np.sqrt(np.clip(square, LEAST_ERROR**2, MOST_ERROR**2)) / self.scale)

    def _placed(self, values: Floats, otherwise: Tensor) -> Tensor:
        """``(ray,)`` line integrals put into a sinogram in the scan's own attenuation of water."""
        out = otherwise.clone()
        out[self.seen] = torch.from_numpy(values / self.scale).to(out.dtype)
        return out

    def _scaled(self, sinogram: Tensor) -> Floats:
        scaled: Floats = sinogram.numpy().astype(np.float64) * self.scale
        return scaled

    def _scattered(self, sinogram: Tensor) -> Floats:
        return scattered(self._scaled(sinogram), self.tables, self.scan.ray.beam.det_spacing_mm)

    def _bone_mm(self, completed: Tensor) -> Floats:
        """Cortical bone on each ray, from the image of a completion; none in metal."""
        scan, reference_kev = self.scan, self.method.beam.reference_kev
        hu = mu_to_hu(scan.ray.fbp(completed), float(scan.mu_water))
        hu = gaussian(hu, BONE_SMOOTHING_MM / scan.ray.grid.spacing_mm)
        tissue = torch.where(scan.metal_mask[0, 0], 0.0, hu).numpy()
        bone = torch.from_numpy(tissue_fractions(tissue, reference_kev)[1])
        mm: Floats = scan.ray.forward(bone).double().numpy()
        return mm


def _likely(scan: Scan, pixels: MetalPixels, alloys: Sequence[str]) -> Floats | None:
    """``(pixel, alloy)`` fractions of two alloys by what the scan's image looks like; None for other alloys.

    What was cut off leaves the rays little to tell alloys by: a fit stays at those that it starts from.
    """
    if sorted(alloys) != sorted((LIGHT, HEAVY)):
        return None
    image = scan.image_hu(scan.measured)[0, 0].clamp(max=STORED_MAX_HU)
    share, heavy = seen_metal(image, scan.metal_mask[0, 0], scan.ray.grid.spacing_mm).double().numpy()
    each = {LIGHT: share * (1 - heavy), HEAVY: share * heavy}
    fine = np.ones((REFINE, REFINE))
    return np.column_stack([np.kron(each[name], fine)[pixels.held] for name in alloys])
