"""An input, whatever it is, as a scan."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import File, dangling_links, find_files, named, quiet_pydicom, unzip
from ctmar.scans.dicom.parts import by_name
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.dicom.series import Read, read_all
from ctmar.scans.stack import SliceStack
from ctmar.scans.volume import VolumeScan, suffix_of

OTHER_VOLUMES = (".hdr", ".img", ".nhdr", ".mhd", ".raw")


@contextmanager
def opened(
    source: Path, series: str | None = None, look: Callable[[Read], None] = lambda read: None
) -> Iterator[SliceStack]:
    """The scan that ``source`` holds: a DICOM folder, zip or file, NIfTI, NRRD or MetaImage.

    Args:
        source: The input; only read.
        series: Name, number or UID of a DICOM series, where there are several.
        look: Called with all that DICOM files hold, before one series of it is chosen or refused.

    Raises:
        CtmarError: With what is wrong, and in which file.
    """
    if not source.exists():
        raise CtmarError(f"the input must be a file or a folder, got {source}, which does not exist")
    if source.is_dir() or suffix_of(source) is None:
        with files_of(source) as files:
            quiet_pydicom()
            read = read_all(files)
            look(read)
            scan = DicomScan(files, series, read)
            dangling = dangling_links(source)
            if dangling:
                scan.notes.append(f"{dangling} symbolic links left out: they lead nowhere")
            yield scan
    else:
        if series is not None:
            raise CtmarError("--series is for DICOM, got a volume file")
        yield VolumeScan(source)


def scans_in(source: Path) -> Iterator[SliceStack]:
    """Every scan that ``source`` holds, one after the other: volumes by name, then series as they are found.

    Args:
        source: A volume file, DICOM files in a folder or a zip, volumes in a folder; only read.

    Raises:
        CtmarError: Nothing is there, or what is there cannot be read.
    """
    if not source.exists():
        raise CtmarError(f"the input must be a file or a folder, got {source}, which does not exist")
    if source.is_file() and suffix_of(source) is not None:
        yield VolumeScan(source)
        return
    with files_of(source) as files:
        volumes = [file.path for file in files if suffix_of(file.path) is not None]
        yield from map(VolumeScan, volumes)
        headers, faults, left_out = read_all([file for file in files if suffix_of(file.path) is None])
        if faults:
            raise CtmarError(faults[0].said)
        if not headers and not volumes:
            counts = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "nothing"
            raise CtmarError(f"the input must hold CT images, got {counts}")
        for part in by_name(headers).parts.values():
            yield DicomScan(sorted({header.file for header in part}))


@contextmanager
def files_of(source: Path) -> Iterator[list[File]]:
    """The files of a DICOM input; those of a zip are unpacked for as long as they are used."""
    if source.suffix.lower() in OTHER_VOLUMES:
        raise CtmarError(f"{source.name}: a volume must be one .nii, .nii.gz, .nrrd or .mha file")
    if source.suffix.lower() != ".zip":
        yield named(find_files(source), source)
        return
    with tempfile.TemporaryDirectory(prefix="ctmar-") as folder:
        yield unzip(source, Path(folder))
