"""Whether a composed config builds all that a training needs: what a bad value gets, without a training."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from ctmar.config.build import (
    build_callbacks,
    build_data,
    build_loggers,
    build_metrics,
    build_model,
    make,
    method_of,
)
from ctmar.config.moved import renamed
from ctmar.config.settings import check_settings
from ctmar.jobs.foreseen import require_fit
from ctmar.jobs.mistakes import one_line
from ctmar.training.fit import Fit

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["geometry=tiny", "anatomy=procedural_small", "data.cache=null", "extras.progress_bar=false"]
NETWORK = ["model.method.network.channels=[4,8]", "model.method.wrap_views=4"]


def build(folder: Path, *overrides: str) -> None:
    """Composes ``train`` and makes simulator, model, data, callbacks, loggers and trainer.

    Args:
        folder: Stands for the run's; loggers may make it.
        overrides: The command line's.
    """
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")] or ["unet"]
    network = NETWORK if chosen[-1] in ("unet", "cgan") else []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train", overrides=renamed([*SMALL, *network, f"paths.output_dir={folder}", *overrides])
        )
    check_settings(cfg)
    model = build_model(cfg)
    data = build_data(cfg, method_of(model).slices or 1)
    model.check(data.source.ray)
    build_metrics(cfg)
    if isinstance(model, Fit):
        require_fit(cfg, model)
    callbacks, loggers = build_callbacks(cfg), build_loggers(cfg)
    make(cfg.trainer, callbacks=callbacks, logger=loggers or False)


def answer(folder: Path, *overrides: str) -> str | None:
    """The line that a user gets; None where everything is built. What is no user's mistake is raised."""
    try:
        build(folder, *overrides)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return line
    return None
