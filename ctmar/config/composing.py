"""A job's config, composed from the folder of configs that travels with the package."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ctmar
from ctmar.config.environment import drop_empty
from ctmar.config.moved import renamed
from ctmar.errors import CtmarError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_dir() -> Path:
    """Where the configs are: inside the installed package, or beside it in a checkout."""
    package = Path(ctmar.__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise CtmarError(f"configs must lie in {package} or beside it, found none")


def composed(job: str, overrides: Sequence[str] = ()) -> "DictConfig":
    """A job's config with overrides, whatever the command line's: for what works on several."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    drop_empty()
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return compose(job, overrides=renamed(overrides))
    finally:
        GlobalHydra.instance().hydra = running
