"""Further volumes beside the corrected one: what was changed, and where methods disagree."""

from pathlib import Path

import numpy as np

from ctmar.scans.stack import SliceStack
from ctmar.stored.corrected import Corrected


class DifferenceSink:
    """Corrected less stored HU, or the methods' spread, as a MetaImage written slice by slice.

    Args:
        scan: The scan, which says where its slices lie.
        path: The file, ``.mha``.
        what: ``difference`` or ``uncertainty``.
    """

    def __init__(self, scan: SliceStack, path: Path, what: str) -> None:
        self.scan, self.what = scan, what
        origin, spacing, direction = scan.frame()
        size = (scan.shape[1], scan.shape[0], len(scan.places_mm))
        lines = {
            "ObjectType": "Image",
            "NDims": "3",
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "False",
            "TransformMatrix": _spaced(np.reshape(direction, (3, 3)).T.ravel()),
            "Offset": _spaced(origin),
            "ElementSpacing": _spaced(spacing),
            "DimSize": " ".join(map(str, size)),
            "ElementType": "MET_FLOAT",
            "ElementDataFile": "LOCAL",
        }
        self.file = path.open("wb")
        self.file.write("".join(f"{key} = {value}\n" for key, value in lines.items()).encode())

    def write(self, index: int, corrected: Corrected) -> None:
        """Appends a slice; they come in order."""
        if self.what == "difference":
            image = corrected.image_hu - self.scan.read(index)
        elif corrected.spread_hu is None:
            image = np.zeros(self.scan.shape, np.float32)
        else:
            image = corrected.spread_hu
        self.file.write(np.ascontiguousarray(image, "<f4").tobytes())

    def finish(self) -> None:
        """Closes the file."""
        self.file.close()


def _spaced(values: object) -> str:
    return " ".join(f"{float(value):.12g}" for value in np.asarray(values))
