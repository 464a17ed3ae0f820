"""The scanner: what a CT would have measured of a slice, with its metal and without."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool1d

from ctmar.errors import CtmarError
from ctmar.operators import RayTransform
from ctmar.physics.materials import MATERIALS, attenuation, tissue_fractions
from ctmar.physics.spectra import Spectrum
from ctmar.physics.water import WaterCorrection

RAYS_AT_ONCE = 16384


class Acquisition(NamedTuple):
    """One acquisition; each field is ``(slice, angle, detector)`` of the scanner's bins."""

    measured: Tensor
    """Line integrals with metal; float32, finite."""
    clean: Tensor
    """The same without metal; bit-equal off the trace, a noise draw of its own on it."""
    ideal: Tensor
    """Noise-free, metal-free line integrals: what the reference image is reconstructed from."""
    metal_trace: Tensor
    """Bool, True where the metal path exceeds the threshold, and one bin beyond."""
    metal_path_mm: Tensor
    """Mean path through metal over the bin's sub-rays in mm; 0 off the trace."""


class Scanner:
    """Polychromatic Beer-Lambert acquisition of slices that lie on a finer grid.

    Args:
        kvp: Tube potential in kV; None for a monoenergetic beam at ``reference_kev``.
        filtration_mm: Flat filters beside the tube's own 3 mm of aluminium.
        detector: ``integrating`` or ``counting``: how the spectrum is weighted.
        reference_kev: Energy to which CT numbers and the water precorrection refer.
        photons_per_ray: I0, photons that reach a detector bin through air; None for no noise.
        electronic_noise: Standard deviation of the electronics' additive noise, in photons.
        min_counts: Floor of the counts before the logarithm, in photons.
        water_precorrection: Whether line integrals are brought to the reference energy for water.
        measures_metal: False for the essay's ideal, in which nothing is measured behind metal and
            the trace holds zero.
        oversampling: Pixels and sub-rays a pixel and bin; sub-rays are averaged as intensities.
        trace_epsilon_mm: Mean path through metal above which a bin belongs to the trace.

    Raises:
        CtmarError: If a value is out of its range.
    """

    def __init__(
        self,
        kvp: int | None = 120,
        filtration_mm: Mapping[str, float] | None = None,
        detector: str = "integrating",
        reference_kev: float = 70.0,
        photons_per_ray: float | None = 1.0e6,
        electronic_noise: float = 0.0,
        min_counts: float = 1.0,
        water_precorrection: bool = True,
        measures_metal: bool = True,
        oversampling: int = 2,
        trace_epsilon_mm: float = 0.1,
    ) -> None:
        for name, value in (("min_counts", min_counts), ("trace_epsilon_mm", trace_epsilon_mm)):
            if not value > 0:
                raise CtmarError(f"{name} must be positive, got {value!r}")
        if photons_per_ray is not None and not photons_per_ray > 0:
            raise CtmarError(f"photons_per_ray must be positive or null, got {photons_per_ray!r}")
        if not electronic_noise >= 0:
            raise CtmarError(f"electronic_noise must not be negative, got {electronic_noise!r}")
        if isinstance(oversampling, bool) or not isinstance(oversampling, int) or oversampling < 1:
            raise CtmarError(f"oversampling must be a positive whole number, got {oversampling!r}")
        self.spectrum = (
            Spectrum.mono(reference_kev)
            if kvp is None
            else Spectrum.tube(kvp, dict(filtration_mm or {}), detector)
        )
        self.reference_kev = reference_kev
        self.photons_per_ray = photons_per_ray
        self.electronic_noise = electronic_noise
        self.min_counts = min_counts
        self.measures_metal = measures_metal
        self.oversampling = oversampling
        self.trace_epsilon_mm = trace_epsilon_mm
        self._correct = (
            WaterCorrection(self.spectrum, reference_kev) if water_precorrection and kvp is not None else None
        )

    @property
    def mu_water(self) -> float:
        """Attenuation of water in 1/mm that ties this scanner's HU to 1/mm."""
        return float(attenuation("water", [self.reference_kev])[0])

    def acquire(
        self,
        hu: NDArray[np.float32],
        metal: Mapping[str, NDArray[np.float32]],
        fine: RayTransform,
        noise: Sequence[np.random.SeedSequence],
    ) -> Acquisition:
        """Scans slices once with their metal and once without.

        Args:
            hu: ``(slice, H, W)`` CT numbers without metal on the finer grid.
            metal: Volume fraction of each metal, same shape, in [0, 1]; it replaces the tissue.
            fine: Ray transform of the finer grid and the refined beam.
            noise: One seed a slice, so that a slice is the same whether alone or among others.
        """
        occupied = sum(metal.values(), np.zeros_like(hu))
        tissue = np.stack(tissue_fractions(hu, self.reference_kev))
        stack = np.concatenate([tissue, tissue * occupied, *(m[None] for m in metal.values())])
        # A call a slice: how slices are grouped in a projector may change their last bits.
        paths = torch.stack([fine.forward(torch.from_numpy(stack[:, n])) for n in range(len(hu))], dim=1)
        without, removed, inside = paths[:2], paths[2:4], paths[4:]

        ideal = self._transmission(["water", "bone"], without)
        present = inside.sum(0) > 0
        with_metal = ideal.clone()
        mixture = torch.cat([(without - removed)[:, present], inside[:, present]])
        with_metal[present] = self._transmission(["water", "bone", *metal], mixture)

        path = self._average(inside.sum(0))
        trace = dilated(path > self.trace_epsilon_mm)
        path = torch.where(trace, path, 0.0)
        clean = self._measure(self._average(ideal), [_child(seed, 0) for seed in noise])
        if self.measures_metal:
            measured = self._measure(self._average(with_metal), [_child(seed, 1) for seed in noise])
        else:
            measured = torch.where(trace, 0.0, clean)
        return Acquisition(
            measured=measured,
            # Off the trace there is one acquisition: what the metal does there stays in both.
            clean=torch.where(trace, clean, measured),
            ideal=self._line_integrals(self._average(ideal)),
            metal_trace=trace,
            metal_path_mm=path,
        )

    def _transmission(self, materials: list[str], paths: Tensor) -> Tensor:
        """``Σ_E w(E) exp(-Σ_m μ_m(E) L_m)`` of ``(material, ...)`` paths in mm."""
        unknown = [name for name in materials if name not in MATERIALS]
        if unknown:
            raise CtmarError(f"material must be one of {', '.join(MATERIALS)}, got {unknown[0]!r}")
        energies = self.spectrum.energies_kev
        mu = torch.tensor(np.stack([attenuation(name, energies) for name in materials]), dtype=torch.float32)
        weights = torch.tensor(self.spectrum.weights, dtype=torch.float32)
        flat = paths.reshape(len(materials), -1)
        out = torch.empty(flat.shape[1])
        # A block of rays at a time: energies × views × bins would not fit for a batch.
        for start in range(0, flat.shape[1], RAYS_AT_ONCE):
            block = flat[:, start : start + RAYS_AT_ONCE]
            out[start : start + RAYS_AT_ONCE] = torch.exp(-(block.T @ mu)) @ weights
        return out.reshape(paths.shape[1:])

    def _average(self, fine: Tensor) -> Tensor:
        """Mean over the sub-rays of each bin."""
        return fine.unflatten(-1, (-1, self.oversampling)).mean(-1)

    def _measure(self, transmission: Tensor, seeds: Sequence[np.random.SeedSequence]) -> Tensor:
        """Counts with noise, as line integrals; one seed a slice."""
        if self.photons_per_ray is None:
            return self._line_integrals(transmission)
        expected = transmission.double().numpy() * self.photons_per_ray
        counts = np.empty_like(expected)
        for n, seed in enumerate(seeds):
            generator = np.random.default_rng(seed)
            counts[n] = generator.poisson(expected[n])
            if self.electronic_noise:
                counts[n] += generator.normal(0.0, self.electronic_noise, counts[n].shape)
        floored = np.maximum(counts, self.min_counts) / self.photons_per_ray
        return self._line_integrals(torch.from_numpy(floored).float())

    def _line_integrals(self, transmission: Tensor) -> Tensor:
        floor = torch.finfo(torch.float32).tiny
        sinogram = -torch.log(transmission.clamp(min=floor))
        return sinogram if self._correct is None else self._correct(sinogram)


def _child(seed: np.random.SeedSequence, n: int) -> np.random.SeedSequence:
    """Child n of a seed; unlike ``spawn`` the same one every time."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, n))


def dilated(trace: Tensor) -> Tensor:
    """The trace and one bin to either side."""
    return max_pool1d(trace.float(), kernel_size=3, stride=1, padding=1) > 0
