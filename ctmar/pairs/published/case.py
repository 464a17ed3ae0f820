"""A case of a published set's files, whichever set it is: measured sinograms where they hold them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctmar.case import Case
from ctmar.data import CaseSetup, image_case, sinogram_case
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.methods.li import linear_interpolation
from ctmar.operators import RayTransform
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.stored.virtual import trace_of
from ctmar.units import hu_to_mu, mu_to_hu

METAL_HU = 3000.0
"""By how much metal raises an image above the one without it; true masks are met with a Dice of 0.94."""
LEAST_SHARE = 1e-3
"""Of a ray: what its interpolation takes from spoiled ones for it to count as spoiled."""
ONE_WORLD, BETTER = 0.5, 0.05
"""Least correlation, inside the body, of a file's image with the reconstruction of its sinogram, and by how
much it may be higher turned or mirrored. It is 0.96 and more on real files where the geometry is right."""
BODY_HU, SHOWN_HU = -500.0, (-1000.0, 1000.0)
"""From where on the image without metal shows the body, and what the two are compared in: metal and its
streaks would outweigh the body."""


class FieldCase(NamedTuple):
    """A case of another simulator; float32 ``(row, column)`` images and ``(view, bin)`` sinograms."""

    name: str
    measured: Tensor | None = None
    """Line integrals with metal, dimensionless, in the set's own rays; None where there are images alone."""
    clean: Tensor | None = None
    """The same without metal; None where the set has none."""
    uncorrected_hu: Tensor | None = None
    """The set's own reconstruction with metal in HU; None, as the next, where a sinogram lies alone."""
    reference_hu: Tensor | None = None
    """The image without metal that the set is scored against."""
    metal_trace: Tensor | None = None
    """Bool, the rays that metal spoils; None where the set has none."""
    metal_mask: Tensor | None = None
    """Bool image; None where the set has none."""
    li: Tensor | None = None
    """The set's own linear interpolation of the sinogram."""
    mu_water: float = 0.02
    """Attenuation of water in 1/mm, in the millimetres of ``geometry=NAME``: what reconstructs to 0 HU."""
    images: Mapping[str, Tensor] = {}
    """The set's own images in HU by the names that its files give them: rows of a benchmark's table."""
    body: str = ""
    """Whose slice it is."""


def metal_by_difference(case: FieldCase) -> Tensor:
    """Metal where the image with it exceeds the one without by :data:`METAL_HU`, where no mask is at hand."""
    if case.uncorrected_hu is None or case.reference_hu is None:
        raise CtmarError(f"{case.name} must have its images to tell metal by, got a sinogram alone")
    return case.uncorrected_hu - case.reference_hu > METAL_HU


def field_case(setup: CaseSetup, read: FieldCase, rays: FanBeam | None) -> Case:
    """A case of a set's files: measured sinograms where they hold them, else projections of the images.

    A sinogram without metal that the files lack is projected from the image without metal, a trace from the
    metal's mask. The measurement is rebinned to the run's parallel beams.

    Args:
        setup: The run's, in the set's own world.
        read: The files.
        rays: Of their sinograms, of which they may have more bins or fewer; None for those of ``setup``.

    Raises:
        CtmarError: Files without images, of another shape, or whose sinogram does not reconstruct to their
            image.
    """
    if read.reference_hu is None or read.uncorrected_hu is None:
        raise CtmarError(f"{read.name} must have an image with metal and one without, got a sinogram alone")
    told: dict[str, Any] = {"kind": "published", "body": read.body or read.name}
    mask = read.metal_mask
    if mask is None:
        mask, told["metal_from"] = metal_by_difference(read), "difference"
    if read.measured is None:
        return image_case(
            setup, read.uncorrected_hu.numpy(), read.reference_hu.numpy(), read.name, metal=mask, told=told
        )
    measured, trace, clean = _parallel(setup, read, mask, rays)
    _require_one_world(setup, read, measured)
    told["rays"] = list(read.measured.shape)
    told["clean_from"] = "image" if read.clean is None else "raw"
    return sinogram_case(
        setup,
        measured.numpy(),
        clean.numpy(),
        trace.numpy(),
        read.name,
        metal_mask=mask.numpy(),
        reference_hu=read.reference_hu.numpy(),
        told=told,
    )


