"""What every way of completing the metal trace has in common; nothing here knows how one is trained."""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.operators import RayTransform


class Completed(NamedTuple):
    """A completion, ``(batch, slice, angle, detector)``."""

    sinogram: Tensor
    """Line integrals, dimensionless; bit-equal to ``measured`` off the trace."""
    deviation: Tensor | None = None
    """Standard deviation of the rays on the trace, 0 off it; None where the method cannot tell."""


class Method:
    """A method that completes the metal trace; it sees a :class:`~ctmar.case.Scan` and no truth.

    One of its own needs :meth:`trace` alone.

    Attributes:
        name: What reports call it.
        slices: Slices that it takes and returns; None for as many as a scan has. One of a single slice
            completes the centre alone.
        completes: Whether it completes sinograms. One that does not shows images that lie ready.
        own_image: Whether its image is more than the reconstruction of its completion. Nothing binds such an
            image to the rays that missed the metal, and reports say so.
    """

    name: str = ""
    slices: int | None = None
    completes: bool = True
    own_image: bool = False

    def trace(self, scan: Scan) -> Tensor | Completed:
        """A sinogram of ``scan.measured``'s shape of which only the trace is used; or that and its deviation.

        Args:
            scan: The slices that the method works on.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in trace(scan) what the trace is")

    def complete(self, scan: Scan) -> Completed:
        """Completes the trace; off it every line integral stays bit for bit as it was measured.

        Raises:
            CtmarError: The scan has fewer slices than the method needs, or :meth:`trace` gave no sinogram
                of its shape.
        """
        scan = self.select(scan)
        found = self.trace(scan)
        sinogram, deviation = found if isinstance(found, Completed) else (found, None)
        if deviation is not None:
            deviation = torch.where(scan.metal_trace, as_sinogram(scan, deviation, self.name), 0.0)
        return Completed(compose(scan, as_sinogram(scan, sinogram, self.name)), deviation)

    def complete_from(self, scan: Scan) -> Tensor:
        """The sinogram of :meth:`complete` where the scan lies, completed where the method does."""
        return self.complete(scan.to(self.device)).sinogram.to(scan.measured)

    def finish(self, scan: Scan, corrected_hu: Tensor, uncorrected_hu: Tensor) -> Tensor:
        """The image, from the reconstruction of the completion; most methods have nothing to add.

        Args:
            scan: What was completed.
            corrected_hu: The completion reconstructed, ``(batch, slice, row, column)``.
            uncorrected_hu: The image with its artifacts.
        """
        return corrected_hu

    def select(self, scan: Scan) -> Scan:
        """The slices of ``scan`` that this method works on; a CtmarError where there are too few."""
        if self.slices is None or self.slices == scan.slices:
            return scan
        if self.slices == 1 and scan.slices % 2:
            return scan.center()
        raise CtmarError(f"model.slices={self.slices} needs a sample of that many slices, got {scan.slices}")

    def check(self, ray: RayTransform) -> None:
        """Raises a CtmarError where the method cannot work on scans of this geometry; most work on all."""

    @property
    def neighbours(self) -> int:
        """Slices on either side that it looks at where a scan holds them; cases are simulated with these."""
        return (self.slices or 1) // 2

    @property
    def device(self) -> torch.device:
        """Where scans must lie."""
        return torch.device("cpu")

    @property
    def key(self) -> str:
        """Under what its completion lies among a scan's fills: one's own, where settings are not known."""
        return f"{self.name} {id(self)}"


@dataclass(frozen=True)
class Classical(Method):
    """A method without weights: a frozen dataclass of its settings."""

    @property
    def key(self) -> str:
        """The name where every setting is the default; else with the others.

        That of a subclass without a name of its own is its class: it does not complete as its parent does.
        """
        kind = type(self)
        name = self.name if "name" in vars(kind) else f"{kind.__module__}.{kind.__qualname__}"
        changed = [f for f in fields(self) if getattr(self, f.name) != _default(f)]
        told = ", ".join(f"{f.name}={_told(getattr(self, f.name))}" for f in changed)
        return f"{name}({told})" if changed else name


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _told(value: Any) -> str:
    """A setting in a key: networks that look alike have other weights."""
    return value.key if isinstance(value, Method) else repr(value)


def slices_for(methods: Iterable[Method]) -> int:
    """Slices of a case that is to serve all of these: the scored one, and the farthest neighbours of any."""
    return 2 * max((method.neighbours for method in methods), default=0) + 1


def as_sinogram(scan: Scan, found: Any, name: str) -> Tensor:
    """What a method of that name returned; a CtmarError where it is no sinogram of the scan's shape."""
    wanted = tuple(scan.measured.shape)
    if not isinstance(found, Tensor) or found.shape != wanted:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise CtmarError(f"method {name!r} must return a sinogram of shape {wanted}, got {got}")
    return found


def compose(scan: Scan, prediction: Tensor) -> Tensor:
    """``where(trace, prediction, measured)``: a product with masks would spread NaN off the trace."""
    return torch.where(scan.metal_trace, prediction.to(scan.measured.dtype), scan.measured)


def filled(scan: Scan, method: Method) -> Tensor:
    """A method's completion of the scan: that at hand, where there is one of this very method."""
    return completed(scan, method).sinogram


def completed(scan: Scan, method: Method) -> Completed:
    """The same with its deviation, where the method tells one."""
    at_hand = scan.fills.get(method.key)
    return method.complete(scan) if at_hand is None else Completed(at_hand, scan.deviations.get(method.key))


def with_fills(scan: Scan, methods: Iterable[Method]) -> Scan:
    """The scan with the completions of these methods and no others; those at hand are taken."""
    fills: dict[str, Tensor] = {}
    deviations: dict[str, Tensor] = {}
    for method in methods:
        fills[method.key], deviation = completed(scan, method)
        if deviation is not None:
            deviations[method.key] = deviation
        scan = replace(scan, fills=scan.fills | fills, deviations=scan.deviations | deviations)
    return replace(scan, fills=fills, deviations=deviations)


def each_slice(scan: Scan, complete: Callable[[Scan], Tensor]) -> Tensor:
    """A sinogram slice by slice: how slices are grouped in a projector may change their last bits.

    Args:
        scan: The scan.
        complete: Takes a single slice as a scan ``(1, 1, angle, detector)``; returns its sinogram.
    """
    rows = [
        torch.cat([complete(one.take(slice(k, k + 1))) for k in range(one.slices)], dim=1)
        for one in (scan.one(n) for n in range(len(scan)))
    ]
    return torch.cat(rows)
