"""Completions as a stored image's correction calls them: by name, or a network at its own sampling."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ctmar.clinical.virtual import without_metal
from ctmar.completion import hardening_corrected, linear_interpolation, nmar, split_frequencies, tv_completion
from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform
from ctmar.units import hu_to_mu

METHODS = ("li", "nmar", "fsnmar", "mbhc", "tv")
DEFAULT_METHOD = "mbhc"
"""Measures best of the quick ones: it leaves thin metal's rays nearly as they were measured."""
MU_WATER = 0.019285
"""Water at 70 keV in 1/mm (Elam's tables). Stored images do not tell; LI and NMAR come out the same for any
value, networks and beam hardening are made for this one."""
FILL_ERROR = 0.14
"""What :func:`~ctmar.completion.hardening_corrected` is told of NMAR's error. Of 0.07, 0.1, 0.14, 0.2 and 0.4
tried on 14 simulated scans the best: error near metal over the uncorrected image's 0.61, 0.58, 0.56, 0.57 and
0.80 (NMAR: 0.64)."""


class Slice(NamedTuple):
    """A slice on square pixels."""

    image_hu: Tensor
    """``(row, column)``, float32, as stored."""
    metal: Tensor
    """Bool, the same shape."""

    def without_metal(self) -> Tensor:
        """The image with each metal pixel at the value of the nearest pixel that is none."""
        return without_metal(self.image_hu, self.metal)

    def excess(self, bare_hu: Tensor) -> Tensor:
        """Attenuation above that of the image without metal, ``bare_hu``; 1/mm."""
        return hu_to_mu(self.image_hu, MU_WATER) - hu_to_mu(bare_hu, MU_WATER)


class Views(NamedTuple):
    """The virtual scan of a slice; each ``(angle, detector)``."""

    bare: Tensor
    """Line integrals of the image with its metal taken out: what lies off the trace is what was measured."""
    trace: Tensor
    """Bool, the metal trace."""
    path_mm: Tensor
    """Length of the rays in metal."""
    ray: RayTransform[ParallelBeam]
    """Ray transform between the slice and these."""

    def measured(self, image: Slice) -> Tensor:
        """Line integrals of the slice as it is, metal and all."""
        return self.ray.forward(hu_to_mu(image.image_hu, MU_WATER))


class Method(Protocol):
    """What completes the trace of a virtual scan.

    Attributes:
        name: What reports call it.
        slices: 1, or 3 for a method that looks at the neighbours.
    """

    name: str
    slices: int

    def complete(self, window: Sequence[Slice], views: Views) -> Tensor:
        """The centre slice's completed line integrals ``(angle, detector)``; only the trace is used.

        Args:
            window: ``slices`` slices, the one to be completed in the middle.
            views: Its virtual scan.
        """
        ...

    def finish(self, corrected_hu: Tensor, image: Slice, spacing_mm: float) -> Tensor:
        """The image, from its reconstruction; most methods have nothing to add."""
        ...


class Classical:
    """A method without weights.

    Args:
        name: One of :data:`METHODS`.
    """

    slices = 1

    def __init__(self, name: str) -> None:
        if name not in METHODS:
            raise CtmarError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
        self.name = name

    def complete(self, window: Sequence[Slice], views: Views) -> Tensor:
        """See :class:`Method`."""
        image = window[len(window) // 2]
        return _COMPLETIONS[self.name](image, views)

    def finish(self, corrected_hu: Tensor, image: Slice, spacing_mm: float) -> Tensor:
        """Fine detail beside metal comes back from the stored image with ``fsnmar``."""
        if self.name != "fsnmar":
            return corrected_hu
        return split_frequencies(corrected_hu, image.image_hu, image.metal, spacing_mm)


def interpolated(image: Slice, views: Views) -> Tensor:
    """LI."""
    return linear_interpolation(views.bare, views.trace)


def normalized(image: Slice, views: Views, prior_from: str = "li") -> Tensor:
    """NMAR."""
    return nmar(views.bare, views.trace, image.metal, views.ray, MU_WATER, prior_from=prior_from)


def hardened(image: Slice, views: Views, fill: Tensor | None = None) -> Tensor:
    """MBHC, from NMAR where no ``fill`` is at hand."""
    fill = normalized(image, views) if fill is None else fill
    parts = (views.measured(image), fill, views.path_mm, views.trace)
    return hardening_corrected(*(x[None] for x in parts), fill_error=FILL_ERROR)[0]


def _total_variation(image: Slice, views: Views) -> Tensor:
    start = normalized(image, views)
    return tv_completion(views.bare, views.trace, views.ray, MU_WATER, start)


_COMPLETIONS: dict[str, Callable[[Slice, Views], Tensor]] = {
    "li": interpolated,
    "nmar": normalized,
    "fsnmar": normalized,
    "mbhc": hardened,
    "tv": _total_variation,
}


def spread_hu(image: Slice, views: Views, completed: Tensor) -> Tensor:
    """How far methods that are all plausible disagree about a slice: a rough measure of its uncertainty.

    Standard deviation, at each pixel, over the images by the given completion, LI, and NMAR with the
    prior from either image; ``(row, column)`` in HU. It tells where little is known, not how large the
    error is: a bias that all share does not show.
    """
    others = [interpolated(image, views), normalized(image, views), normalized(image, views, "raw")]
    changes = torch.stack([torch.where(views.trace, x - completed, 0.0) for x in others])
    images = views.ray.fbp(changes) * (1000.0 / MU_WATER)
    return torch.cat([images, torch.zeros_like(images[:1])]).std(0, correction=0)
