"""A network as a graph that runs without ctmar's code: ``torch.export`` (``.pt2``), TorchScript (``.pt``)."""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ctmar.errors import CtmarError
from ctmar.files import write_bytes
from ctmar.geometry import ParallelBeam
from ctmar.learned.exported import at_rest
from ctmar.learned.network import NetworkMethod
from ctmar.learned.weights import short

GRAPHS = (".pt2", ".pt")
TOLERANCE = 1e-5
"""By how much a graph's answer may differ from the network's, a line integral: sums may be taken in another
order."""
MOST = 64
"""Largest batch of a graph by ``torch.export``."""


class Residual(nn.Module):
    """What a network adds to its fill: the input channels in, line integrals out.

    Args:
        network: The fitted network, in evaluation mode on the CPU.
    """

    def __init__(self, network: NetworkMethod) -> None:
        super().__init__()
        self.generator, self.scale = network.generator, network.residual_scale

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, channel, angle, detector)`` to ``(batch, slice, angle, detector)``."""
        residual: Tensor = self.generator(inputs)
        return self.scale * residual.float()


def save_graph(path: Path, network: NetworkMethod, beam: ParallelBeam) -> float:
    """Writes the network as a graph for sinograms of the beam it was fitted on; any batch up to 64.

    The graph is what is learned alone. Channels (:func:`ctmar.inputs.stack_inputs`), fill and
    composition are the caller's: ``completed = where(trace, fill + graph(inputs), measured)``. It sees the
    whole detector. What was written is read back and held against the network first, for batches of one
    and two.

    Args:
        path: The file: ``.pt2`` by ``torch.export``, ``.pt`` by TorchScript.
        network: The fitted network.
        beam: The beam it was fitted on.

    Returns:
        The largest difference to the network, a line integral.

    Raises:
        CtmarError: The name ends otherwise, the network cannot be drawn as a graph, or the graph answers
            otherwise than the network.
    """
    if network.takes_beam:
        raise CtmarError(
            f"a graph must hold its network alone, got one on images, which needs ctmar's projector:"
            f" export it as .safetensors, not {path.suffix}"
        )
    if path.suffix not in GRAPHS:
        raise CtmarError(f"a graph's file must end in {' or '.join(GRAPHS)}, got {path.name}")
    shape = (2, len(network.inputs) * network.slices, beam.num_angles, beam.det_count)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with at_rest(network), TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        residual = Residual(network).eval()
        warnings.simplefilter("ignore")  # of TorchScript being old, and sizes being constants: they are
        draft = Path(folder) / path.name
        graph = (_exported if path.suffix == ".pt2" else _traced)(residual, inputs, draft)
        differ = max(float((graph(x) - residual(x)).abs().max()) for x in (inputs[:1], inputs))
        if not differ <= TOLERANCE:
            raise CtmarError(f"a graph must answer as its network does, {path.name} differs by {differ:.2g}")
        write_bytes(path, draft.read_bytes())
    return differ


def _exported(residual: Residual, inputs: Tensor, draft: Path) -> Callable[[Tensor], Tensor]:
    batch = torch.export.Dim("batch", min=1, max=MOST)
    try:
        program = torch.export.export(residual, (inputs,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:
        # Whatever a network of somebody else's does that a graph cannot hold.
        raise CtmarError(f"torch.export cannot draw this network as a graph: {short(error)}") from error
    torch.export.save(program, draft)
    loaded: Callable[[Tensor], Tensor] = torch.export.load(draft).module()
    return loaded


def _traced(residual: Residual, inputs: Tensor, draft: Path) -> Callable[[Tensor], Tensor]:
    try:
        torch.jit.trace(residual, (inputs,), check_trace=False).save(str(draft))
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(str(draft))
    except Exception as error:
        raise CtmarError(f"TorchScript cannot draw this network as a graph: {short(error)}") from error
    return loaded
