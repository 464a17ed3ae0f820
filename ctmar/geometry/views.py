"""What beams have in common: views of bins."""

import numpy as np
from numpy.typing import NDArray


class Views:
    """Views of as many bins each, at angles of their own."""

    num_angles: int
    det_count: int
    angles: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Views and bins: the last two axes of a sinogram."""
        return self.num_angles, self.det_count

    @property
    def theta(self) -> NDArray[np.float64]:
        """The views' angles in rad as an array: θ of parallel rays, β of a fan's source."""
        return np.asarray(self.angles, dtype=np.float64)
