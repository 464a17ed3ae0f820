"""Which backend: by name, by the kind of beam and, for ``auto``, by where the tensor lives."""

import logging
import pkgutil
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam

Beam = ParallelBeam | FanBeam

BACKENDS = ("auto", "native", "torch", "triton", "astra", "skimage", "torch_radon")
"""What ``projector=`` accepts."""

CLASSES = {
    "ParallelBeam": {
        "native": "ctmar.operators.parallel.native:NativeBackend",
        "torch": "ctmar.operators.parallel.torch_backend:TorchBackend",
        "triton": "ctmar.operators.parallel.triton_backend:TritonBackend",
        "astra": "ctmar.operators.adapters.astra_backend:AstraBackend",
        "skimage": "ctmar.operators.adapters.skimage_backend:SkimageBackend",
        "torch_radon": "ctmar.operators.adapters.torch_radon_backend:TorchRadonBackend",
    },
    "FanBeam": {
        "native": "ctmar.operators.fan.native:FanNative",
        "torch": "ctmar.operators.fan.torch_backend:FanTorch",
    },
}
"""For each kind of beam the classes that project it; imported when first used."""

OFF_CENTER = ("native", "torch", "triton")
"""What projects parallel beams through a grid set off from the axis of rotation."""

PREFERENCE = {"cpu": ("native", "torch"), "cuda": ("triton", "torch")}
"""What ``auto`` takes first on each kind of device; torch elsewhere."""

log = logging.getLogger("ctmar.operators")


class Backend(Protocol):
    """Four linear maps on ``(batch, ·, ·)`` tensors; each pair are exact transposes.

    Made from ``(grid, beam)``; detaches what it is given and returns new tensors of its dtype.
    """

    name: str

    def forward(self, image: Tensor) -> Tensor:
        """Joseph's line integrals."""
        ...

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Their transpose."""
        ...

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ."""
        ...

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """Its transpose."""
        ...


class Backends:
    """The backends of one geometry, each made when first asked for, and left behind when pickled.

    Threads may share it: at worst two make the same backend, and one of the two is kept.
    """

    def __init__(self, grid: ImageGrid, beam: Beam) -> None:
        self.grid, self.beam = grid, beam
        self._made: dict[str, Backend] = {}

    def named(self, name: str) -> Backend:
        """The backend of that name.

        Raises:
            CtmarError: If there is none for this kind of beam, or what it needs is not installed.
        """
        if name not in self._made:
            self._made.setdefault(name, _make(name, self.grid, self.beam))
        return self._made[name]

    def best(self, device: str) -> Backend:
        """This project's own fastest backend for tensors on ``device`` (``cpu``, ``cuda`` …)."""
        return self.named(best_name(device, self.beam))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}


def check_name(name: str) -> None:
    """Refuses what is not in ``BACKENDS``."""
    if name not in BACKENDS:
        raise CtmarError(f"projector must be one of {', '.join(BACKENDS)}, got {name!r}")


def best_name(device: str, beam: Beam) -> str:
    """What ``auto`` means for tensors on ``device`` (``cpu``, ``cuda`` …) and this kind of beam."""
    classes = _classes(beam)
    for name in PREFERENCE.get(device, ("torch",)):
        if name in classes and (name != "triton" or find_spec("triton") is not None):
            return name
    raise CtmarError(f"projector auto has nothing for a {type(beam).__name__} on {device}")


@lru_cache(maxsize=64)
def announce(name: str, device: str, beam: str) -> None:
    """Says once a process what ``auto`` took."""
    log.info("projector=auto takes %s for %s tensors and %s", name, device, beam)


def _classes(beam: Beam) -> dict[str, str]:
    return CLASSES[type(beam).__name__]


def _make(name: str, grid: ImageGrid, beam: Beam) -> Backend:
    classes = _classes(beam)
    if name not in classes:
        kind = type(beam).__name__
        raise CtmarError(f"projector of a {kind} must be auto or one of {', '.join(classes)}, got {name!r}")
    if not grid.centered and (isinstance(beam, FanBeam) or name not in OFF_CENTER):
        raise CtmarError(
            "a grid off the axis of rotation needs a ParallelBeam and a projector of"
            f" {', '.join(OFF_CENTER)}, got a {type(beam).__name__} and {name!r}"
        )
    backend: Backend = pkgutil.resolve_name(classes[name])(grid, beam)
    return backend
