"""The moving average: its arithmetic, what a checkpoint holds, and resuming."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from ctmar.callbacks import EMA
from ctmar.errors import CtmarError
from tests.quiet import quiet_trainer
from tests.training.building import STEADY, STEADY_GAME, gan, loader, unet_fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

HEAD = "method.generator.net.head.weight"


class Recorder(pl.Callback):
    """Notes a weight after every batch, before and during validation."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self.validated: list[torch.Tensor] = []
        self.saves: Path | None = None

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if self.saves is not None:
            trainer.save_checkpoint(self.saves, weights_only=False)

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.steps.append(pl_module.state_dict()[HEAD].clone())

    def on_validation_batch_start(self, trainer, pl_module, *_) -> None:
        self.validated.append(pl_module.state_dict()[HEAD].clone())


def fit(model, cases, tmp_path, epochs=1, resume=None, saves=None):
    recorder = Recorder()
    recorder.saves = saves
    run = quiet_trainer(tmp_path, max_epochs=epochs, callbacks=[recorder, EMA(0.9)])
    run.fit(model, loader(*cases), loader(cases[0]), ckpt_path=resume, weights_only=True)
    return run, recorder


@pytest.mark.parametrize(("kind", "optimizer"), [(unet_fit, STEADY), (gan, STEADY_GAME)])
def test_average_is_the_recursion_over_the_steps(make_case, tmp_path, kind, optimizer) -> None:
    model = kind(optimizer=optimizer)
    run, recorder = fit(model, [make_case(seed=n) for n in range(6)], tmp_path)
    expected = recorder.steps[0]
    for n, weight in enumerate(recorder.steps[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    final = model.state_dict()[HEAD]
    torch.testing.assert_close(final, expected)
    torch.testing.assert_close(recorder.validated[-1], expected)
    assert not torch.allclose(final, recorder.steps[-1])
    run.save_checkpoint(tmp_path / "average.ckpt")
    saved = torch.load(tmp_path / "average.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved[HEAD], final)


def test_resuming_equals_an_unbroken_run(make_case, tmp_path) -> None:
    cases = [make_case(seed=n) for n in range(3)]
    runs = {}
    for name, epochs in (("whole", 2), ("half", 1)):
        pl.seed_everything(0, verbose=False)
        runs[name] = unet_fit(optimizer=STEADY)
        fit(runs[name], cases, tmp_path, epochs, saves=tmp_path / f"{name}.ckpt")
    pl.seed_everything(0, verbose=False)
    resumed = unet_fit(optimizer=STEADY)
    fit(resumed, cases, tmp_path, 2, tmp_path / "half.ckpt")
    for a, b in zip(runs["whole"].parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_decay_out_of_range_is_named() -> None:
    with pytest.raises(CtmarError, match=r"decay must lie in \[0, 1\), got 1.0"):
        EMA(1.0)
