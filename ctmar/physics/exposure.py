"""From a plane to the signal that reaches each bin: spectrum, bow-tie, materials on the way, blur."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.geometry import FanBeam, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics.bowtie import Bowtie
from ctmar.physics.detector import averaged, bin_positions_mm, blur_kernel, blurred
from ctmar.physics.materials import Material, attenuation, named
from ctmar.physics.optics import Optics
from ctmar.physics.projection import MetalPaths, metal_paths, tissue_paths
from ctmar.physics.rays import Rays
from ctmar.physics.spectra import Spectrum
from ctmar.physics.tissue import tissue_fractions
from ctmar.physics.transmission import TissueTable, transmitted

TISSUES = ("water", "bone")
TABLE_FROM = 500_000
"""Sub-rays of a plane from which on a table pays, which takes about as many sums over energies to fill."""


class SubRays(NamedTuple):
    """A beam of sub-rays before anything lies in it."""

    rays: Rays
    """Its bins."""
    kernel: list[float]
    """Of the blur, over sub-rays."""
    filter_mm: Tensor | None
    """``(1, sub-ray)`` thickness of the bow-tie."""


class Plane(NamedTuple):
    """What the bins see of one plane; signals ``(2, view, bin)`` are mean and variance for one photon."""

    without: Tensor
    """The signal without metal."""
    present: Tensor
    """The signal with it."""
    path_mm: Tensor
    """``(view, bin)`` mean path through metal."""


@dataclass(frozen=True, eq=False)
class Exposure:
    """All that happens before the detector.

    Attributes:
        spectrum: What the detector sees through air, without a bow-tie.
        materials: By name.
        reference_kev: Energy to which CT numbers refer.
        optics: Sub-rays and blur.
        bowtie: The bow-tie, if there is one.
        metal_replaces_tissue: False adds the metal on top of the tissue.
    """

    spectrum: Spectrum
    materials: Mapping[str, Material]
    reference_kev: float
    optics: Optics
    bowtie: Bowtie | None = None
    metal_replaces_tissue: bool = True
    _known: dict[ParallelBeam | FanBeam, SubRays] = field(default_factory=dict, repr=False)

    def rays(self, beam: ParallelBeam | FanBeam) -> Rays:
        """Bow-tie and air scan of the bins of a beam of sub-rays."""
        return self._sub_rays(beam).rays

    def _sub_rays(self, beam: ParallelBeam | FanBeam) -> SubRays:
        """Those of a beam; found once."""
        if beam not in self._known:
            fine = bin_positions_mm(beam)
            positions = fine.reshape(-1, self.optics.oversampling).mean(1)
            step = beam.iso_spacing_mm if isinstance(beam, FanBeam) else beam.det_spacing_mm
            kernel = blur_kernel(self.optics.focal_spot_mm, self.optics.detector_blur_mm, step)
            thickness, prefilter, names = None, None, ["water"]
            if self.bowtie is not None:
                thickness = torch.from_numpy(self.bowtie.thickness_mm(fine)).float()[None]
                names = [self.bowtie.material]
                mu = attenuation(named(names[0], self.materials), self.spectrum.energies_kev)
                prefilter = np.exp(-self.bowtie.thickness_mm(positions)[:, None] * mu)
            behind = torch.zeros(1, len(fine)) if thickness is None else thickness
            air = self._seen(self.transmitted(names, behind), kernel)
            rays = Rays(positions, air, self.spectrum, self.reference_kev, prefilter)
            self._known[beam] = SubRays(rays, kernel, thickness)
        return self._known[beam]

    def planes(
        self,
        hu: NDArray[np.float32],
        metal: Mapping[str, NDArray[np.float32]],
        fine: RayTransform[Any],
        layers_mm: Sequence[float] = (0.0,),
    ) -> list[Plane]:
        """What the bins see of a plane without its metal and with it, behind layers of water.

        Args:
            hu: ``(H, W)`` CT numbers without metal.
            metal: ``(H, W)`` volume fraction of each metal.
            fine: Ray transform of the plane's pixels and the sub-rays.
            layers_mm: Water that every ray passes besides, metal or no metal; one plane for each.
        """
        sub = self._sub_rays(fine.beam)
        tissue = np.stack(tissue_fractions(hu, self.reference_kev))
        paths, names = tissue_paths(tissue, fine), list(TISSUES)
        if self.bowtie is not None and sub.filter_mm is not None:
            paths = torch.cat([paths, sub.filter_mm[None].expand(1, *paths.shape[1:])])
            names.append(self.bowtie.material)
        found = metal_paths(tissue, metal, fine, self.metal_replaces_tissue)
        names += metal
        out = []
        for layer_mm in layers_mm:
            behind = paths
            if layer_mm:
                behind = paths.clone()
                behind[TISSUES.index("water")] += layer_mm
            out.append(self._plane(behind, found, names, sub.kernel))
        return out

    def _plane(self, paths: Tensor, found: MetalPaths | None, names: list[str], kernel: list[float]) -> Plane:
        """What the bins see of paths through tissue ``(material, view, sub-ray)`` and of the metal there.

        Args:
            paths: In mm; the first of ``names`` are theirs, the others the metals'.
            found: The metal, if there is any.
            names: Of materials.
            kernel: Of the blur.
        """
        tissues = names[: len(paths)]
        tabled = len(tissues) == len(TISSUES) and paths[0].numel() >= TABLE_FROM
        without = self._tissues(paths) if tabled else self.transmitted(tissues, paths)
        clean = self._seen(without, kernel)
        if found is None:
            return Plane(clean, clean, torch.zeros_like(clean[0]))
        present = self._behind_metal(without, paths, found, names)
        return Plane(clean, self._seen(present, kernel), self._seen(found.inside.sum(0), kernel))

    def transmitted(self, names: Sequence[str], paths: Tensor) -> Tensor:
        """Mean and variance ``(2, ...)`` of a photon's signal behind ``(material, ...)`` paths in mm."""
        return transmitted(paths, *self._spectral(names))

    @cached_property
    def _tissues(self) -> TissueTable:
        """The tissues' transmission, tabled."""
        return TissueTable(*self._spectral(TISSUES))

    def _spectral(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``(material, energy)`` attenuation, and the weights of a photon's mean signal and its variance."""
        energies = self.spectrum.energies_kev
        mu = np.stack([attenuation(named(name, self.materials), energies) for name in names])
        weights = np.stack([self.spectrum.weights, self.spectrum.variance_weights])
        return torch.from_numpy(mu).float(), torch.from_numpy(weights).float()

    def _behind_metal(self, without: Tensor, paths: Tensor, metal: MetalPaths, names: list[str]) -> Tensor:
        """The signal with metal: that without, but for the rays that meet some."""
        hit = metal.inside.sum(0) > 0
        mixture = torch.cat([paths[:, hit], metal.inside[:, hit]])
        mixture[: len(TISSUES)] -= metal.removed[:, hit]
        present = without.clone()
        present[:, hit] = self.transmitted(names, mixture)
        return present

    def _seen(self, fine: Tensor, kernel: list[float]) -> Tensor:
        """What the bins see of sub-rays: blurred, then the mean."""
        return averaged(blurred(fine, kernel), self.optics.oversampling)
