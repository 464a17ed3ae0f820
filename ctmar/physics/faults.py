"""What published protocols get wrong, each under a name of its own."""

from dataclasses import dataclass

from ctmar.errors import CtmarError


@dataclass(frozen=True)
class Faults:
    """Known faults of published protocols; the defaults have none.

    Attributes:
        metal_replaces_tissue: False adds the metal on top of the tissue.
        scatter_photons: A constant number of scattered photons in each bin, uncorrected.
        shrink: Patients are this many times smaller than they are. The simulator makes it true, by a grid and
            a beam so much smaller for the same pixels.

    Raises:
        CtmarError: If a value is out of its range.
    """

    metal_replaces_tissue: bool = True
    scatter_photons: float = 0.0
    shrink: float = 1.0

    def __post_init__(self) -> None:
        if not self.scatter_photons >= 0:
            raise CtmarError(f"scatter_photons must not be negative, got {self.scatter_photons!r}")
        if not self.shrink > 0:
            raise CtmarError(f"shrink must be positive, got {self.shrink!r}")
