"""An input, whatever it is, as a scan."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import find_files, unzip
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.stack import SliceStack
from ctmar.scans.volume import VolumeScan, suffix_of

OTHER_VOLUMES = (".hdr", ".img", ".nhdr", ".mhd", ".raw")


@contextmanager
def opened(source: Path, series: str | None = None) -> Iterator[SliceStack]:
    """The scan that ``source`` holds: a DICOM folder, zip or file, NIfTI, NRRD or MetaImage.

    Args:
        source: The input; only read.
        series: Name, number or UID of a DICOM series, where there are several.

    Raises:
        CtmarError: With what is wrong, and in which file.
    """
    if not source.exists():
        raise CtmarError(f"the input must be a file or a folder, got {source}, which does not exist")
    if source.is_dir() or suffix_of(source) is None:
        with files_of(source) as files:
            yield DicomScan(files, series)
    else:
        if series is not None:
            raise CtmarError("--series is for DICOM, got a volume file")
        yield VolumeScan(source)


@contextmanager
def files_of(source: Path) -> Iterator[list[Path]]:
    """The files of a DICOM input; those of a zip are unpacked for as long as they are used."""
    if source.suffix.lower() in OTHER_VOLUMES:
        raise CtmarError(f"{source.name}: a volume must be one .nii, .nii.gz, .nrrd or .mha file")
    if source.suffix.lower() != ".zip":
        yield find_files(source)
        return
    with tempfile.TemporaryDirectory(prefix="ctmar-") as folder:
        unzip(source, Path(folder))
        yield find_files(Path(folder))
