"""What is asked of a scan: which series, what counts as metal, what else is to be written."""

from dataclasses import dataclass

from ctmar.errors import CtmarError
from ctmar.stored.metal import GROWN_SHARE, LEAST_AREA_MM2, MetalRule

EXTRAS = ("difference", "uncertainty", "seg")


@dataclass(frozen=True)
class Request:
    """What is asked for beside input, output and method.

    Attributes:
        high_hu: Upper threshold of metal; None for the scan's own.
        low_hu: Lower threshold; None for its usual share of the upper.
        min_area_mm2: Smaller regions are no metal.
        series: Name, number or UID of a DICOM series.
        also: From :data:`EXTRAS`.
        overwrite: Whether an output may be replaced.
        repeatable: Whether the UIDs of the derived series follow from those of its source
            (:class:`~ctmar.scans.stack.Derivation`).
    """

    high_hu: float | None = None
    low_hu: float | None = None
    min_area_mm2: float = LEAST_AREA_MM2
    series: str | None = None
    also: tuple[str, ...] = ()
    overwrite: bool = False
    repeatable: bool = False

    def rule(self) -> MetalRule | None:
        """The rule that is asked for; None for an automatic one."""
        if self.high_hu is None:
            if self.low_hu is not None:
                raise CtmarError("a lower threshold needs an upper one (--threshold), got none")
            return None
        low = GROWN_SHARE * self.high_hu if self.low_hu is None else self.low_hu
        return MetalRule(self.high_hu, low, self.min_area_mm2)
