"""Completion by a network: a residual to a fill, and perhaps an image network behind it."""

import inspect
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ParallelBeam
from ctmar.inputs.base import Channel, Units, stack_inputs
from ctmar.inputs.deviation import Deviation, told_deviation
from ctmar.inputs.fill import FillBy
from ctmar.learned.refined import Refinement
from ctmar.methods.base import Method, filled, with_fills
from ctmar.networks.wrap import AngularWrap
from ctmar.operators import RayTransform

MakeNetwork = Callable[..., nn.Module]
"""``f(in_channels, out_channels)`` gives a network that keeps its input's size, ``(batch, channel, angle,
detector)``. One with an argument ``hole_channel`` is told which channel is 1 on the trace."""


class NetworkMethod(nn.Module, Method):
    """``completed = where(trace, fill + residual_scale * network(inputs), measured)``.

    A network that ends in a layer of zeros starts exactly at its fill.

    Args:
        network: Makes the network from its numbers of channels; or a network that is made.
        inputs: Channels by name; their order is that of the network's input.
        fill: The method that the network's output is added to; ``zero`` is the essay's plain form.
        slices: 1, or 3 adjacent slices as channels, all of which are completed.
        sinogram_scale: Divisor of the sinograms among the inputs; dimensionless.
        path_scale_mm: Divisor of the path length, mm.
        residual_scale: Factor of the network's output, dimensionless: near the error of the fill, or
            for ``zero`` near the sinogram itself.
        prior_error: What the fill's own prior was taken to err by, a line integral. Where it is told, the
            output counts as another prior: on a ray whose fill has the standard deviation ``s`` it is
            multiplied by ``(s / prior_error)**2``, at most 1, so that what the rays say stands.
        wrap_views: Views by which the angular axis is continued (0: not at all), for beams that wrap.
        margin_bins: Bins beyond the trace that the network sees on each side; None for all.
        refinement: An image network behind the completion. Its image can change rays that missed the metal.

    Raises:
        CtmarError: A value out of its range, no input, or a network for holes without the trace.
    """

    name = "model"

    def __init__(
        self,
        network: MakeNetwork | nn.Module,
        inputs: Mapping[str, Channel],
        fill: Method,
        slices: int = 1,
        sinogram_scale: float = 4.0,
        path_scale_mm: float = 50.0,
        residual_scale: float = 1.0,
        prior_error: float | None = None,
        wrap_views: int = 16,
        margin_bins: int | None = 24,
        refinement: Refinement | None = None,
    ) -> None:
        super().__init__()
        scales = {"sinogram_scale": sinogram_scale, "path_scale_mm": path_scale_mm}
        more = {"residual_scale": residual_scale, "prior_error": prior_error}
        for name, value in (scales | more).items():
            if value is not None and not value > 0:
                raise CtmarError(f"{name} must be positive, got {value!r}")
        if margin_bins is not None and not margin_bins >= 0:
            raise CtmarError(f"margin_bins must be 0 or more, got {margin_bins!r}")
        if slices not in (1, 3):
            raise CtmarError(f"slices must be one of 1, 3, got {slices!r}")
        if not isinstance(fill, Method):
            raise CtmarError(f"fill must be a method, got {fill!r}")
        if not inputs:
            raise CtmarError("inputs must name a channel or more, got none")
        self.slices: int = slices
        self.inputs = {n: c.of(fill) if isinstance(c, Deviation) else c for n, c in inputs.items()}
        self.fill, self.units = fill, Units(sinogram_scale, path_scale_mm)
        self.residual_scale, self.prior_error = residual_scale, prior_error
        made = self._made(network)
        # One that is told of the beam makes images of the whole detector, which close over π by themselves.
        self.takes_beam = bool(getattr(made, "takes_beam", False))
        self.margin_bins = None if self.takes_beam else margin_bins
        self.generator = AngularWrap(made, 0 if self.takes_beam else wrap_views)
        self.refinement = refinement

    def _made(self, network: MakeNetwork | nn.Module) -> nn.Module:
        channels = len(self.inputs) * self.slices, self.slices
        if isinstance(network, nn.Module):
            return network
        if "hole_channel" not in inspect.signature(network).parameters:
            return network(*channels)
        if "trace" not in self.inputs:
            raise CtmarError(
                f"a network for holes needs trace among the inputs, got {', '.join(self.inputs)}"
            )
        # The trace of the slice in the middle: the others' differ by little.
        hole = list(self.inputs).index("trace") * self.slices + self.slices // 2
        return network(*channels, hole_channel=hole)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def own_image(self) -> bool:  # type: ignore[override]
        """Whether there is an image network behind the completion."""
        return self.refinement is not None

    def check(self, ray: RayTransform) -> None:
        """Refuses a beam that breaks ``p(θ+π, s) = p(θ, -s)`` where the network relies on it."""
        self.fill.check(ray)
        if self.generator.views:
            require_wraps("wrap_views", ray)
        if self.generator.views > ray.beam.num_angles:
            needed = f"wrap_views must be at most the {ray.beam.num_angles} views"
            raise CtmarError(f"{needed}, got {self.generator.views}")

    def trace(self, scan: Scan) -> Tensor:
        """``fill + residual_scale * network(inputs)``, float32."""
        fill = filled(scan, self.fill)
        return self.predict(scan, fill, self.inputs_of(scan, fill))

    def ready(self, scan: Scan) -> Scan:
        """The scan with the fills that the network needs, and no others; those at hand are taken."""
        named = (c.method for c in self.inputs.values() if isinstance(c, FillBy | Deviation))
        needed = [self.fill, *(method for method in named if method is not None)]
        return with_fills(scan, needed)

    def behind(self, fill: Method) -> None:
        """Takes another fill, for what its own says and adds to: the same method, told of another scanner."""
        for name, channel in self.inputs.items():
            if isinstance(channel, Deviation) and channel.method is self.fill:
                self.inputs[name] = Deviation(fill)
        self.fill = fill

    def inputs_of(self, scan: Scan, fill: Tensor) -> Tensor:
        """The network's input channels ``(batch, channel, angle, detector)``."""
        return stack_inputs(list(self.inputs.values()), scan, fill, self.units)

    def predict(self, scan: Scan, fill: Tensor, inputs: Tensor) -> Tensor:
        """The same as :meth:`trace` from a fill and inputs at hand."""
        # float: under autocast the network returns bfloat16, too coarse to add to a line integral.
        seen = inputs[..., self.window_of(scan)]
        residual = self._answer(seen, *([scan.ray.beam] if self.takes_beam else [])).float()
        edge = (inputs.shape[-1] - residual.shape[-1]) // 2
        residual = torch.nn.functional.pad(residual, (edge, edge))
        return fill + self.residual_scale * self._unknown(scan) * residual

    def _unknown(self, scan: Scan) -> Tensor | float:
        """How much of each ray the fill owes to its prior, 0 to 1."""
        if self.prior_error is None:
            return 1.0
        return (told_deviation(scan, self.fill) / self.prior_error).square().clamp(max=1.0)

    def _answer(self, seen: Tensor, *beam: ParallelBeam | FanBeam) -> Tensor:
        """The network's; a CtmarError where it is of another size."""
        wanted = (len(seen), self.slices, *seen.shape[-2:])
        try:
            found: Tensor = self.generator(seen, *beam)
        except RuntimeError as error:
            weights = next((p for p in self.generator.parameters() if p.ndim > 1), None)
            if weights is None or weights.shape[1] == seen.shape[1]:
                raise
            raise CtmarError(
                f"network must take {seen.shape[1]} channels ({', '.join(self.inputs)}), got: {error}"
            ) from error
        if found.shape != wanted:
            raise CtmarError(f"network must return the shape {wanted}, got {tuple(found.shape)}")
        return found

    def window_of(self, scan: Scan) -> slice:
        """The bins that the network sees: what lies far from the trace has no say in it, and takes time."""
        return slice(None) if self.margin_bins is None else trace_window(scan.metal_trace, self.margin_bins)

    def finish(self, scan: Scan, corrected_hu: Tensor, uncorrected_hu: Tensor) -> Tensor:
        """The refined image, where there is an image network; metal is not shown in it."""
        if self.refinement is None:
            return corrected_hu
        fill_hu = self.refinement.fbp_hu(scan, filled(scan, self.fill))
        return self.refinement(scan, corrected_hu, fill_hu, uncorrected_hu)


