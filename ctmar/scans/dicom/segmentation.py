"""The metal as a DICOM segmentation, by highdicom."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ctmar
from ctmar.errors import CtmarError
from ctmar.scans.dicom.elements import PIXEL_DATA, Element, elements_of, read_elements, write_elements

NAME = "metal_seg.dcm"
CHARACTER_SET = 0x00080005


def write_segmentation(folder: Path, shape: tuple[int, int], masks: Mapping[int, NDArray[np.uint8]]) -> None:
    """Writes ``metal_seg.dcm`` beside the derived series that lies in ``folder``, which it refers to.

    Args:
        folder: Holds the derived series, a file a slice.
        shape: Rows and columns.
        masks: Metal of each slice with any, as ``np.packbits`` makes it.

    Raises:
        CtmarError: highdicom is not installed, or the series is one multi-frame file.
    """
    require_highdicom()
    import pydicom

    files = {index: folder / f"ct_{index + 1:04d}.dcm" for index in sorted(masks)}
    if not all(path.is_file() for path in files.values()):
        raise CtmarError("seg needs a series of single slices, got a multi-frame file")
    pixels = np.prod(shape)
    masked = np.stack([np.unpackbits(masks[k])[:pixels].reshape(shape) for k in files]).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote text that fits no character set
        sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in files.values()]
        segmentation = _segmentation(sources, masked)
        _write(segmentation, next(iter(files.values())), sources[0], folder / NAME)


def _segmentation(sources: list[Any], masks: NDArray[np.uint8]) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Metal",
        segmented_property_category=codes.SCT.PhysicalObject,
        segmented_property_type=hd.sr.CodedConcept("40388003", "SCT", "Implant"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="ctmar", version=ctmar.__version__, family=codes.DCM.HistogramAnalysis
        ),
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(prefix=None),
        series_number=2000,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="ctmar",
        manufacturer_model_name="ctmar",
        software_versions=ctmar.__version__,
        device_serial_number="0",
        series_description="Metal",
        specific_character_set=None,
    )


def _write(segmentation: Any, source: Path, read: Any, path: Path) -> None:
    """Writes it with the bytes of its source where it copied what had been decoded."""
    elements, original = elements_of(segmentation), read_elements(source, read)
    elements[PIXEL_DATA] = Element("OB", segmentation.PixelData)
    copied = {tag for tag in elements.keys() & original.keys() if segmentation[tag] == read[tag]}
    copied |= original.keys() & {CHARACTER_SET}
    write_elements(elements | {tag: original[tag] for tag in copied}, segmentation.file_meta, path)


def require_highdicom() -> None:
    """Says which extra is missing, before a scan is read."""
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise CtmarError("seg needs highdicom: pip install 'ctmar[seg]'")
