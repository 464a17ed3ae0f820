"""What a scan reads without noise, how noisy it is, and how much of the noise an inversion magnifies."""

from typing import NamedTuple

import torch
from torch import Tensor

from ctmar.physics.scanner import Acquisition

QUIET = 0.1
"""Rays of at most this standard deviation tell what rebinning makes of white noise: others lie beside rays of
which nothing is known."""
NOTHING = 10.0
"""From this standard deviation on a line integral is not known at all."""
LEAST_SLOPE = 1.0e-6
"""A reading that changes less, in line integrals, by :data:`~ctmar.physics.scanner.LAYER_MM` of water tells
nothing."""


class Expectation(NamedTuple):
    """One scan as it is expected; each field is ``(slice, angle, detector)`` of the bins asked for."""

    measured: Tensor
    """Line integrals with metal, without noise."""
    ideal: Tensor
    """The same without metal."""
    deviation: Tensor
    """Standard deviation of the measured line integrals to first order; infinite where nothing is known."""
    gain: Tensor
    """Change of ``ideal`` by a little water in that of ``measured``: what an inversion that knows the metal
    makes of an error of the reading. Infinite where water changes nothing that is read."""

    @staticmethod
    def of(scan: Acquisition) -> "Expectation":
        """From what an expecting scanner gives, rebinned or not.

        Rebinning is linear: line integrals and slopes go through it as they are. A deviation becomes one of
        rays that vary together, too large for means over several rays; the share that white noise keeps is
        found from the signed deviations, one number a slice. Of rays that are not rebinned it is 1.

        Args:
            scan: Of :meth:`~ctmar.physics.scanner.Scanner.expecting`, ``(4, slice, angle, detector)``.
        """
        measured, more, together, signed = scan.measured
        ideal, ideal_more = scan.ideal[:2]
        quiet = (together > 0) & (together < QUIET)
        count = quiet.sum((-2, -1), keepdim=True)
        kept = torch.where(quiet, (signed / together).square(), 0.0).sum((-2, -1), keepdim=True) / count
        share = torch.where(count > 0, kept, 1.0).sqrt()
        slope = more - measured
        gain = torch.where(slope > LEAST_SLOPE, (ideal_more - ideal) / slope, torch.inf)
        deviation = share * together.abs()
        return Expectation(measured, ideal, torch.where(deviation < NOTHING, deviation, torch.inf), gain)
