"""The metal as a DICOM segmentation, by highdicom."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ctmar
from ctmar.errors import CtmarError

NAME = "metal_seg.dcm"


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
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    files = {index: folder / f"ct_{index + 1:04d}.dcm" for index in sorted(masks)}
    if not all(path.is_file() for path in files.values()):
        raise CtmarError("seg needs a series of single slices, got a multi-frame file")
    pixels = np.prod(shape)
    masked = np.stack([np.unpackbits(masks[k])[:pixels].reshape(shape) for k in files]).astype(np.uint8)
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
    segmentation = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(path, stop_before_pixels=True) for path in files.values()],
        pixel_array=masked,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=pydicom.uid.generate_uid(prefix=None),
        series_number=2000,
        sop_instance_uid=pydicom.uid.generate_uid(prefix=None),
        instance_number=1,
        manufacturer="ctmar",
        manufacturer_model_name="ctmar",
        software_versions=ctmar.__version__,
        device_serial_number="0",
        series_description="Metal",
    )
    segmentation.save_as(folder / NAME)


def require_highdicom() -> None:
    """Says which extra is missing, before a scan is read."""
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise CtmarError("seg needs highdicom: pip install 'ctmar[seg]'")
