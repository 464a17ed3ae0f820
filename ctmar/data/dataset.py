"""Cases of a split as a map-style data set, simulated once and kept."""

from pathlib import Path

import torch
from torch.utils.data import Dataset, Sampler

from ctmar.data.cache import load_case, save_case
from ctmar.data.simulate import Simulator
from ctmar.sample import MARSample


class CaseDataset(Dataset[MARSample]):
    """The first ``num_cases`` cases of a split.

    Args:
        simulator: Makes a case from its number.
        split: ``train``, ``val`` or ``test``.
        num_cases: How many there are.
        folder: Where simulated cases are kept; None simulates on every access.
        in_memory: Whether samples once read stay in this process.
    """

    def __init__(
        self, simulator: Simulator, split: str, num_cases: int, folder: Path | None, in_memory: bool = True
    ) -> None:
        self.simulator, self.split, self.num_cases = simulator, split, num_cases
        self.folder, self.in_memory = folder, in_memory
        self._held: dict[int, MARSample] = {}

    def __len__(self) -> int:
        return self.num_cases

    def __getitem__(self, index: int) -> MARSample:
        if not 0 <= index < self.num_cases:
            raise IndexError(index)
        if index in self._held:
            return self._held[index]
        path = None if self.folder is None else self.folder / self.split / f"{index:05d}.npz"
        sample = None if path is None else load_case(path)
        if sample is None:
            sample = self.simulator.case(self.split, index)
            if path is not None:
                save_case(path, sample)
        if self.in_memory:
            self._held[index] = sample
        return sample

    def forget(self, index: int) -> None:
        """Lets go of a sample held in memory."""
        self._held.pop(index, None)

    def missing(self) -> list[int]:
        """Cases that are not on disk yet."""
        if self.folder is None:
            return []
        folder = self.folder / self.split
        return [n for n in range(self.num_cases) if not (folder / f"{n:05d}.npz").exists()]


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
