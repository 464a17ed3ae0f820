"""What the compiled backends share: slices as lanes, folding onto symmetries, groups of a batch."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.operators.kernels.planes import Layout, Part, Turned, aligned

LANE_WIDTHS = (1, 4, 8, 16)
FOLD_BELOW = 8
"""Batches of fewer slices go through as their symmetric copies."""

Read = Callable[..., NDArray]
"""``read(margin, turned=False)``: the planes of a pass as lanes ``(line, element, lane)``."""

Map = Callable[[Read, tuple], list[Part]]
"""One of :class:`LaneMaps`."""


class LaneMaps(Protocol):
    """The four maps of one geometry on interleaved slices; each adds up the parts that it returns."""

    def forward(self, read: Read, lanes: tuple) -> list[Part]:
        """Joseph's line integrals."""
        ...

    def adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """Their transpose."""
        ...

    def backproject(self, read: Read, lanes: tuple) -> list[Part]:
        """Pixel-driven integral over θ."""
        ...

    def backproject_adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """Its transpose."""
        ...


class Route(NamedTuple):
    """Maps, and how the slices of images and sinograms are laid out for them."""

    maps: LaneMaps
    image: Layout
    sinogram: Layout


class LaneBackend:
    """The four maps on CPU tensors, float32 or float64.

    Slices go through the kernels as lanes, as many at a time as the widest hold; batches too small to
    fill them go through as their symmetric copies where the geometry has them.

    Args:
        maps: The maps of the whole geometry.
        image_shape: Rows and columns.
        sinogram_shape: Views and bins.
        folded: The maps of the base rays and their layouts, if the geometry is symmetric.
    """

    name = "native"

    def __init__(
        self,
        maps: LaneMaps,
        image_shape: tuple[int, int],
        sinogram_shape: tuple[int, int],
        folded: Route | None,
    ) -> None:
        self._plain = Route(maps, Turned(image_shape), Turned(sinogram_shape))
        self._folded = folded
        self._image_shape, self._sinogram_shape = image_shape, sinogram_shape

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        return self._run("forward", image)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        return self._run("adjoint", sinogram)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._run("backproject", sinogram)

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        return self._run("backproject_adjoint", image)

    def _run(self, name: str, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            raise CtmarError(
                f"projector native works on float32 or float64 CPU tensors, got {x.dtype} on {x.device};"
                " projector=auto takes any"
            )
        to_sinogram = name in ("forward", "backproject_adjoint")
        out = x.new_zeros((len(x), *(self._sinogram_shape if to_sinogram else self._image_shape)))
        source, target = x.detach().contiguous().numpy(), out.numpy()
        widest = LANE_WIDTHS[-1]
        for start in range(0, len(x), widest):
            group = slice(start, start + widest)
            self._group(name, source[group], target[group], to_sinogram)
        return out

    def _group(self, name: str, source: NDArray, target: NDArray, to_sinogram: bool) -> None:
        """Adds a map of a few slices to ``target``, in as many passes as the widest lanes ask for."""
        folds = self._folded is not None and len(source) < FOLD_BELOW
        maps, image, sinogram = self._folded if folds and self._folded else self._plain
        reads, adds = (image, sinogram) if to_sinogram else (sinogram, image)
        widest, count = LANE_WIDTHS[-1], reads.copies * len(source)
        for start in range(0, count, widest):
            planes = range(start, min(start + widest, count))
            _pass(getattr(maps, name), reads, adds, source, target, planes)


def _pass(apply: Map, reads: Layout, adds: Layout, source: NDArray, target: NDArray, planes: range) -> None:
    """Takes some planes through a map; what it needed in between is freed before the next ones."""
    width = next(width for width in LANE_WIDTHS if width >= len(planes))

    def read(margin: int, turned: bool = False) -> NDArray:
        return reads.read(source, planes, width, margin, turned)

    for part in apply(read, (0,) * width):
        adds.add(target, planes, part)


def zero_part(
    shape: tuple[int, ...], lanes: tuple, dtype: np.dtype, margin: int, turned: bool = False
) -> Part:
    """Lines to be written, of ``shape`` without the margin."""
    lines, elements = shape
    array = aligned((lines, elements + 2 * margin, len(lanes)), dtype)
    array.fill(0)
    return Part(array, margin, turned)
