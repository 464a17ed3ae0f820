"""The photon limit: what is left near metal when all that the metal does is known but for the photons.

A reference row like ``clean``, not a method: it looks at the truth.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.data.cases import CaseSource
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.methods import NMAR
from ctmar.methods.base import compose, filled
from ctmar.physics.expectation import Expectation
from ctmar.units import mu_to_hu

SAME_HU = 1.0
"""Mean difference from which on two references are not one case's: more than half precision makes of one."""


def photon_limit(case: Case, expected: Expectation) -> Tensor:
    """A case's photon limit as a sinogram, ``(1, slice, angle, detector)``.

    On the trace every ray is read back without the metal: ``ideal + gain · (measured - expected)``, the
    noise-free, metal-free line integral and the reading's own noise. The gain is the slope of the line
    integral by water without metal over that with it, by which an inversion that knows the metal, to first
    order, magnifies an error of what was read. The ray is then drawn from NMAR's completion to that by

        ``v_prior / (v_prior + v_noise)``,

    ``v_noise`` the reading's variance (photons and electronics behind the metal, in line integrals behind the
    water precorrection) times the gain's square, ``v_prior`` one variance a slice: the mean square of NMAR's
    error on the trace. That error is taken against the noise-free line, so that no noise is in it but what
    NMAR took over from the trace's border. Rays on which nothing was measured (an ideal scanner's, those at
    the detector's floor) stay with NMAR. Off the trace everything stays as it was measured.

    An estimate, not a bound: a better prior than NMAR gets below it.

    Args:
        case: A batch of one, of the scanner's own sinograms.
        expected: What its scan reads without noise.
    """
    scan = case.scan
    prior = filled(scan, NMAR())
    trace, seen = scan.metal_trace, scan.metal_trace & (scan.measured != 0)
    count = trace.sum((-2, -1), keepdim=True).clamp(min=1)
    error = torch.where(trace, prior - expected.ideal, 0.0).double()
    v_prior = error.square().sum((-2, -1), keepdim=True) / count
    v_noise = (expected.gain * expected.deviation).double().square()
    known = seen & torch.isfinite(v_noise) & (v_prior > 0)
    behind = expected.ideal + torch.where(known, expected.gain, 0.0) * (scan.measured - expected.measured)
    weight = torch.where(known, v_prior / (v_prior + v_noise), 0.0)
    return compose(scan, torch.lerp(prior, behind, weight.to(prior)))


class _Cases(NamedTuple):
    """Where a part's cases come from."""

    simulator: Simulator
    split: str


class PhotonLimit:
    """The photon limit of cases by their names, ``PART-INDEX``, whose scans are made once more for it.

    Args:
        sources: What makes each part's cases, and of which split; without parts the split's name is theirs.

    Raises:
        CtmarError: A source whose cases are not the scanner's own sinograms.
    """

    def __init__(self, sources: Mapping[str, tuple[CaseSource, str]]) -> None:
        self._parts: dict[str, _Cases] = {}
        for part, (source, split) in sources.items():
            if not isinstance(source, Simulator):
                raise CtmarError(
                    f"evaluation.limit must be false where cases are not simulated, got those of"
                    f" {type(source).__name__}"
                )
            if source.source.kind != "raw":
                raise CtmarError(
                    f"evaluation.limit must go with data.source=raw, got data.source={source.source.kind}"
                )
            self._parts[part] = _Cases(source, split)

    def __call__(self, case: Case) -> Tensor:
        """The limit of a case, all of its slices.

        Raises:
            CtmarError: The case is not what this version simulates under its number.
        """
        part, _, index = case.scan.case_id[0].rpartition("-")
        simulator, split = self._parts[part]
        expected = simulator.expected(split, int(index))
        mu_water = simulator.scanner_of(int(index)).mu_water
        reference_hu = mu_to_hu(simulator.ray.fbp(expected.ideal, simulator.filter), mu_water)
        apart = float((reference_hu - case.truth.reference_hu[0]).abs().mean())
        if not apart < SAME_HU:
            raise CtmarError(
                f"{case.scan.case_id[0]} must be what this version simulates for evaluation.limit, but its"
                f" reference is {apart:.0f} HU apart"
            )
        return photon_limit(case, expected)
