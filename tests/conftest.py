"""Fixtures that every test may use."""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis.configuration import set_hypothesis_home_dir
from omegaconf import DictConfig

from ctmar.anatomy import Anatomy
from ctmar.case import Case, Scan, Truth
from ctmar.config.environment import drop_empty
from ctmar.config.moved import renamed
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from tests.stored_images import PIXELS, rods, scanned
from tests.tiny_runs import CLASSICAL, CONFIGS, SMALL_NETWORK, TINY, Compose
from tests.toy_spine import make_spine

drop_empty()

LONGEST = (
    "docs/test_tutorials", "jobs/test_faults_of_processes", "jobs/test_faults_of_files", "outside/test_pairs",
    "jobs/test_recipe", "config/test_config_fuzz", "config/test_resume", "outside/test_networks",
    "outside/test_new", "clinical/test_killed", "scripts/test_types", "jobs/test_published", "jobs/test_ddp",
    "jobs/test_train", "jobs/test_cli", "outside/test_benchmark", "config/test_configs",
    "outside/test_figures", "outside/test_backend", "jobs/test_benchmark", "docs/test_bad_input",
    "contracts/test_operator",
)  # fmt: skip
"""Files that take a minute or more. They come first, lest one of them be all that is left to do."""

# Hypothesis notes what it saw of the code in a folder; not in the checkout.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")


def pytest_configure(config: pytest.Config) -> None:
    """Has pytest-xdist take files as they come, not those with the most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    ranks = {Path(__file__).parent / f"{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True)
def _own_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forgets what a test imported from its own folder: the next may have another module of that name."""
    before, folders = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = folders
    home = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(home):
            del sys.modules[name]
    importlib.invalidate_caches()


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


@pytest.fixture(scope="session")
def with_rods() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stored slice with two rods, its metal-free reference, and where the rods are (share of a pixel)."""
    stored, reference = scanned(rods())
    share = rods().reshape(PIXELS, 3, PIXELS, 3).mean((1, 3))
    return stored, reference, share


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