def _parallel(
    setup: CaseSetup, read: FieldCase, mask: Tensor, rays: FanBeam | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Measurement, trace and what would have been measured without metal, in the run's parallel beams."""
    assert read.measured is not None and read.reference_hu is not None
    ray, projected = setup.ray, None
    if read.clean is None:
        projected = ray.forward(hu_to_mu(read.reference_hu, setup.mu_water))
    if rays is None:
        trace = trace_of(ray.forward(mask.float())) if read.metal_trace is None else read.metal_trace
        clean = read.clean if projected is None else projected
        assert clean is not None
        return read.measured, trace, clean
    fan = replace(rays, det_count=read.measured.shape[-1])
    spoiled = fan_shadow(mask, ray.grid, fan) if read.metal_trace is None else read.metal_trace
    measured, trace = rebinned_scan(read.measured, spoiled, fan, ray.beam)
    if projected is None:
        assert read.clean is not None
        projected = rebin_fan_to_parallel(read.clean, fan, ray.beam)
    return measured, trace, projected


def fan_shadow(mask: Tensor, grid: ImageGrid, fan: FanBeam) -> Tensor:
    """The rays of a fan that metal spoils, from its mask.

    A grid off the axis by half pixels is widened by air until it lies on it: fans need that.

    Args:
        mask: Bool, ``(row, column)`` of ``grid``.
        grid: Its pixels.
        fan: The rays.

    Returns:
        Bool, ``(view, bin)``.
    """
    right, up = (round(2 * c / grid.spacing_mm) for c in grid.center_mm)
    edges = (max(right, 0), max(-right, 0), max(-up, 0), max(up, 0))
    wide = pad(mask.float(), edges)
    shape = (int(wide.shape[0]), int(wide.shape[1]))
    return trace_of(RayTransform(ImageGrid(shape, grid.spacing_mm), fan).forward(wide))


def rebinned_scan(measured: Tensor, trace: Tensor, fan: FanBeam, beam: ParallelBeam) -> tuple[Tensor, Tensor]:
    """A fan's sinogram with metal and its trace as parallel beams.

    A ray is of the trace where linear interpolation takes from spoiled rays. Cubics reach one ray further;
    beside the trace they get the trace bridged by straight lines, so that no metal leaks out of it.

    Args:
        measured: ``(view, bin)`` line integrals of ``fan``.
        trace: Bool, the rays that metal spoils.
        fan: The rays measured.
        beam: The rays wanted.

    Returns:
        Line integrals and trace, ``(angle, detector)`` of ``beam``.
    """
    bridged = linear_interpolation(measured, trace)
    on, off = rebin_fan_to_parallel(torch.stack([measured, bridged]), fan, beam)
    spoiled = rebin_fan_to_parallel(trace.float(), fan, beam, "linear") > LEAST_SHARE
    return torch.where(spoiled, on, off), spoiled


def _require_one_world(setup: CaseSetup, read: FieldCase, measured: Tensor) -> None:
    """Refuses a sinogram whose rays lie otherwise than its image: every figure would be of nothing."""
    assert read.uncorrected_hu is not None and read.reference_hu is not None
    seen = mu_to_hu(setup.ray.fbp(measured, "hann"), setup.mu_water).clamp(*SHOWN_HU)
    body = read.reference_hu > BODY_HU
    shown = read.uncorrected_hu.clamp(*SHOWN_HU)[body]

    def alike(image: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([image[body], shown]))[0, 1]) if body.any() else math.nan

    own, others = alike(seen), {name: alike(image) for name, image in _otherwise(seen).items()}
    best = max(others, key=lambda name: others[name])
    if not own >= ONE_WORLD or others[best] > own + BETTER:
        raise CtmarError(
            f"{read.name}: the sinogram must reconstruct to the files' own image, got a correlation of"
            f" {own:.2f}, {best} {others[best]:.2f}: geometry.acquisition says where rays lie"
        )


def _otherwise(image: Tensor) -> dict[str, Tensor]:
    """An image turned and mirrored in every way that keeps its shape."""
    turns = (0, 1, 2, 3) if image.shape[0] == image.shape[1] else (0, 2)
    turned = {f"turned by {90 * turn}°": image.rot90(turn) for turn in turns if turn}
    return turned | {f"mirrored and turned by {90 * turn}°": image.flip(1).rot90(turn) for turn in turns}
