"""Windows to look at an image through: the original's first, then one for soft tissue and one for bone."""

from ctmar.scans.dicom.elements import Element, Elements
from ctmar.scans.dicom.tags import PADDING, even, tag_of
from ctmar.units import WINDOWS_HU

PRESETS = (("SOFT TISSUE", "soft"), ("BONE", "bone"))
"""What explains a window, and its name in :data:`~ctmar.units.WINDOWS_HU`."""
KEYWORDS = (("WindowCenter", "DS"), ("WindowWidth", "DS"), ("WindowCenterWidthExplanation", "LO"))


def add_presets(elements: Elements) -> None:
    """Adds windows behind those that an image or a frame has; a viewer shows the first.

    Windows that are malformed, as a centre without a width, stay as they came, and alone.
    """
    tags = [tag_of(keyword) for keyword, _ in KEYWORDS]
    if any(elements[tag].vr != vr for tag, (_, vr) in zip(tags, KEYWORDS, strict=True) if tag in elements):
        return
    centers, widths, names = (_values(elements.get(tag)) for tag in tags)
    known = _windows(centers, widths)
    if known is None or len(names) > len(centers):
        return
    names += [b""] * (len(centers) - len(names))
    for explanation, window in PRESETS:
        lowest, highest = WINDOWS_HU[window]
        center, width = (lowest + highest) / 2, highest - lowest
        if (center, width) not in known:
            centers.append(b"%d" % center)
            widths.append(b"%d" % width)
            names.append(explanation.encode())
    for tag, (_, vr), values in zip(tags, KEYWORDS, (centers, widths, names), strict=True):
        elements[tag] = Element(vr, even(b"\\".join(values)))


def _values(element: Element | None) -> list[bytes]:
    text = element.value.strip(PADDING) if element is not None else b""
    return text.split(b"\\") if text else []


def _windows(centers: list[bytes], widths: list[bytes]) -> list[tuple[float, float]] | None:
    """Windows as numbers; None where they are none."""
    if len(centers) != len(widths):
        return None
    try:
        return [(float(c), float(w)) for c, w in zip(centers, widths, strict=True)]
    except ValueError:
        return None
