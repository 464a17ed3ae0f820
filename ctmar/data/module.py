"""The data module: cases of the three splits as batches."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ctmar.case import Case, collate
from ctmar.data.cases import CaseSource
from ctmar.data.dataset import CaseDataset, EpochShuffle, require_count, simulate_ahead
from ctmar.data.setup import SPLITS
from ctmar.data.simulate import Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError


class MARDataModule(pl.LightningDataModule):
    """Cases for training, validation and test.

    Args:
        source: Makes a case from its number.
        num_cases: Cases of each split, by name; None for all that the source has.
        batch_size: Cases a training or validation batch; tests take one at a time.
        store: Where cases are kept; None makes them on the fly.
        num_workers: Processes that make or read cases.
        in_memory: Whether samples once read are held.
        seed: Decides the order of training cases.
        slices: Slices of a case.

    Raises:
        CtmarError: A number that is none. What the source has is asked for with the first case of a split.
    """

    def __init__(
        self,
        source: CaseSource,
        num_cases: Mapping[str, int | None],
        batch_size: int = 4,
        store: CaseStore | None = None,
        num_workers: int = 0,
        in_memory: bool = True,
        seed: int = 0,
        slices: int = 1,
    ) -> None:
        super().__init__()
        for split in SPLITS:
            if isinstance(source, Simulator) or num_cases.get(split) is not None:
                require_count(split, num_cases.get(split))
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise CtmarError(f"data.batch_size must be a positive whole number, got {batch_size!r}")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.source = source
        self.sets = {
            split: CaseDataset(source, split, num_cases.get(split), store, in_memory, slices)
            for split in SPLITS
        }

    def prepare(self, *splits: str) -> None:
        """Makes what is missing on disk, with a progress bar; so that no epoch waits for it.

        Raises:
            CtmarError: If a case cannot be made; the cases before it stay.
        """
        for split in splits:
            # In this process: what is wrong with the input is wrong with a split's first case too.
            self.sets[split][0]
        for split in splits:
            data = self.sets[split]
            todo = [(f"case {split}-{index:05d}", data, index) for index in data.missing()]
            doing = "simulating" if isinstance(self.source, Simulator) else "reading"
            for reason in simulate_ahead(todo, self.num_workers, f"{doing} {split}"):
                if reason is not None:
                    raise CtmarError(reason)

    def train_dataloader(self) -> DataLoader[Case]:
        """Shuffled by (seed, epoch)."""
        data = self.sets["train"]
        return self._loader(data, self.batch_size, EpochShuffle(len(data), self.seed))

    def val_dataloader(self) -> DataLoader[Case]:
        """In order."""
        return self._loader(self.sets["val"], self.batch_size)

    def test_dataloader(self) -> DataLoader[Case]:
        """In order, one case at a time."""
        return self._loader(self.sets["test"], 1)

    def _loader(
        self, data: CaseDataset, batch_size: int, sampler: EpochShuffle | None = None
    ) -> DataLoader[Case]:
        # Samples held in memory would be copied into every worker.
        workers = 0 if data.in_memory else self.num_workers
        return DataLoader(
            data,
            batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,  # where they are spawned each takes seconds to start
            collate_fn=collate,
            worker_init_fn=_one_thread,
        )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
