"""What the rest of the project knows of a body: HU and labels on one grid."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


# Compared and hashed by identity: caches know a body by the object it is.
@dataclass(frozen=True, eq=False)
class Anatomy:
    """A CT volume and its labels on LPS axes: x to the patient's left, y to the back, z to the head.

    Positions are millimetres in the volume's own frame: voxel ``[k, j, i]`` lies at
    ``(i, j, k) * spacing_mm`` in the order (x, y, z); ``origin_mm`` and ``direction`` only say where
    that frame lies in the scanner.

    Attributes:
        name: What reports call it.
        hu: HU, float32, ``(z, y, x)``, finite, at least -1000.
        labels: TotalSegmentator v2 ids (``ctmar.anatomy.labels``), uint8, ``(z, y, x)``, 0 elsewhere.
        spacing_mm: Voxel size in the order (x, y, z).
        origin_mm: Position of voxel ``[0, 0, 0]`` in the order (x, y, z), LPS.
        direction: Axes as columns of a 3 × 3 matrix, row-major, as SimpleITK has them.
        truncated: Whether the field of view cuts the body, so that rays miss part of it.
    """

    name: str
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    truncated: bool = False


class AnatomySource(Protocol):
    """Where a data set takes its bodies from: one of this package's, or any object with these two."""

    name: str
    """What reports call it."""

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The body of case ``index`` of ``split``, and the slices its centre slice may be.

        Splits are ``train``, ``val`` and ``test``; no body region serves two of them. The answer
        depends on the arguments and the source's own configuration only. A range leaves room for
        the neighbours of a 3-slice case inside the split's own slices.

        What is found in a body (its outline, its pedicles) is kept with the object: a source that gives
        the same object for the same body saves time, and nobody writes into it.
        """
        ...
