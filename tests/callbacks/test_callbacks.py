import sys
import types

import matplotlib.image
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from matplotlib.image import imread
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from ctmar.callbacks import EpochLine, ImagePanels, finish_wandb, image_panels
from ctmar.callbacks.wandb_report import arrange, log_report
from ctmar.case import Case, Scan, Truth, collate
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods import Method
from tests.quiet import quiet_trainer

SIZE = 16


class IdentityRay:
    """Stands in for the ray transform: image and sinogram are one."""

    grid = ImageGrid((SIZE, SIZE), 1.0)
    beam = ParallelBeam(SIZE, SIZE, 1.0)

    def fbp(self, sinogram, filter="ram-lak"):
        return sinogram * 0.02


def single(index: int, ray=None) -> Case:
    shape = (1, 3, SIZE, SIZE)
    trace = torch.zeros(shape, dtype=torch.bool)
    trace[..., 6:10, 6:10] = True
    clean = torch.full(shape, 1.0 + index)
    scan = Scan(
        measured=torch.where(trace, clean + 1, clean),
        metal_trace=trace,
        metal_mask=trace & (torch.arange(SIZE) == 8),
        metal_path_mm=trace.float(),
        mu_water=torch.tensor([0.02]),
        ray=ray or IdentityRay(),
        fills={"li": clean.clone()},
        case_id=(f"val-{index}",),
    )
    truth = Truth(
        clean=clean,
        reference_hu=torch.zeros(shape),
        body_mask=torch.ones(shape, dtype=torch.bool),
        tissue_labels=torch.zeros(shape, dtype=torch.uint8),
        parameters=({},),
    )
    return Case(scan, truth)


class Shifted(torch.nn.Module, Method):
    """Adds one number on the trace to what was there before the metal."""

    name = "shifted"

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.5))
        self.completed: list[tuple[str, ...]] = []

    def trace(self, scan):
        self.completed.append(scan.case_id)
        return scan.fills["li"] + self.shift


class TinyModule(pl.LightningModule):
    """Shrinks the number that its method adds."""

    def __init__(self, method: Shifted | None = None) -> None:
        super().__init__()
        self.method = method or Shifted()

    def training_step(self, batch, index):
        loss = self.method.shift.square()
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=2)
        return loss

    def validation_step(self, batch, index):
        self.log("val/loss", self.method.shift.abs(), batch_size=2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(tmp_path, callback, module=None, *, logger=False, max_epochs=2, num_cases=4, ray=None):
    loader = DataLoader([single(i, ray) for i in range(num_cases)], batch_size=2, collate_fn=collate)
    options = {"callbacks": [callback], "logger": logger, "log_every_n_steps": 1}
    trainer = quiet_trainer(tmp_path, max_epochs=max_epochs, **options)
    module = module or TinyModule()
    trainer.fit(module, loader, loader)
    return module


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 with torch 2.13.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]


def test_a_case_of_a_batch_is_a_batch_of_one():
    batch = collate([single(0), single(1)])
    case = batch.one(1)
    scan, clean = case.scan, case.truth.clean
    assert scan.case_id == ("val-1",) and scan.measured.shape == (1, 3, SIZE, SIZE)
    assert torch.equal(clean[0], batch.truth.clean[1]) and not torch.equal(clean[0], batch.truth.clean[0])
    assert torch.equal(scan.fills["li"][0], batch.scan.fills["li"][1]) and scan.mu_water.shape == (1,)


@pytest.mark.slow
def test_panels_are_saved_beside_a_csv_log(tmp_path):
    fit(tmp_path, ImagePanels(num_cases=3), logger=CSVLogger(tmp_path), max_epochs=1)
    names = sorted(p.name for p in (tmp_path / "panels").iterdir())
    assert names == [f"epoch0000-val-{i}.png" for i in range(3)]
    assert imread(tmp_path / "panels" / names[0]).shape[1] > 500


@pytest.mark.parametrize("own_image", [True, False])
def test_panels_show_a_models_own_image_where_it_has_one(tmp_path, monkeypatch, own_image):
    class Refined(Shifted):
        def finish(self, scan, corrected_hu, uncorrected_hu):
            return torch.full_like(corrected_hu, 77.0) if self.own_image else corrected_hu

    class Projects(IdentityRay):
        def forward(self, image_mu):
            return image_mu / 0.02

    results, evaluate = [], image_panels.evaluate_case
    monkeypatch.setattr(
        image_panels, "evaluate_case", lambda *args: results.append(evaluate(*args)) or results[-1]
    )
    method = Refined()
    method.own_image = own_image
    panels = ImagePanels(num_cases=1, folder=tmp_path)
    fit(tmp_path, panels, TinyModule(method), max_epochs=1, ray=Projects())
    assert bool((results[0].images_hu["model"] == 77.0).all()) == own_image
    (row,) = (row for row in results[0].rows if row["method"] == "model")
    assert row["changes_untouched_rays"] == own_image


def test_panels_come_every_nth_epoch_and_never_from_the_sanity_check(tmp_path):
    panels = ImagePanels(every_n_epochs=2, num_cases=1, folder=tmp_path / "here")
    module = fit(tmp_path, panels, max_epochs=3)
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["epoch0001-val-0.png"]
    assert module.method.completed == [("val-0",)]


