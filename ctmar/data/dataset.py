"""Cases of a split as a map-style data set, made once and kept."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from ctmar.case import Case
from ctmar.data.cases import CaseSource, require_case
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.data.threads import one_thread
from ctmar.errors import CtmarError


class CaseDataset(Dataset[Case]):
    """The first ``num_cases`` cases of a split.

    Args:
        source: Makes a case from its number.
        split: ``train``, ``val`` or ``test``.
        num_cases: How many there are to be; None for all that the source has.
        store: Where cases are kept; None makes them on every access.
        in_memory: Whether cases once read stay in this process.
        slices: Slices of a case, to which cases of a source of the user's own are held.
    """

    def __init__(
        self,
        source: CaseSource,
        split: str,
        num_cases: int | None,
        store: CaseStore | None,
        in_memory: bool = True,
        slices: int = 1,
    ) -> None:
        self.source, self.split, self.num_cases = source, split, num_cases
        self.store, self.in_memory, self.slices = store, in_memory, slices
        self._held: dict[int, Case] = {}
        self._length: int | None = None

    def __len__(self) -> int:
        # Asked for late: a source may have to read every file of the split to know.
        if self._length is None:
            self._length = _count(self.source, self.split, self.num_cases)
        return self._length

    def __getitem__(self, index: int) -> Case:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index in self._held:
            return self._held[index]
        maker = self.source
        kvp = maker.scanner_of(index).kvp if isinstance(maker, Simulator) else maker.kvp
        case = None if self.store is None else self.store.load(self.split, index, maker.ray, kvp)
        if case is None:
            case = self.made(index)
            if self.store is not None:
                self.store.save(self.split, index, case)
        if self.in_memory:
            self._held[index] = case
        return case

    def made(self, index: int) -> Case:
        """A case as its source makes it, held to the contract where that is not the simulator."""
        if isinstance(self.source, Simulator):
            return self.source.case(self.split, index)
        # A forked process in which torch takes up several threads would wait for ever.
        with one_thread():
            return require_case(self.source.case(self.split, index), self.source, self.slices)

    def lean(self) -> "CaseDataset":
        """The same cases, none of them held in memory: what travels to another process."""
        return CaseDataset(
            self.source, self.split, len(self), self.store, in_memory=False, slices=self.slices
        )

    def missing(self) -> list[int]:
        """Cases that are not on disk yet; none where nothing is kept there."""
        return [] if self.store is None else self.store.missing(self.split, range(len(self)))


def _count(source: CaseSource, split: str, wanted: int | None) -> int:
    """How many cases of a split there are to be; a CtmarError where there are fewer."""
    there = source.count(split)
    if there is None:
        return require_count(split, wanted)
    if there < 1:
        raise CtmarError(f"{split} must have a case, got none")
    if wanted is not None and wanted > there:
        raise CtmarError(f"num_cases.{split} must be at most the {there} cases that there are, got {wanted}")
    return there if wanted is None else wanted


def require_count(split: str, count: Any) -> int:
    """The number of cases of a split; a CtmarError where it is none."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise CtmarError(f"num_cases.{split} must be a positive whole number, got {count!r}")
    return count


ToMake = tuple[str, CaseDataset, int]
"""What to call a case, the data set that keeps it, its number there."""


def simulate_ahead(cases: Sequence[ToMake], workers: int, label: str) -> Iterator[str | None]:
    """Puts cases on disk over processes, with a progress bar, in any order.

    Args:
        cases: The cases.
        workers: Processes; with 0 or 1 it is this one.
        label: What the bar says.

    Yields:
        None for each case that was made; for one that cannot be, a line that says why.
    """
    from tqdm import tqdm

    if not cases:
        return
    with tqdm(total=len(cases), desc=label, unit="case", mininterval=2.0) as bar:
        for reason in _all_made(cases, workers):
            bar.update()
            yield reason


def _all_made(cases: Sequence[ToMake], workers: int) -> Iterator[str | None]:
    """Makes the cases over processes, or in this one; yields as :func:`simulate_ahead`.

    Raises:
        CtmarError: A process died. (A pool of ``multiprocessing`` would wait for it for ever.)
    """
    sets = {id(data): data.lean() for _, data, _ in cases}
    if workers <= 1:
        yield from (_made(name, sets[id(data)], n) for name, data, n in cases)
        return
    # Forked where the system forks: they start at once, with the bodies that this process has built.
    # The sets go along at the start, not with each case: torch would hand over their tensors by sockets, and
    # a process that dies amid such a handshake leaves a traceback.
    with ProcessPoolExecutor(min(workers, len(cases)), initializer=_begin, initargs=(sets,)) as pool:
        try:
            waiting = [pool.submit(_made_of, name, id(data), n) for name, data, n in cases]
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool:
            raise CtmarError(
                "a process that simulates cases died, perhaps for want of memory; what was made stays, the"
                " same command goes on (with data.num_workers=0 this process makes them)"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_SETS: dict[int, CaseDataset] = {}
"""What a process of a pool makes cases for."""


def _begin(sets: dict[int, CaseDataset]) -> None:
    """Begins a process of a pool. Ctrl-C reaches it too; the one that waits for it answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _SETS.update(sets)


def _made_of(name: str, which: int, index: int) -> str | None:
    return _made(name, _SETS[which], index)


def _made(name: str, data: CaseDataset, index: int) -> str | None:
    """Makes a case for its file alone; nothing travels back but a reason."""
    try:
        assert data.store is not None
        data.store.save(data.split, index, data.made(index))
    except CtmarError as error:
        return f"{name}: {error}"
    return None


class EpochShuffle(Sampler[int]):
    """A permutation that depends on (seed, epoch) alone, so that a resumed run sees the same order."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self):  # type: ignore[no-untyped-def]
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        yield from torch.randperm(self.length, generator=generator).tolist()
