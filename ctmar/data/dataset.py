"""Cases of a split as a map-style data set, simulated once and kept."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError
from ctmar.sample import MARSample

ROUND = 8
"""Cases a process makes before what happened is told: they wait for the slowest at its end."""


class CaseDataset(Dataset[MARSample]):
    """The first ``num_cases`` cases of a split.

    Args:
        simulator: Makes a case from its number.
        split: ``train``, ``val`` or ``test``.
        num_cases: How many there are.
        store: Where simulated cases are kept; None simulates on every access.
        in_memory: Whether samples once read stay in this process.
    """

    def __init__(
        self,
        simulator: Simulator,
        split: str,
        num_cases: int,
        store: CaseStore | None,
        in_memory: bool = True,
    ) -> None:
        self.simulator, self.split, self.num_cases = simulator, split, num_cases
        self.store, self.in_memory = store, in_memory
        self._held: dict[int, MARSample] = {}

    def __len__(self) -> int:
        return self.num_cases

    def __getitem__(self, index: int) -> MARSample:
        if not 0 <= index < self.num_cases:
            raise IndexError(index)
        if index in self._held:
            return self._held[index]
        sample = None if self.store is None else self.store.load(self.split, index)
        if sample is None:
            sample = self.simulator.case(self.split, index)
            if self.store is not None:
                self.store.save(self.split, index, sample)
        if self.in_memory:
            self._held[index] = sample
        return sample

    def lean(self) -> "CaseDataset":
        """The same cases, none of them held in memory: what travels to another process."""
        return CaseDataset(self.simulator, self.split, self.num_cases, self.store, in_memory=False)

    def missing(self) -> list[int]:
        """Cases that are not on disk yet; none where nothing is kept there."""
        return [] if self.store is None else self.store.missing(self.split, range(self.num_cases))


def simulate_ahead(
    cases: Sequence[tuple[str, CaseDataset, int]], workers: int, label: str
) -> Iterator[str | None]:
    """Puts cases on disk over processes, with a progress bar, in any order.

    Args:
        cases: What to call a case, the data set that keeps it, its number there.
        workers: Processes; with 0 or 1 it is this one.
        label: What the bar says.

    Yields:
        None for each case that was made; for one that cannot be, a line that says why.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    if not cases:
        return
    # Forked where the system forks: they start at once, with the bodies that this process has built.
    with (
        Parallel(n_jobs=max(workers, 1), backend="multiprocessing", batch_size=1) as pool,
        tqdm(total=len(cases), desc=label, unit="case", mininterval=2.0) as bar,
    ):
        size = ROUND * max(workers, 1)
        for some in (cases[n : n + size] for n in range(0, len(cases), size)):
            for reason in pool(delayed(_made)(name, d.lean(), n) for name, d, n in some):
                bar.update()
                yield reason


def _made(name: str, data: CaseDataset, index: int) -> str | None:
    """Simulates a case for its file alone; nothing travels back but a reason."""
    try:
        assert data.store is not None
        data.store.save(data.split, index, data.simulator.case(data.split, index))
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
