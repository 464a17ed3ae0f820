"""Which backend: by name, by the kind of beam and, for ``auto``, by where the tensor lives."""

import inspect
import logging
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam

Beam = ParallelBeam | FanBeam

BACKENDS = ("auto", "native", "torch", "triton", "astra", "skimage", "torch_radon")
"""What ``projector=`` accepts, besides a class of the user's own by its dotted name."""

MAPS = ("forward", "adjoint", "backproject", "backproject_adjoint")
"""What every backend has."""

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
    """Four linear maps on batches of images and sinograms; each pair are exact transposes.

    Made from ``(grid, beam)``, for each geometry that is asked for: the reconstruction's, the finer one of
    the simulation, and cuts of both. One that cannot project a kind of beam, or needs something that is not
    installed, raises :class:`~ctmar.errors.CtmarError` where it is made. It detaches what it is given, leaves
    it as it is and returns new, finite tensors of its dtype and device.
    :func:`~ctmar.operators.check_backend` holds one to this.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Line integrals, ctmar's by Joseph: ``(batch, row, column)``, 1/mm, to ``(batch, angle, bin)``."""
        ...

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Their transpose: ``(batch, angle, bin)`` to ``(batch, row, column)``."""
        ...

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, in rad times the input's unit, for FBP; shapes as :meth:`adjoint`."""
        ...

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """Its transpose: ``(batch, row, column)`` to ``(batch, angle, bin)``."""
        ...


class Mirrored:
    """A backend for bins that are stored in the other order: its own knows detectors one way round."""

    def __init__(self, of: Backend) -> None:
        self._of = of

    def forward(self, image: Tensor) -> Tensor:
        """As :meth:`Backend.forward`."""
        return self._of.forward(image).flip(-1)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """As :meth:`Backend.adjoint`."""
        return self._of.adjoint(sinogram.flip(-1))

    def backproject(self, sinogram: Tensor) -> Tensor:
        """As :meth:`Backend.backproject`."""
        return self._of.backproject(sinogram.flip(-1))

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """As :meth:`Backend.backproject_adjoint`."""
        return self._of.backproject_adjoint(image).flip(-1)


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
    """Refuses what is neither in ``BACKENDS`` nor a dotted name."""
    if name not in BACKENDS and not is_dotted(name):
        raise CtmarError(f"projector must be one of {', '.join(BACKENDS)}, got {name!r}")


def is_dotted(name: str) -> bool:
    """Whether a backend's name is that of a class of the user's own, ``module.Class``."""
    return "." in name


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
    if isinstance(beam, FanBeam) and beam.mirrored:
        return Mirrored(_make(name, grid, replace(beam, mirrored=False)))
    if is_dotted(name):
        return made(class_named(name), grid, beam)
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


def class_named(dotted: str) -> Callable[[ImageGrid, Beam], Any]:
    """What a dotted name stands for; its module is imported.

    Raises:
        CtmarError: There is no such module, or nothing of that name in it that can be called.
    """
    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        wanted = f"one of {', '.join(BACKENDS)}, or a class as module.Class"
        raise CtmarError(f"projector must be {wanted}, got {dotted!r}: {error}") from None
    if not callable(found):
        raise CtmarError(f"projector must be a class as module.Class, got {dotted!r}, which is {found!r}")
    maker: Callable[[ImageGrid, Beam], Any] = found
    return maker


def made(maker: Callable[[ImageGrid, Beam], Any], grid: ImageGrid, beam: Beam) -> Backend:
    """A backend of the user's own for a geometry.

    Raises:
        CtmarError: It is not made from ``(grid, beam)``, lacks one of the four maps, or the grid is one that
            only ctmar's own project.
    """
    if not grid.centered:
        raise CtmarError(
            f"a grid off the axis of rotation needs a projector of {', '.join(OFF_CENTER)}, got {maker!r}"
        )
    if not _takes(maker, grid, beam):
        raise CtmarError(f"a projector must be made from (grid, beam), got {maker!r}, which is not")
    backend: Backend = maker(grid, beam)
    absent = [name for name in MAPS if not callable(getattr(backend, name, None))]
    if absent:
        raise CtmarError(f"a projector must have {', '.join(MAPS)}; {maker!r} has no {absent[0]}")
    return backend


def _takes(maker: Callable[..., Any], *arguments: Any) -> bool:
    """Whether it can be called so; so it seems where compiled code does not tell."""
    try:
        inspect.signature(maker).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
