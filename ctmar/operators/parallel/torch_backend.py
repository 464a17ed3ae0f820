"""The torch backend: the same four maps on any device, one view at a time, no compiled code."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.parallel.lines import Lines, joseph_lines, pixel_lines, view_weights


class TorchBackend:
    """Joseph and pixel-driven maps and their transposes in plain torch operations.

    Slower than the native backend on a CPU; holds one view's indices at a time.
    """

    name = "torch"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self.grid, self.beam = grid, beam
        self._by_row, self._by_column = joseph_lines(grid, beam)
        self._pixels = pixel_lines(grid, beam, view_weights(beam))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        out = image.new_zeros((len(image), *self.beam.shape))
        for lines, source in ((self._by_row, image), (self._by_column, image.mT)):
            padded = torch.nn.functional.pad(source, (1, 1))
            for view, index, left, right in _views(lines, padded, self.beam.det_count):
                at = index.expand(len(image), -1, -1)
                out[:, view] = (left * padded.gather(2, at) + right * padded.gather(2, at + 1)).sum(1)
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        rows, columns = self.grid.shape
        by_row = sinogram.new_zeros((len(sinogram), rows, columns + 2))
        by_column = sinogram.new_zeros((len(sinogram), columns, rows + 2))
        for lines, out in ((self._by_row, by_row), (self._by_column, by_column)):
            for view, index, left, right in _views(lines, out, self.beam.det_count):
                at = index.expand(len(out), -1, -1)
                value = sinogram[:, view, None, :]
                out.scatter_add_(2, at, left * value).scatter_add_(2, at + 1, right * value)
        return by_row[..., 1:-1] + by_column[..., 1:-1].mT

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        rows, columns = self.grid.shape
        out = sinogram.new_zeros((len(sinogram), rows, columns))
        padded = torch.nn.functional.pad(sinogram, (1, 1))
        for view, index, left, right in _views(self._pixels, padded, columns, num_lines=rows):
            line = padded[:, view]
            out += left * line[:, index] + right * line[:, index + 1]
        return out

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        rows, columns = self.grid.shape
        out = image.new_zeros((len(image), self.beam.num_angles, self.beam.det_count + 2))
        for view, index, left, right in _views(self._pixels, out, columns, num_lines=rows):
            at = index.reshape(-1)
            out[:, view].index_add_(1, at, (left * image).reshape(len(image), -1))
            out[:, view].index_add_(1, at + 1, (right * image).reshape(len(image), -1))
        return out[..., 1:-1].contiguous()


def _views(
    table: Lines, padded: Tensor, num_elements: int, num_lines: int | None = None
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Each view with its places in the lines of ``padded`` (one zero element at both ends) and two weights.

    All three are ``(line, element)``. Coordinates are float64, as in the native kernels; a sample
    outside the array has weight zero.
    """
    size = padded.shape[-1] - 2
    lines = padded.shape[1] if num_lines is None else num_lines
    line = torch.arange(lines, device=padded.device, dtype=torch.float64)[:, None]
    element = torch.arange(num_elements, device=padded.device, dtype=torch.float64)[None, :]
    for n, view in enumerate(table.views.tolist()):
        c = table.offset[n] + table.per_line[n] * line + table.per_element[n] * element
        inside = (c > -1) & (c < size)
        place = torch.where(inside, c + 1, 0.0)
        # Just below the last element's far end, c + 1 may round up to it.
        index = place.to(torch.int64).clamp(max=size)
        right = torch.where(inside, (place - index) * table.weight[n], 0.0)
        left = torch.where(inside, table.weight[n] - right, 0.0)
        yield view, index, left.to(padded.dtype), right.to(padded.dtype)
