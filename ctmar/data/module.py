"""The data module: cases of the three splits as batches."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ctmar.case import Case, collate
from ctmar.data.dataset import CaseDataset, EpochShuffle, simulate_ahead
from ctmar.data.simulate import SPLITS, Simulator
from ctmar.data.store import CaseStore
from ctmar.errors import CtmarError


class MARDataModule(pl.LightningDataModule):
    """Simulated cases for training, validation and test.

    Args:
        simulator: Makes a case from its number.
        num_cases: Cases of each split, by name.
        batch_size: Cases a training or validation batch; tests take one at a time.
        store: Where simulated cases are kept; None simulates on the fly.
        num_workers: Processes that simulate or read.
        in_memory: Whether samples once read are held.
        seed: Decides the order of training cases.
    """

    def __init__(
        self,
        simulator: Simulator,
        num_cases: Mapping[str, int],
        batch_size: int = 4,
        store: CaseStore | None = None,
        num_workers: int = 0,
        in_memory: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for split in SPLITS:
            count = num_cases.get(split)
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise CtmarError(f"num_cases.{split} must be a positive whole number, got {count!r}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise CtmarError(f"data.batch_size must be a positive whole number, got {batch_size!r}")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.simulator = simulator
        self.sets = {
            split: CaseDataset(simulator, split, num_cases[split], store, in_memory) for split in SPLITS
        }

    def prepare(self, *splits: str) -> None:
        """Simulates what is missing on disk, with a progress bar; so that no epoch waits for it.

        Raises:
            CtmarError: If a case cannot be made; the cases before it stay.
        """
        for split in splits:
            # In this process: what is wrong with the input is wrong with the first case too.
            data = self.sets[split]
            data[0]
            todo = [(f"case {split}-{index:05d}", data, index) for index in data.missing()]
            for reason in simulate_ahead(todo, self.num_workers, f"simulating {split}"):
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
            collate_fn=collate,
            worker_init_fn=_one_thread,
        )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
