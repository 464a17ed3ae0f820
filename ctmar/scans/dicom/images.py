"""Images of DICOM files: decoded once, a few held in memory."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import File, naming
from ctmar.scans.dicom.headers import Header
from ctmar.scans.dicom.overlays import overlay_bits
from ctmar.scans.dicom.padding import Padding, blurred_padding, declared_padding
from ctmar.scans.dicom.pixels import in_range, stored_pixels
from ctmar.scans.dicom.reading import read_dataset
from ctmar.stored.corrected import Corrected, Image
from ctmar.stored.padding import NOWHERE_HU

KEPT_DATASETS = 2
"""Files held in memory at a time: a single slice each, or all of a multi-frame file."""
EXACT = 2**23
"""Whole numbers of twice this are exact in float32."""
KEPT_SLICES = 4
"""Decoded slices held at a time: one and its neighbours."""


class Images:
    """Images of the files of one scan, for as long as it is open: files may change in between."""

    def __init__(self) -> None:
        self.dataset = lru_cache(KEPT_DATASETS)(_dataset)
        self._raw = lru_cache(KEPT_SLICES)(self._decoded)

    def hu(self, header: Header) -> Image:
        """A slice in HU; declared padding as :data:`~ctmar.stored.padding.NOWHERE_HU`."""
        _, stored, padding = self._raw(header.file, header.frame)
        hu = _in_hu(stored, header.slope, header.intercept)
        padding = padding or blurred_padding(self.dataset(header.file), stored, hu)
        if padding is None:
            return hu
        with naming(header.name):
            outside = padding.mask(stored, hu, header.slope)
        return np.where(outside, np.float32(NOWHERE_HU), hu)

    def stored(self, header: Header) -> NDArray[np.integer]:
        """Stored values of a slice, as they came."""
        return self._raw(header.file, header.frame)[0]

    def as_stored(self, header: Header, corrected: Corrected) -> NDArray[np.integer]:
        """Stored values of a corrected slice: whole, within the stored bits, as they were where kept."""
        raw, stored, _ = self._raw(header.file, header.frame)
        if corrected.kept.all():
            return raw
        dataset = self.dataset(header.file)
        bits = int(dataset.BitsStored)
        lowest, highest = (
            (0, 2**bits - 1) if raw.dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        values = np.rint((corrected.image_hu.astype(np.float64) - header.intercept) / header.slope)
        new = values.clip(lowest, highest).astype(np.int64)
        if not np.array_equal(raw, stored):
            # The bits above stay what they are in this file: empty, or an overlay's.
            new = (new & (2**bits - 1)) | (raw.astype(np.int64) & overlay_bits(dataset))
        return np.where(corrected.kept, raw, new.astype(raw.dtype))

    def _decoded(
        self, file: File, frame: int | None
    ) -> tuple[NDArray[np.integer], NDArray[np.integer], Padding | None]:
        """Values as they came, values of the stored bits, and what is padding."""
        dataset = self.dataset(file)
        with naming(file.name):
            padding = declared_padding(dataset, file)
            raw = stored_pixels(dataset, frame, file)
            return raw, in_range(raw, dataset, padding, file), padding


def _in_hu(stored: NDArray[np.integer], slope: float, intercept: float) -> Image:
    if slope == 1 and stored.dtype.itemsize <= 2 and intercept.is_integer() and abs(intercept) < EXACT:
        hu = stored.astype(np.float32)  # the same numbers, sooner
        hu += np.float32(intercept)
        return hu
    return np.asarray(stored * slope + intercept, np.float32)


def _dataset(file: File) -> Any:
    with naming(file.name):
        dataset = read_dataset(file.path, with_pixels=True)
    if dataset is None:
        raise CtmarError(f"{file.name}: must stay as it is while it is read, got another file")
    return dataset
