"""The tube, its filters, and what the detector makes of a photon: the beam before the patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctmar.physics.bowtie import Bowtie
from ctmar.physics.materials import Material, keyed, named
from ctmar.physics.spectra import Spectrum


@dataclass(frozen=True)
class Tube:
    """Settings of the beam that the detector sees through air.

    Attributes:
        kvp: Tube potential in kV; None for a monoenergetic beam at the scanner's ``reference_kev``.
        filtration_mm: Flat filters beside the tube's own 3 mm of aluminium.
        energies_kev: Lowest and highest energy of the spectrum; None for all.
        bowtie: ``material`` and ``profile_mm`` of :class:`~ctmar.physics.bowtie.Bowtie`, or None.
        detector: ``integrating`` or ``counting``: what a photon counts.

    Raises:
        CtmarError: If a value is out of its range; of the spectrum's, once it is asked for.
    """

    kvp: int | None = 120
    filtration_mm: Mapping[str, float] | None = None
    energies_kev: Sequence[float] | None = None
    bowtie: Mapping[str, Any] | None = None
    detector: str = "integrating"

    def __post_init__(self) -> None:
        self._bowtie()

    def spectrum(self, reference_kev: float, materials: Mapping[str, Material]) -> Spectrum:
        """The beam through air, without the bow-tie; filters are of these materials."""
        if self.kvp is None:
            return Spectrum.mono(reference_kev)
        filters = dict(self.filtration_mm or {})
        return Spectrum.tube(self.kvp, filters, self.detector, self.energies_kev, materials)

    def shaped_by(self, materials: Mapping[str, Material]) -> Bowtie | None:
        """The bow-tie, if there is one, of one of these materials."""
        bowtie = self._bowtie()
        if bowtie is not None:
            named(bowtie.material, materials)
        return bowtie

    def _bowtie(self) -> Bowtie | None:
        if not self.bowtie:
            return None
        return Bowtie(**keyed("bowtie", ("material", "profile_mm"), self.bowtie))