def require_wraps(what: str, ray: RayTransform) -> None:
    """Raises a CtmarError where ``what`` needs a beam that closes after half a turn, and it does not."""
    require_closed(what, ray.beam)


def require_closed(what: str, beam: ParallelBeam | FanBeam) -> None:
    """The same of the beam itself."""
    if not (isinstance(beam, ParallelBeam) and beam.wraps):
        given = f"offset {beam.det_offset_mm} mm, {beam.num_angles} views"
        raise CtmarError(f"{what} must have uniform views over π and a centred detector, got {given}")


def trace_window(metal_trace: Tensor, margin: int) -> slice:
    """The detector bins that a batch's trace spans in any view, with a margin, symmetric about the axis.

    Symmetric, so that a view continued beyond π, which is flipped, still fits. The whole detector
    where there is no trace.

    Args:
        metal_trace: Bool, ``(..., angle, detector)``.
        margin: Bins beyond the outermost on each side.
    """
    bins = metal_trace.shape[-1]
    touched = torch.nonzero(metal_trace.flatten(0, -2).any(0))
    if len(touched) == 0:
        return slice(0, bins)
    outermost = min(int(touched.min()), bins - 1 - int(touched.max()))
    edge = max(0, outermost - margin)
    return slice(edge, bins - edge)
