"""What a case's sinogram and its metal come from."""

from dataclasses import dataclass

from ctmar.errors import CtmarError

SOURCES = ("raw", "image")
METAL_FROM = ("scene", "threshold")


@dataclass(frozen=True)
class Source:
    """What a case's sinogram and metal come from.

    Attributes:
        kind: ``raw`` gives the scanner's own sinogram; ``image`` what can be had from the stored,
            uncorrected image: its projections, with metal segmented from it.
        metal: Where mask and trace come from: the ``scene``, or a ``threshold`` of the uncorrected
            image (always so for ``image``), by the very path of :mod:`ctmar.stored` that the
            correction of scans takes.
        metal_threshold_hu: That threshold; None finds it from the case's own histogram.
        extended_scale: Whether stored images hold the metal's own HU, as an extended scale does, rather than
            end at 3071 HU as 12 bits do; None draws it, case by case.

    Raises:
        CtmarError: If a value is not allowed.
    """

    kind: str = "raw"
    metal: str = "scene"
    metal_threshold_hu: float | None = None
    extended_scale: bool | None = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("source", self.kind, SOURCES), ("metal", self.metal, METAL_FROM)):
            if value not in allowed:
                raise CtmarError(f"data.{name} must be one of {', '.join(allowed)}, got {value!r}")

    @property
    def metal_from(self) -> str:
        """Where the metal really comes from: an image tells no other."""
        return "threshold" if self.kind == "image" else self.metal


RAW = Source()
