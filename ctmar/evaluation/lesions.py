"""The planted-lesion study: what every method hides, and what it makes up."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.case import Case, middle_of
from ctmar.evaluation.cases import center_images
from ctmar.methods.base import Method, with_fills
from ctmar.metrics import bootstrap_mean
from ctmar.metrics.lesions import Lesion, choose_sites, measured_contrast, patch
from ctmar.metrics.observer import detectability
from ctmar.metrics.regions import widened_metal

RADIUS_MM, CONTRAST_HU, SITES = 4.0, 60.0, 3

THRESHOLD = 0.5
"""A lesion is seen where more than this share of its contrast is."""

PATCH_RADII = 3.0
"""Half the patch that the observer sees, in radii of the lesion."""


def plant(case: Case, lesions: list[Lesion], fills: Mapping[str, Method]) -> Case:
    """The case with lesions in the tissue of its centre slice, in measurement and truth alike.

    Their line integrals are added at the reference energy: exact for the water-precorrected rays off
    metal; behind it the beam is harder and a lesion's contrast some 10 % smaller than assumed. The
    noise stays the same draw. The fills of the scan are made anew.

    Args:
        case: A batch of one.
        lesions: What is planted.
        fills: The methods of the scan's fills, by name; others of its fills are left out.
    """
    scan, truth, grid = case.scan, case.truth, case.scan.ray.grid
    image = sum((lesion.image_hu(grid.shape, grid.spacing_mm) for lesion in lesions), torch.zeros(grid.shape))
    added = scan.ray.forward(image / 1000 * float(scan.mu_water[0]))
    middle = middle_of(scan.slices)

    def plus(field: Tensor, what: Tensor) -> Tensor:
        changed = field.clone()
        changed[:, middle] += what
        return changed

    seen = replace(scan, measured=plus(scan.measured, added), fills={}, deviations={})
    seen = with_fills(seen, fills.values())
    clean, reference_hu = plus(truth.clean, added), plus(truth.reference_hu, image)
    return Case(seen, replace(truth, clean=clean, reference_hu=reference_hu))


@dataclass
class LesionStudy:
    """Collects the sites of many cases.

    Attributes:
        filter: FBP filter.
        fills: Methods whose completions travel with the scans, by name: made anew with what is planted.
        count: Lesions a case, at most.
        radius_mm: Their radius.
        contrast_hu: Their contrast.
    """

    filter: str = "ram-lak"
    fills: Mapping[str, Method] = field(default_factory=dict)
    count: int = SITES
    radius_mm: float = RADIUS_MM
    contrast_hu: float = CONTRAST_HU
    rows: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _spacing_mm: float = 1.0
    _patches: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = field(default_factory=dict)
    _cases: dict[str, list[int]] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, methods: Mapping[str, Method], case: Case) -> list[dict[str, Any]]:
        """Runs every method on the case as it is and with its lesions; one row a method and site."""
        center, case_id = case.center(), case.scan.case_id[0]
        spacing = self._spacing_mm = case.scan.ray.grid.spacing_mm
        shown = (center.truth.reference_hu, center.truth.body_mask, center.scan.metal_mask)
        reference, body, metal = (x[0, 0] for x in shown)
        rng = np.random.default_rng(zlib.crc32(case_id.encode()))
        lesions = choose_sites(
            reference,
            body,
            metal,
            spacing,
            rng,
            count=self.count,
            radius_mm=self.radius_mm,
            contrast_hu=self.contrast_hu,
        )
        if not lesions:
            return []
        scored = body & ~widened_metal(metal, spacing)
        absent = center_images(methods, case, self.filter)
        present = center_images(methods, plant(case, lesions, self.fills), self.filter)
        added = [
            self._row(name, case_id, lesion, absent[name], present[name], reference, scored)
            for name in absent
            for lesion in lesions
        ]
        self._number += 1
        for name in absent:
            for lesion in lesions:
                half = round(PATCH_RADII * lesion.radius_mm / spacing)
                pair = [patch(x[name][0, 0] - reference, lesion, half) for x in (present, absent)]
                self._patches.setdefault(name, []).append((_array(pair[0]), _array(pair[1])))
                self._cases.setdefault(name, []).append(self._number)
        self.rows += added
        return added

    def _row(
        self,
        name: str,
        case_id: str,
        lesion: Lesion,
        absent: Tensor,
        present: Tensor,
        reference: Tensor,
        scored: Tensor,
    ) -> dict[str, Any]:
        """The contrasts at one site, less the contrast that the anatomy has there."""
        images = torch.stack([absent[0, 0], present[0, 0], reference])
        none, shown, own = measured_contrast(images, lesion, scored, self._spacing_mm).tolist()
        wanted = THRESHOLD * lesion.contrast_hu
        return {
            "case_id": case_id,
            "method": name,
            "row": lesion.row,
            "column": lesion.column,
            "contrast_absent_hu": none - own,
            "contrast_present_hu": shown - own,
            "recovery": (shown - none) / lesion.contrast_hu,
            "false": none - own > wanted,
            "missed": shown - own <= wanted,
        }

    def summary(self) -> dict[str, Any]:
        """Per method: rates of false and missed lesions, contrast kept, and detectability."""
        spacing = self._spacing_mm
        found = {}
        for name in dict.fromkeys(row["method"] for row in self.rows):
            own = [row for row in self.rows if row["method"] == name]
            pairs = self._patches[name]
            seen = detectability(
                np.stack([present for present, _ in pairs]),
                np.stack([absent for _, absent in pairs]),
                np.asarray(self._cases[name]),
                width=2 * self.radius_mm / spacing,
            )
            kept = bootstrap_mean([row["recovery"] for row in own])
            found[name] = {
                "false": float(np.mean([row["false"] for row in own])),
                "missed": float(np.mean([row["missed"] for row in own])),
                "recovery": kept.mean,
                "auc": _known(seen.auc),
                "auc_low": _known(seen.low),
                "auc_high": _known(seen.high),
                "sites": len(own),
                "sites_tested": seen.n,
            }
        return {
            "radius_mm": self.radius_mm,
            "contrast_hu": self.contrast_hu,
            "threshold": THRESHOLD,
            "cases": self._number,
            "methods": found,
        }


def _array(image: Tensor) -> NDArray[np.float64]:
    return np.asarray(image.double().cpu().numpy())


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
