"""A trained network on a stored image: at the sampling that it was trained for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ctmar.clinical.confirm import confirmed_metal
from ctmar.clinical.methods import Slice, Views, hardened, normalized
from ctmar.completion import linear_interpolation, nmar
from ctmar.completion.smoothing import gaussian
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models.base import Completion
from ctmar.operators import RayTransform
from ctmar.physics.detector import dilated
from ctmar.sample import MARSample
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU, hu_to_mu


@dataclass(frozen=True)
class Trained:
    """What a network was trained on.

    Attributes:
        grid: Pixels of its images.
        beam: Rays of its sinograms: uniform views over π, a centred detector.
        mu_water: Attenuation of water in 1/mm.
        trace_epsilon_mm: Path through metal from which on a ray belonged to the trace.
        extended_scale: Whether its images held the metal's own HU rather than end at 3071 HU.
    """

    grid: ImageGrid
    beam: ParallelBeam
    mu_water: float
    trace_epsilon_mm: float
    extended_scale: bool = False

    def __post_init__(self) -> None:
        if not self.beam.wraps:
            raise CtmarError("a network for stored images needs uniform views over π and a centred detector")


NETWORK_SHARE = 0.5
"""Share of the network in its mean with MBHC, whose errors are others. On 26 simulated scans (validation
cases) the error near metal was 121 HU by MBHC, 127 by the network, and 115, 115 and 118 by means with 0.3,
0.5 and 0.7 of it; where values are cut off at 3071 HU 166, 157, and 153, 149 and 149."""


class NetworkMethod:
    """Completes by the mean of a network and MBHC; the fine detail of the completion is NMAR's.

    A network knows one sampling: its pixels, views and bins. The slice is brought to that, completed
    there, and what the network adds to NMAR there is added to NMAR at the image's own sampling. Where the
    image reaches farther than those that it was trained on, the detector is made longer.

    Args:
        model: The network, on the CPU.
        trained: What it was trained on.
        name: What reports call it.
        share: The network's part of the mean; 1 leaves MBHC out.
    """

    def __init__(
        self, model: Completion, trained: Trained, name: str = "model", share: float = NETWORK_SHARE
    ) -> None:
        if not 0 < share <= 1:
            raise CtmarError(f"a network's share must be above 0 and at most 1, got {share}")
        self.model, self.trained, self.name, self.share = model.eval(), trained, name, share
        self.slices = model.slices or 1
        self._ray: RayTransform[ParallelBeam] | None = None
        self._fine: ImageGrid | None = None

    def complete(self, window: Sequence[Slice], views: Views) -> Tensor:
        """See :class:`~ctmar.clinical.methods.Method`."""
        image = window[len(window) // 2]
        fill = normalized(image, views)
        ray = self._coarse(views.ray.grid)
        sample = self._sample(self._confirmed(window, views, fill), views.ray.grid, ray)
        completed = self.model.complete(sample)
        middle = completed.shape[1] // 2
        center = sample.center()
        residual = torch.where(
            center.metal_trace, completed[:, middle : middle + 1] - center.fills["nmar"], 0.0
        )
        fine = resampled_sinogram(residual[0, 0], ray.beam, views.ray.beam)
        if self.share == 1:
            return fill + fine
        return self.share * (fill + fine) + (1 - self.share) * hardened(image, views, fill)

    def _confirmed(self, window: Sequence[Slice], views: Views, fill: Tensor) -> list[Slice]:
        """The slices with the middle one's metal as its rays confirm it, streaks left out.

        Where values are cut off the rays confirm nothing, and a network for such images takes all.
        """
        slices = list(window)
        if self.trained.extended_scale:
            image = slices[len(slices) // 2]
            metal = confirmed_metal(image.excess(image.without_metal()), image.metal, views, fill)
            slices[len(slices) // 2] = Slice(image.image_hu, metal)
        return slices

    def finish(self, corrected_hu: Tensor, image: Slice, spacing_mm: float) -> Tensor:
        """Nothing to add."""
        return corrected_hu

    def _coarse(self, fine: ImageGrid) -> RayTransform[ParallelBeam]:
        """The ray transform at the network's sampling that covers an image."""
        if self._ray is None or self._fine != fine:
            spacing, beam = self.trained.grid.spacing_mm, self.trained.beam
            shape = tuple(int(np.ceil(size / spacing - 1e-6)) for size in fine.size_mm)
            grid = ImageGrid((shape[0], shape[1]), spacing)
            odd = beam.det_count % 2
            half = grid.reach_mm / beam.det_spacing_mm
            bins = max(beam.det_count, 2 * int(np.ceil(half - odd / 2)) + 2 + odd)
            rays = ParallelBeam(beam.num_angles, bins, beam.det_spacing_mm)
            self._fine, self._ray = fine, RayTransform(grid, rays)
        return self._ray

    def _sample(self, window: Sequence[Slice], fine: ImageGrid, ray: RayTransform[ParallelBeam]) -> MARSample:
        """The slices as a batch of one case, as the network saw its training cases: whole HU."""
        mu_water = self.trained.mu_water
        images, metals = [], []
        for one in window:
            image = resampled_image(one.image_hu, fine, ray.grid).round()
            if not self.trained.extended_scale:
                image = image.clamp(STORED_MIN_HU, STORED_MAX_HU)
            images.append(image)
            metals.append(resampled_image(one.metal.float(), fine, ray.grid) >= 0.5)
        image_hu, metal = torch.stack(images), torch.stack(metals)
        measured = ray.forward(hu_to_mu(image_hu, mu_water))
        path = ray.forward(metal.float())
        trace = dilated(path > self.trained.trace_epsilon_mm)
        li = linear_interpolation(measured, trace)
        parts = zip(measured, trace, metal, li, strict=True)
        prior = torch.stack([nmar(p, t, m, ray, mu_water, first) for p, t, m, first in parts])
        return MARSample(
            measured=measured[None],
            clean=measured[None],
            metal_trace=trace[None],
            metal_path_mm=torch.where(trace, path, 0.0)[None],
            fills={"li": li[None], "nmar": prior[None]},
            reference_hu=image_hu[None],
            metal_mask=metal[None],
            body_mask=torch.ones_like(metal)[None],
            tissue_labels=torch.zeros_like(metal, dtype=torch.uint8)[None],
            mu_water=torch.tensor([mu_water]),
            case_id=["scan"],
            parameters=[{}],
        )


