"""How DICOM elements are encoded: tags with a meaning of their own, lengths, byte orders."""

from typing import NamedTuple

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, PIXEL_REPRESENTATION = 0x7FE00010, 0x00280103
LONGEST_SHORT = 0xFFFF
"""Bytes that the length field of most VRs can say."""
DEFLATED = "1.2.840.10008.1.2.1.99"
START = 132
"""Bytes of preamble and prefix."""
SWAPPED = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes of a number, for the VRs that follow the file's byte order."""


class Element(NamedTuple):
    """One element, explicit VR and little-endian.

    Attributes:
        vr: Two letters.
        value: Its bytes; of a sequence its items, encoded.
        undefined: Whether its end is marked, in place of a length.
    """

    vr: str
    value: bytes
    undefined: bool = False


Elements = dict[int, Element]
"""By tag."""


class Encoding(NamedTuple):
    """How a dataset is encoded."""

    implicit: bool
    little: bool

    @property
    def order(self) -> str:
        """As :mod:`struct` has it."""
        return "<" if self.little else ">"


EXPLICIT_LITTLE = Encoding(False, True)
