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
from ctmar.case import Case, Scan, Truth
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.runs.environment import drop_empty
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
def make_case() -> Callable[..., Case]:
    """Gives ``make(batch, slices, views, bins)``: blobs as anatomy, a blob of metal, a crude fill."""

    def make(batch: int = 2, slices: int = 1, views: int = 48, bins: int = 65, seed: int = 0) -> Case:
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
        scan = Scan(
            measured=measured,
            metal_trace=trace,
            metal_mask=image.bool(),
            metal_path_mm=path_mm,
            mu_water=torch.full((batch,), 0.02),
            ray=RayTransform(ImageGrid((8, 8), 1.0), ParallelBeam(views, bins, 1.0)),
            fills={"li": li, "nmar": nmar},
            case_id=tuple(f"test-{i}" for i in range(batch)),
        )
        truth = Truth(
            clean=clean,
            reference_hu=image,
            body_mask=image.bool(),
            tissue_labels=image.byte(),
            parameters=tuple({} for _ in range(batch)),
        )
        return Case(scan, truth)

    return make
