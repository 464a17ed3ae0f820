"""Simulated cases on disk as HDF5: a file a case while they come, packed into shards once whole.

Files appear whole or not at all (written aside, synchronised, renamed), so whatever ends a run leaves
nothing broken behind. A case's bytes, and those of a shard, depend on its content alone. HDF5 with gzip was
chosen over Zarr by measurement (docs/data-sets.md).
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ctmar.case import Case
from ctmar.data.encoding import DTYPES, Arrays, decode, digest, encode
from ctmar.errors import CtmarError
from ctmar.files import write_bytes
from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform

COMPRESSION: dict[str, Any] = {
    "compression": "gzip",
    "compression_opts": 1,
    "shuffle": True,
    "fletcher32": True,
}
SHARD_CASES = 64
"""Cases a shard: some 150 MB at 256², few files, little to pack again when a set grows."""


class CaseStore:
    """Cases of several splits in a folder: ``SPLIT/00012.h5``, or packed in ``SPLIT/shard-00000.h5``.

    Args:
        folder: Where they lie; made when the first case comes.
        dtype: Of sinograms and references on disk, ``float32`` or ``float16``; read as float32.
        shard_cases: Cases a shard.
        closed: Whether it takes no new cases: those of other code, say.
    """

    def __init__(
        self, folder: Path, dtype: str = "float32", shard_cases: int = SHARD_CASES, closed: bool = False
    ) -> None:
        if isinstance(shard_cases, bool) or not isinstance(shard_cases, int) or shard_cases < 1:
            raise CtmarError(f"shard_cases must be a positive whole number, got {shard_cases!r}")
        if dtype not in DTYPES:
            raise CtmarError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.folder, self.dtype, self.shard_cases, self.closed = folder, dtype, shard_cases, closed

    def save(self, split: str, index: int, case: Case) -> None:
        """Writes a single case as a file of its own; nothing is left if it fails half-way."""
        if self.closed:
            raise CtmarError(
                f"case {split}-{index:05d} must be in {self.folder}: other code made that set, so that no"
                " case of this version belongs in it"
            )
        arrays = encode(case, self.dtype)
        _write(self._case(split, index), lambda file: _add(file, _name(index), arrays))

    def load(self, split: str, index: int, ray: RayTransform[ParallelBeam], kvp: float | None) -> Case | None:
        """The case; None where there is none, or none that can be read whole.

        Args:
            split: Its split.
            index: Its number there.
            ray: The geometry of the cases, which is not stored with them.
            kvp: Their tube voltage, nor is that.
        """
        arrays = self._arrays(split, index)
        try:
            return None if arrays is None else decode(arrays, ray, kvp)
        except (KeyError, ValueError, TypeError):
            return None

    def missing(self, split: str, cases: Iterable[int]) -> list[int]:
        """Which of the cases are not on disk."""
        packed: dict[int, set[str]] = {}
        absent = []
        for index in cases:
            shard = index // self.shard_cases
            if shard not in packed:
                packed[shard] = _names(self._shard(split, shard))
            if _name(index) not in packed[shard] | _names(self._case(split, index)):
                absent.append(index)
        return absent

    def verify(self, split: str, cases: Iterable[int]) -> list[int]:
        """Which of the cases that are there do not have the digest they were written with.

        Their files are put aside by removal, so that they are missing from then on.
        """
        broken = []
        for index in cases:
            with _open(self._holder(split, index)) as file:
                group = None if file is None else file.get(_name(index))
                if group is None:
                    continue
                wanted = group.attrs.get("sha256")
            arrays = self._arrays(split, index)
            if arrays is None or digest(arrays) != wanted:
                broken.append(index)
        for index in broken:
            self._holder(split, index).unlink(missing_ok=True)
        return broken

    def pack(self, split: str, cases: Iterable[int]) -> None:
        """Puts the cases into shards; a shard of which one case is missing stays unpacked."""
        shards: dict[int, list[int]] = {}
        for index in cases:
            shards.setdefault(index // self.shard_cases, []).append(index)
        for shard, members in shards.items():
            path = self._shard(split, shard)
            if _names(path) < {_name(index) for index in members} and not self.missing(split, members):
                _write(path, lambda file, m=members: self._copy(file, split, m))  # type: ignore[misc]
            held = _names(path)
            for index in members:
                if _name(index) in held:
                    self._case(split, index).unlink(missing_ok=True)
                    # What processes that were killed had begun.
                    for partial in path.parent.glob(f".{_name(index)}.h5.*.part"):
                        partial.unlink(missing_ok=True)

    def about(self, split: str, cases: Iterable[int]) -> Iterator[dict[str, Any]]:
        """``case_id``, ``sha256`` and ``parameters`` of each case."""
        for index in cases:
            with _open(self._holder(split, index)) as file:
                if file is None:
                    raise CtmarError(f"case {split}-{index:05d} must be in {self.folder}, got none")
                group = file[_name(index)]
                told = json.loads(group["about"][()].tobytes())
                yield {"case_id": told["case_id"], "sha256": group.attrs["sha256"], **told}

    def _arrays(self, split: str, index: int) -> Arrays | None:
        for path in (self._shard(split, index // self.shard_cases), self._case(split, index)):
            try:
                with _open(path) as file:
                    if file is not None and _name(index) in file:
                        group = file[_name(index)]
                        return {name: np.asarray(data[()]) for name, data in group.items()}
            except (OSError, KeyError, RuntimeError):
                continue
        return None

    def _copy(self, target: h5py.File, split: str, cases: Iterable[int]) -> None:
        """Copies cases as they are stored, nothing is compressed anew."""
        for index in cases:
            with _open(self._holder(split, index)) as source:
                assert source is not None
                source.copy(source[_name(index)], target, _name(index))

    def _holder(self, split: str, index: int) -> Path:
        """The file that holds a case: its shard, else its own."""
        shard = self._shard(split, index // self.shard_cases)
        return shard if _name(index) in _names(shard) else self._case(split, index)

    def _case(self, split: str, index: int) -> Path:
        return self.folder / split / f"{_name(index)}.h5"

    def _shard(self, split: str, shard: int) -> Path:
        return self.folder / split / f"shard-{shard:05d}.h5"


def _name(index: int) -> str:
    return f"{index:05d}"


@contextmanager
def _open(path: Path) -> Iterator[h5py.File | None]:
    """A file open for reading; None where there is none or it is no HDF5 file."""
    try:
        # Files never change once they have their name: no lock, which network drives often lack.
        file = h5py.File(path, "r", locking=False)
    except OSError:
        yield None
        return
    with file:
        yield file


def _names(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    with _open(path) as file:
        return set() if file is None else set(file)


def _add(file: h5py.File, name: str, arrays: Arrays) -> None:
    """Writes a case as a group; every array is one compressed chunk with a checksum."""
    group = file.create_group(name)
    group.attrs["sha256"] = digest(arrays)
    for key in sorted(arrays):
        array = arrays[key]
        options = COMPRESSION | {"chunks": array.shape} if array.size and array.ndim else {}
        group.create_dataset(key, data=array, **options)


def _write(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Writes a file aside, gets it to the disk and gives it its name.

    Built in memory first: a full disk makes HDF5 end the whole process with a segmentation fault.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    write_bytes(path, content.getbuffer())
