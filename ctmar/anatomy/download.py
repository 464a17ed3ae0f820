"""Archives of data sets from the web: checked, resumed where they were cut, unpacked where they belong."""

import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ctmar.errors import CtmarError

CHUNK = 1 << 16
DONE = ".unpacked"
"""Holds the checksum of the archive that a folder was unpacked from."""


def fetch(url: str, sha256: str | None, root: Path) -> None:
    """Downloads an archive once and unpacks it under ``root``.

    What arrived of a download that was cut is kept, and the rest is asked for.

    Args:
        url: Where the archive lies: ``.zip``, ``.tar``, ``.tar.gz``, ``.tgz``.
        sha256: Its checksum, in hex.
        root: The data set's folder.

    Raises:
        CtmarError: No checksum or a wrong one, no answer, no archive, or one whose files would land
            outside ``root``.
    """
    import pooch

    if not sha256 or len(sha256) != 64:
        raise CtmarError(f"anatomy.sha256 must be the archive's checksum of 64 hex digits, got {sha256!r}")
    done = root / DONE
    if done.is_file() and done.read_text(encoding="utf-8").strip() == sha256.lower():
        return
    name = Path(unquote(urlsplit(url).path)).name
    if not name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz")):
        raise CtmarError(f"anatomy.url must name a .zip, .tar, .tar.gz or .tgz, got {url!r}")
    root.mkdir(parents=True, exist_ok=True)
    try:
        archive = Path(
            pooch.retrieve(url, f"sha256:{sha256.lower()}", name, root, downloader=_Resuming(root, name))
        )
    except ValueError as error:
        raise CtmarError(f"{url} must have the checksum {sha256}: {error}") from None
    except OSError as error:
        raise CtmarError(f"{url} must answer, got: {error}") from error
    unpack(archive, root)
    archive.unlink()
    done.write_text(sha256.lower() + "\n", encoding="utf-8")


def unpack(archive: Path, root: Path) -> None:
    """Unpacks an archive under ``root``; nothing is written if a member would land outside.

    Raises:
        CtmarError: No archive, or a member with an absolute path, one that leaves ``root``, or a link.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                for entry in packed.infolist():
                    _require_inside(entry.filename, root, entry.external_attr >> 16 & 0o170000 == 0o120000)
                packed.extractall(root)  # nosec B202: every member was checked
        else:
            with tarfile.open(archive) as bundle:
                for member in bundle.getmembers():
                    _require_inside(member.name, root, not (member.isfile() or member.isdir()))
                bundle.extractall(root, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise CtmarError(f"{archive} must be an archive that can be read: {error}") from error


def _require_inside(name: str, root: Path, special: bool) -> None:
    target = (root / name).resolve()
    if special or Path(name).is_absolute() or root.resolve() not in (target, *target.parents):
        raise CtmarError(f"an archive's files must land in {root}, got a member {name!r}")


class _Resuming:
    """Downloads for pooch, going on where an earlier attempt ended; a bar shows how far it is."""

    def __init__(self, root: Path, name: str) -> None:
        self.partial = root / f".{name}.part"

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests
        from tqdm import tqdm

        have = self.partial.stat().st_size if self.partial.is_file() else 0
        asked = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=asked, stream=True, timeout=60) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                self.partial.unlink()  # longer than what is there now: another file
                raise OSError("the partial download does not belong to the file; it was removed")
            answer.raise_for_status()
            # A server that knows no ranges sends all of it again.
            resumed = answer.status_code == requests.codes.partial_content
            total = int(answer.headers.get("Content-Length", 0)) + (have if resumed else 0)
            with (
                self.partial.open("ab" if resumed else "wb") as file,
                tqdm(total=total or None, initial=have if resumed else 0, unit="B", unit_scale=True) as bar,
            ):
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        if total and self.partial.stat().st_size < total:
            raise OSError(f"the connection ended at {self.partial.stat().st_size} of {total} bytes")
        shutil.move(self.partial, output_file)