def test_without_a_logger_or_folder_nothing_is_written(tmp_path):
    module = fit(tmp_path, ImagePanels())
    assert list(tmp_path.iterdir()) == [] and module.method.completed == []


@pytest.mark.slow
def test_tensorboard_gets_images_against_the_epoch(tmp_path, monkeypatch):
    calls = []
    logger = TensorBoardLogger(tmp_path)
    monkeypatch.setattr(
        logger.experiment,
        "add_image",
        lambda tag, rgb, step, dataformats: calls.append((tag, rgb.shape[2], step)),
    )
    fit(tmp_path, ImagePanels(num_cases=1), logger=logger)
    assert calls == [("val/val-0", 3, 0), ("val/val-0", 3, 1)]
    assert not (tmp_path / "panels").exists()


def test_a_module_that_cannot_complete_is_an_error(tmp_path):
    class Mute(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.tensor(0.5))

    with pytest.raises(CtmarError, match=r"method 'model' must be a Method, got Mute\(\)"):
        fit(tmp_path, ImagePanels(folder=tmp_path), TinyModule(Mute()))


def test_numbers_below_one_are_refused():
    with pytest.raises(CtmarError, match="must be positive, got 0 and 2"):
        ImagePanels(every_n_epochs=0)
    with pytest.raises(CtmarError, match="every_n_epochs must be a positive whole number, got 0"):
        EpochLine(every_n_epochs=0)


def test_each_epoch_gets_one_line_with_its_own_losses(tmp_path, capsys):
    fit(tmp_path, EpochLine(metrics=("train/loss", "val/loss", "val/absent")))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    # Two steps an epoch, each shrinking the shift by a fifth: 0.5, 0.4 | 0.32 at validation.
    assert lines[0].split()[:6] == ["epoch", "1/2", "train/loss", "0.205", "val/loss", "0.32"]
    assert lines[1].split()[1] == "2/2" and "absent" not in lines[1] and lines[1].endswith(" s")


def test_lines_can_be_rarer(tmp_path, capsys):
    fit(tmp_path, EpochLine(every_n_epochs=2), max_epochs=3)
    assert [line[:9] for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")] == [
        "epoch 2/3"
    ]


@pytest.fixture
def fake_wandb(monkeypatch):
    module = types.ModuleType("wandb")
    module.run, module.codes = object(), []

    def finish(exit_code=0):
        module.codes.append(exit_code)
        module.run = None

    module.finish = finish
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_an_active_wandb_run_is_ended_once(fake_wandb):
    assert finish_wandb() and fake_wandb.codes == [0]
    assert not finish_wandb() and fake_wandb.codes == [0]


def test_wandb_is_not_imported_to_be_ended(monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert not finish_wandb()
    assert "wandb" not in sys.modules


@pytest.mark.slow
def test_wandb_gets_images_against_the_epoch(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the wandb logger is optional")
    from pytorch_lightning.loggers import WandbLogger

    logged = []
    experiment = types.SimpleNamespace(log=logged.append)
    monkeypatch.setattr(WandbLogger, "experiment", property(lambda self: experiment))
    monkeypatch.setattr(WandbLogger, "log_metrics", lambda *args, **kwargs: None)
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda *args, **kwargs: None)
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    fit(tmp_path, ImagePanels(num_cases=2), logger=logger, max_epochs=1)
    (entry,) = logged
    assert entry["epoch"] == 0 and all(isinstance(image, wandb.Image) for image in entry["val/panels"])
    assert len(entry["val/panels"]) == 2
    assert np.asarray(entry["val/panels"][0].image).ndim == 3


def test_an_evaluation_goes_to_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the wandb logger is optional")
    logged = []

    class Logger(pl.loggers.WandbLogger):
        def __init__(self) -> None:
            pass

        @property
        def experiment(self):
            return types.SimpleNamespace(log=logged.append)

    (tmp_path / "panels").mkdir()
    (tmp_path / "cases.csv").write_text("case_id,rmse\nc0,1.5\nc1,nan\n", encoding="utf-8")
    (tmp_path / "report.html").write_text("<html></html>", encoding="utf-8")
    matplotlib.image.imsave(tmp_path / "panels" / "c0.png", np.zeros((4, 4)))
    assert log_report([CSVLogger(tmp_path)], tmp_path) == 0 and logged == []
    assert log_report([Logger()], tmp_path) == 1
    (entry,) = logged
    assert set(entry) == {"evaluation/cases", "evaluation/panels", "evaluation/report"}
    assert entry["evaluation/cases"].columns == ["case_id", "rmse"]
    assert entry["evaluation/cases"].data[0] == ["c0", 1.5]
    assert all(isinstance(image, wandb.Image) for image in entry["evaluation/panels"])


def test_wandb_draws_losses_against_epochs(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the wandb logger is optional")
    from pytorch_lightning.loggers import CSVLogger, WandbLogger

    told = []
    run = types.SimpleNamespace(define_metric=lambda name, **options: told.append((name, options)))
    monkeypatch.setattr(WandbLogger, "experiment", property(lambda self: run))
    arrange([CSVLogger(tmp_path), WandbLogger(save_dir=tmp_path, offline=True)])
    assert ("val/*", {"step_metric": "epoch", "summary": "min"}) in told and len(told) == 3
