"""Numbers that end: a NaN in a case, a loss that diverges, weights that are no numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ctmar.data.dataset import CaseDataset
from ctmar.errors import CtmarError
from ctmar.jobs.train import train
from ctmar.losses.squared import Squared
from ctmar.training.fit import Fit
from ctmar.training.gan import GAN


def spoil(name: str, monkeypatch: pytest.MonkeyPatch, case: str = "train-00003") -> None:
    """Puts a NaN into a field of one case, wherever it is handed out."""
    original = CaseDataset.__getitem__

    def spoilt(self: CaseDataset, index: int):  # type: ignore[no-untyped-def]
        whole = original(self, index)
        if whole.scan.case_id != (case,):
            return whole
        part = "truth" if name == "clean" else "scan"
        field = getattr(getattr(whole, part), name).clone()
        field[whole.scan.metal_trace] = torch.nan
        return replace(whole, **{part: replace(getattr(whole, part), **{name: field})})

    monkeypatch.setattr(CaseDataset, "__getitem__", spoilt)


@pytest.mark.parametrize("field", ["measured", "clean", "metal_path_mm"])
def test_a_nan_in_a_batch_stops_with_the_case_named(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    spoil(field, monkeypatch)
    with pytest.raises(CtmarError, match=f"case train-00003 must be finite, got NaN or infinity in {field}"):
        train(tiny("test=false"))


@pytest.mark.parametrize("model", ["unet", "cgan"])
def test_a_training_that_diverges_stops_and_leaves_the_last_good_checkpoint(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    loss, fits = Squared.__call__, []
    step = Fit.training_case

    def seen(self, case, batch_idx):  # type: ignore[no-untyped-def]
        fits[:] = [self]
        return step(self, case, batch_idx)

    def diverging(self, completed, case):  # type: ignore[no-untyped-def]
        factor = 1e38 if fits and fits[0].training and fits[0].current_epoch == 2 else 1.0
        return loss(self, completed, case) * factor * factor

    monkeypatch.setattr(Fit, "training_case", seen)
    monkeypatch.setattr(Squared, "__call__", diverging)
    with pytest.raises(CtmarError, match=r"diverged: the loss of epoch 3, batch 1 must be finite, got inf"):
        train(tiny(f"model={model}", "trainer.max_epochs=4"))
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_weights_that_are_no_numbers_reach_no_checkpoint(
    tiny,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last step of an epoch spoils them: no loss of that epoch tells.
    def spoiling(self, outputs, batch, batch_idx):  # type: ignore[no-untyped-def]
        if self.current_epoch == 1 and batch_idx == 1:
            next(self.discriminator.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(GAN, "on_train_batch_end", spoiling)
    with pytest.raises(CtmarError, match="diverged: the weights after epoch 2 must be finite"):
        train(tiny("model=cgan", "trainer.max_epochs=4"))
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0
