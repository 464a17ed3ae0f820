"""A whole run in seconds: tiny geometry, small bodies, few cases."""

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

CONFIGS = Path(__file__).parents[1] / "configs"
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
CLASSICAL = ("uncorrected", "zero", "li", "nmar", "fsnmar", "mbhc", "tv", "physics", "pretrained")
SMALL_NETWORK = ["model.method.network.channels=[8,16]", "model.method.wrap_views=8"]

Compose = Callable[..., DictConfig]
