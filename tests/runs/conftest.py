"""A whole run in seconds: tiny geometry, small bodies, few cases."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ctmar.runs.moved import renamed

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = [
    "geometry=tiny",
    "anatomy=procedural_small",
    "++callbacks.image_panels=null",
    "data.num_cases={train:4,val:2,test:2}",
    "data.batch_size=2",
    "data.num_workers=0",
    "extras.progress_bar=false",
    "trainer.max_epochs=2",
    "evaluation.num_panels=1",
    "evaluation.lesions=false",
]
CLASSICAL = ("uncorrected", "zero", "li", "nmar", "fsnmar", "mbhc", "tv", "pretrained")
SMALL_NETWORK = ["model.method.network.channels=[8,16]", "model.method.wrap_views=8"]

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated cases that the tests of a session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path: Path, cache: Path) -> Compose:
    """Composes a job's config for a tiny run in ``tmp_path``."""

    def build(*overrides: str, job: str = "train", folder: str = "run", bare: bool = False) -> DictConfig:
        classical = any(o.startswith("model=") and o.split("=")[1] in CLASSICAL for o in overrides)
        if bare:  # a job that neither simulates nor trains
            with initialize_config_dir(str(CONFIGS), version_base="1.3"):
                return compose(job, overrides=renamed(overrides))
        every = [*TINY, *(() if classical else SMALL_NETWORK), f"paths.outputs={tmp_path}/outputs"]
        every += [f"paths.cache_dir={cache}", f"+paths.run={folder}", *overrides]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose(job, overrides=renamed(every))
        cfg.paths.output_dir = str(tmp_path / folder)
        return cfg

    return build
