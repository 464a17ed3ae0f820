"""Fixtures that every test may use."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir

from ctmar.anatomy import Anatomy
from ctmar.runs.environment import drop_empty
from ctmar.sample import MARSample
from tests.toy_spine import make_spine

drop_empty()

# Hypothesis notes what it saw of the code in a folder; not in the checkout.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real CT volumes: ``CTMAR_DATA``, else ``shared/data`` beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CTMAR_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real CT data: neither CTMAR_DATA nor {default.name} beside the repository exists")
    return folder


@pytest.fixture(scope="session")
def toy_spine() -> Anatomy:
    """A spine of simple solids whose pedicles are known."""
    return make_spine()


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., MARSample]:
    """Gives ``make(batch, slices, views, bins)``: blobs as anatomy, a blob of metal, a crude fill."""

    def make(batch: int = 2, slices: int = 1, views: int = 48, bins: int = 65, seed: int = 0) -> MARSample:
        generator = np.random.default_rng(seed)
        shape = (batch, slices, views, bins)
        theta = np.arange(views)[:, None] * np.pi / views
        s = np.arange(bins)[None] - (bins - 1) / 2

        def blob(radius: float, width: float) -> np.ndarray:
            x, y = generator.uniform(-radius, radius, size=(2, batch, slices, 1, 1))
            return np.exp(-(((s - x * np.cos(theta) - y * np.sin(theta)) / width) ** 2))

        anatomy = 3 * blob(2, bins / 4) + 0.8 * blob(bins / 8, bins / 16)
        path = 20 * blob(bins / 6, 2.0)
        trace = torch.from_numpy(path > 1)
        clean = torch.from_numpy(anatomy).float()
        path_mm = torch.where(trace, torch.from_numpy(path).float(), torch.zeros(shape))
        measured = torch.where(trace, clean + 0.2 * path_mm, clean)
        li = torch.where(trace, 0.9 * clean, measured)
        nmar = torch.where(trace, 0.95 * clean, measured)
        image = torch.zeros(batch, slices, 8, 8)
        return MARSample(
            measured=measured,
            clean=clean,
            metal_trace=trace,
            metal_path_mm=path_mm,
            fills={"li": li, "nmar": nmar},
            reference_hu=image,
            metal_mask=image.bool(),
            body_mask=image.bool(),
            tissue_labels=image.byte(),
            mu_water=torch.full((batch,), 0.02),
            case_id=[f"test-{i}" for i in range(batch)],
            parameters=[{} for _ in range(batch)],
        )

    return make
