"""Cases out of a pair: a scan with metal and the same without it, as images or as sinograms."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ctmar.anatomy.masks import body_mask as find_body
from ctmar.case import Case, Scan, Truth
from ctmar.data.setup import CaseSetup
from ctmar.data.threads import one_thread
from ctmar.errors import CtmarError
from ctmar.methods.base import with_fills
from ctmar.stored import found_scan, is_clipped, stored_scan
from ctmar.stored.padding import padding_mask
from ctmar.units import AIR_HU, hu_to_mu, mu_to_hu

AIR_BELOW_HU = -200.0
"""An image in HU has air around the body; grey values and attenuation have none."""
LOWEST_HU, HIGHEST_HU = -50_000.0, 100_000.0
LINE_INTEGRALS = (-2.0, 50.0)
"""Lowest and highest of ``-log(I/I0)``: noise about 0, and a millionth of a millionth of a photon."""


@one_thread()
def image_case(
    setup: CaseSetup,
    artifact_hu: ArrayLike,
    clean_hu: ArrayLike,
    name: str,
    *,
    metal: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    metal_threshold_hu: float | None = None,
    told: Mapping[str, Any] | None = None,
) -> Case:
    """A case of two images of the same slices, one with the metal's artifacts, one without metal.

    The image with metal becomes a scan as the correction of stored images makes one
    (:func:`ctmar.stored.stored_scan`). The target are the other image's line integrals, the reference is that
    image itself. Artifacts that the rays off the metal trace hold stay, also in the row ``clean`` of an
    evaluation.

    Args:
        setup: The run's.
        artifact_hu: ``(slice, row, column)`` in HU on the pixels of ``setup.ray``, or ``(row, column)``.
        clean_hu: The same shape.
        name: What the case is called.
        metal: Where metal is, the same shape; found in the first image where None.
        labels: TotalSegmentator ids, the same shape; figures by tissue have no value without them.
        metal_threshold_hu: What metal is above where it is looked for; None finds that too.
        told: Further plain facts for ``Truth.parameters``.

    Raises:
        CtmarError: Images of another shape or unit, not finite, equal to each other, or without metal.
    """
    with_metal, without = (
        _image(setup, image, f"{name}: {what}")
        for image, what in ((artifact_hu, "the image with metal"), (clean_hu, "the image without metal"))
    )
    if torch.equal(with_metal, without):
        raise CtmarError(f"{name}: the images with and without metal must differ, got the same twice")
    mu_water = setup.mu_water
    if metal is None:
        found = found_scan(with_metal, setup.ray, mu_water, metal_threshold_hu, setup.kvp)
    else:
        mask = torch.from_numpy(_stack(setup, metal, f"{name}: the metal's mask") != 0)
        # What the user says is metal is not asked for again: none of it is taken for streaks.
        clipped = is_clipped(with_metal)
        found = stored_scan(
            with_metal, mask, setup.ray, mu_water, clipped=clipped, confirm=False, kvp=setup.kvp
        )
    scan = found.scan
    if not scan.metal_trace.any():
        raise CtmarError(f"{name}: the image must show metal, found none: give masks or a threshold")
    projected = torch.stack([setup.ray.forward(image) for image in hu_to_mu(without, mu_water)])[None]
    clean = torch.where(scan.metal_trace, projected, scan.measured)
    scan = with_fills(replace(scan, case_id=(name,)), setup.fills.values())
    known = {"source": "image", "metal_from": "threshold" if metal is None else "mask"}
    return Case(scan, _truth(setup, clean, without[None], labels, None, name, known | dict(told or {})))


@one_thread()
def sinogram_case(
    setup: CaseSetup,
    measured: ArrayLike,
    clean: ArrayLike,
    metal_trace: ArrayLike,
    name: str,
    *,
    metal_mask: ArrayLike | None = None,
    metal_path_mm: ArrayLike | None = None,
    reference_hu: ArrayLike | None = None,
    body_mask: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    mu_water: float | None = None,
    told: Mapping[str, Any] | None = None,
) -> Case:
    """A case of two sinograms of the same slices, one through metal, one as if it were not there.

    Off the trace the target is ``measured``, whatever ``clean`` holds there.

    Args:
        setup: The run's; sinograms are of its ``ray``.
        measured: Line integrals ``-log(I/I0)``, ``(slice, angle, detector)`` or ``(angle, detector)``.
        clean: The same shape.
        metal_trace: Not 0 on the rays that metal spoils, the same shape.
        name: What the case is called.
        metal_mask: Not 0 where a pixel holds metal, ``(slice, row, column)``; found in the reconstruction of
            ``measured`` where None.
        metal_path_mm: Length of each ray inside metal; the mask's own projection where None.
        reference_hu: Reconstruction without metal and noise; that of ``clean`` where None.
        body_mask: Not 0 in the patient; found in the reference where None.
        labels: TotalSegmentator ids; figures by tissue have no value without them.
        mu_water: Attenuation of water in 1/mm of these sinograms; the run's where None.
        told: Further plain facts for ``Truth.parameters``.

    Raises:
        CtmarError: Arrays of another shape, no line integrals, no trace, a trace where nothing differs.
    """
    p, target = (
        _sinogram(setup, values, f"{name}: {what}")
        for values, what in ((measured, "measured"), (clean, "clean"))
    )
    trace = torch.from_numpy(_rays(setup, metal_trace, f"{name}: metal_trace") != 0)[None]
    _require_trace(trace, p, target, name)
    water = setup.mu_water if mu_water is None else mu_water
    if metal_mask is None:
        seen = mu_to_hu(setup.ray.fbp(p[0], setup.filter), water)
        mask = found_scan(seen, setup.ray, water).scan.metal_mask
    else:
        mask = torch.from_numpy(_stack(setup, metal_mask, f"{name}: metal_mask") != 0)[None]
    if metal_path_mm is None:
        path = torch.stack([setup.ray.forward(one) for one in mask[0].float()])[None]
    else:
        path = torch.from_numpy(_rays(setup, metal_path_mm, f"{name}: metal_path_mm"))[None]
    scan = Scan(
        measured=p,
        metal_trace=trace,
        metal_mask=mask,
        metal_path_mm=torch.where(trace, path, 0.0),
        mu_water=torch.full((1,), water, dtype=p.dtype),
        ray=setup.ray,
        kvp=() if setup.kvp is None else (setup.kvp,),
        case_id=(name,),
    )
    scan = with_fills(scan, setup.fills.values())
    if reference_hu is None:
        reference = mu_to_hu(setup.ray.fbp(target, setup.filter), water)
    else:
        reference = torch.from_numpy(_stack(setup, reference_hu, f"{name}: reference_hu"))[None]
    clean_ = torch.where(trace, target, p)
    known = {"source": "raw", "metal_from": "threshold" if metal_mask is None else "mask"}
    return Case(scan, _truth(setup, clean_, reference, labels, body_mask, name, known | dict(told or {})))


def _truth(
    setup: CaseSetup,
    clean: Tensor,
    reference_hu: Tensor,
    labels: ArrayLike | None,
    body_mask: ArrayLike | None,
    name: str,
    told: dict[str, Any],
) -> Truth:
    shape = tuple(reference_hu.shape[1:])
    tissue = np.zeros(shape) if labels is None else _stack(setup, labels, f"{name}: labels")
    if not (np.array_equal(tissue, np.round(tissue)) and 0 <= tissue.min() <= tissue.max() <= 255):
        raise CtmarError(f"{name}: labels must be whole numbers from 0 to 255, got others")
    if body_mask is None:
        body = find_body(reference_hu[0].numpy(), setup.ray.grid.spacing_mm)
    else:
        body = _stack(setup, body_mask, f"{name}: body_mask") != 0
    return Truth(
        clean=clean,
        reference_hu=reference_hu,
        body_mask=torch.from_numpy(body)[None],
        tissue_labels=torch.from_numpy(tissue.astype(np.uint8))[None],
        parameters=({**told, "labels": labels is not None},),
    )


def _image(setup: CaseSetup, values: ArrayLike, what: str) -> Tensor:
    """An image in HU, padding as air."""
    image = _stack(setup, values, what)
    low, least, most = float(np.quantile(image, 0.001)), float(image.min()), float(image.max())
    if low > AIR_BELOW_HU or least < LOWEST_HU or most > HIGHEST_HU:
        raise CtmarError(f"{what} must be in HU, with air below {AIR_BELOW_HU:g}, got {least:g} to {most:g}")
    air = np.stack([np.where(padding_mask(one), np.float32(AIR_HU), one) for one in image])
    return torch.from_numpy(air)


def _sinogram(setup: CaseSetup, values: ArrayLike, what: str) -> Tensor:
    found = _rays(setup, values, what)
    low, high = LINE_INTEGRALS
    if found.min() < low or found.max() > high:
        raise CtmarError(
            f"{what} must be line integrals -log(I/I0), from {low:g} to {high:g}, got {found.min():g} to"
            f" {found.max():g}"
        )
    return torch.from_numpy(found)[None]


def _require_trace(trace: Tensor, measured: Tensor, clean: Tensor, name: str) -> None:
    """Refuses a trace that is empty, where nothing differs, or turned inside out."""
    if not trace.any() or trace.all():
        raise CtmarError(f"{name}: metal_trace must hold some rays and not all, got {int(trace.sum())}")
    change = (measured - clean).abs()
    on, off = float(change[trace].mean()), float(change[~trace].mean())
    if on == 0 or on < off:
        raise CtmarError(
            f"{name}: measured and clean must differ on the metal trace above all, got {on:.3g} on it and"
            f" {off:.3g} off it"
        )


def _stack(setup: CaseSetup, values: ArrayLike, what: str) -> NDArray[np.float32]:
    return _checked(values, (setup.slices, *setup.ray.grid.shape), what)


def _rays(setup: CaseSetup, values: ArrayLike, what: str) -> NDArray[np.float32]:
    return _checked(values, (setup.slices, *setup.ray.beam.shape), what)


def _checked(values: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    """Finite real numbers of a shape, whose slice axis may be left out, as float32."""
    found = np.asarray(values)
    if found.dtype.kind not in "biuf":
        raise CtmarError(f"{what} must hold real numbers, got {found.dtype}")
    if found.ndim == 2:
        found = found[None]
    if found.shape != shape:
        raise CtmarError(f"{what} must be of {shape}, by the run's geometry and slices, got {found.shape}")
    finite = np.isfinite(found)
    if not finite.all():
        raise CtmarError(f"{what} must be finite, got {int((~finite).sum())} NaN or infinite values")
    return np.ascontiguousarray(found, np.float32)
