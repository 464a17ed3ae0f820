"""A callback for tests: a run that ends early as if it had been told to."""

from pytorch_lightning import Callback, LightningModule, Trainer


class StopAfter(Callback):
    """Ends training after the given number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True
