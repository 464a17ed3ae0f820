"""Files of a DICOM input: those of a folder or a zip, under the names that messages have for them."""

import errno
import logging
import os
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ctmar.errors import CtmarError, flat

LARGEST_UNZIPPED = 16 * 2**30
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a disk says that takes no more."""
ENCRYPTED = 0x1
"""In the flags of a zip's member."""


class File(NamedTuple):
    """A file, and what messages call it: its path from the folder or zip that was given."""

    path: Path
    name: str


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turns whatever a broken file raises into one line that names it, and keeps header values out of it.

    A disk that is full stays an error of the system: it is not the file's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            yield
    except (CtmarError, NameError, ImportError, AssertionError):
        raise  # a line for the user already, or a mistake of ours
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in FULL:
                raise
            raise CtmarError(f"{name}: must be readable, got {error.strerror}") from None
        raise CtmarError(f"{name}: must be readable DICOM, got a damaged or cut file") from None


def quiet_pydicom() -> None:
    """Pydicom's log quotes header values."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def find_files(source: Path) -> list[Path]:
    """All files of a folder, behind symbolic links too, each folder once; or the one.

    Raises:
        CtmarError: A folder inside that may not be read.
    """
    if not source.is_dir():
        return [source]

    def refuse(error: OSError) -> None:
        raise CtmarError(
            f"{error.filename}: every folder of the input must be readable, got {error.strerror}"
        )

    found, seen = [], {os.path.realpath(source)}
    for folder, below, names in os.walk(source, onerror=refuse, followlinks=True):
        fresh = []
        for name in sorted(below):
            real = os.path.realpath(os.path.join(folder, name))
            if real not in seen:  # a link back would lead round for ever
                seen.add(real)
                fresh.append(name)
        below[:] = fresh
        found += [path for name in names if (path := Path(folder, name)).is_file()]
    return sorted(found)


def dangling_links(source: Path) -> int:
    """Symbolic links of a folder that lead nowhere."""
    if not source.is_dir():
        return 0
    return sum(path.is_symlink() and not path.exists() for path in source.rglob("*"))


def named(paths: list[Path], source: Path) -> list[File]:
    """Files under their paths from the folder ``source``."""
    root = source if source.is_dir() else source.parent
    return [File(path, path.relative_to(root).as_posix()) for path in paths]


def unzip(archive: Path, folder: Path) -> list[File]:
    """Unpacks a zip, each member into a file of its own, also where several share a name.

    Args:
        archive: The zip.
        folder: An empty folder.

    Raises:
        CtmarError: Members that would lie outside or need a password, more than 16 GiB, no readable zip.
    """
    files: list[File] = []
    count: Counter[str] = Counter()
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir()]
            if sum(m.file_size for m in members) > LARGEST_UNZIPPED:
                raise CtmarError(f"{archive.name}: a zip must unpack to at most 16 GiB, got more")
            for number, member in enumerate(members):
                if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                    raise CtmarError(
                        f"{archive.name}: files of a zip must lie inside it, got one that does not"
                    )
                if member.flag_bits & ENCRYPTED:
                    raise CtmarError(
                        f"{archive.name}: a zip must be without a password, got one with it;"
                        " unpack it and give the folder"
                    )
                name = flat(member.filename)
                count[name] += 1
                name += f" ({count[name]})" if count[name] > 1 else ""
                files.append(File(folder / f"{number:06d}", name))
                _extract(packed, member, files[-1].path, archive.name)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if isinstance(error, CtmarError):
            raise
        raise CtmarError(f"{archive.name}: must be a readable zip, got a damaged or cut file") from None
    return files


def _extract(packed: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, archive: str) -> None:
    try:
        with packed.open(member) as packed_file, path.open("wb") as file:
            while piece := packed_file.read(2**20):
                file.write(piece)
    except (NotImplementedError, RuntimeError):
        raise CtmarError(
            f"{archive}: members must be packed by deflate or not at all, got {flat(member.filename)}"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise CtmarError(f"{archive}: {flat(member.filename)} must be whole, got a damaged one") from None