def resampled_image(image: Tensor, of: ImageGrid, to: ImageGrid) -> Tensor:
    """An image ``(row, column)`` on another centred grid; smoothed first where that is coarser.

    The Gaussian has the variance of a box as wide as the new pixel, less that of the old.
    """
    ratio = to.spacing_mm / of.spacing_mm
    sigma = float(np.sqrt(max(ratio**2 - 1, 0) / 12))
    smooth = gaussian(image, sigma) if sigma > 0.1 else image
    axes = [
        (torch.arange(n) - (n - 1) / 2) * to.spacing_mm * 2 / size
        for n, size in zip(to.shape, of.size_mm, strict=True)
    ]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    where = torch.stack([columns, rows], dim=-1)[None].to(image.dtype)
    out = grid_sample(smooth[None, None], where, mode="bilinear", padding_mode="border", align_corners=False)
    return out[0, 0]


def resampled_sinogram(sinogram: Tensor, of: ParallelBeam, to: ParallelBeam) -> Tensor:
    """A sinogram ``(angle, detector)`` at other views and bins, bilinearly; beyond the detector 0.

    Both beams have uniform views over π and a centred detector, so that the view after the last is
    the first, mirrored.
    """
    closed = torch.cat([sinogram, sinogram[:1].flip(-1)])
    view = torch.arange(to.num_angles) * (of.num_angles / to.num_angles)
    bins = (torch.arange(to.det_count) - (to.det_count - 1) / 2) * to.det_spacing_mm / of.det_spacing_mm
    y = 2 * view / of.num_angles - 1
    x = 2 * (bins + (of.det_count - 1) / 2) / (of.det_count - 1) - 1
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    where = torch.stack([columns, rows], dim=-1)[None].to(sinogram.dtype)
    return grid_sample(closed[None, None], where, mode="bilinear", padding_mode="zeros", align_corners=True)[
        0, 0
    ]
