"""From a composed config to the objects that a job works with."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback

from ctmar.config.cases import case_store, data_seed
from ctmar.config.moved import require_todays
from ctmar.config.paired import is_paired, own_node, own_source, require_kind, require_simulated
from ctmar.config.parts import named
from ctmar.config.typed import check_types
from ctmar.data.cases import CaseSource
from ctmar.data.module import MARDataModule
from ctmar.data.scanning import Scanning
from ctmar.data.setup import CaseSetup
from ctmar.data.simulate import Simulator
from ctmar.data.source import Source
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import FACTS
from ctmar.methods.base import Method
from ctmar.metrics import CASE_METRICS, Metric, check_metrics
from ctmar.operators import RayTransform
from ctmar.training.fit import Fit


def set_threads(cfg: DictConfig) -> None:
    """Torch's threads, where the config names a number."""
    if cfg.extras.num_threads is not None:
        torch.set_num_threads(int(cfg.extras.num_threads))


def make(cfg: DictConfig | None, **more: Any) -> Any:
    """Instantiates a config node with plain arguments; an unfit argument is one clear line."""
    if isinstance(cfg, DictConfig):
        node, place = OmegaConf.to_container(cfg, resolve=True), cfg._get_full_key(None)
        if isinstance(node, dict):
            require_todays(place, node)
        check_types(node, place)
    try:
        return instantiate(cfg, **more, _convert_="all")
    except TypeError as error:
        raise CtmarError(str(error)) from error


def build_source(cfg: DictConfig, slices: int) -> CaseSource:
    """Where the run's cases come from: the class that ``data._target_`` names, else the simulator."""
    if not is_paired(cfg):
        return build_simulator(cfg, slices)
    require_kind(cfg)
    scanner = make(cfg.scanner)
    setup = CaseSetup(
        ray=RayTransform(make(cfg.geometry.grid), make(cfg.geometry.beam), cfg.projector.backend),
        mu_water=scanner.mu_water,
        kvp=scanner.kvp,
        slices=slices,
        fills=methods_named(cfg, cfg.data.fills),
        filter=cfg.projector.filter,
        seed=data_seed(cfg),
    )
    return own_source(make, own_node(cfg), setup)


def build_simulator(cfg: DictConfig, slices: int) -> Simulator:
    """The simulator of the config's body, scenes, scanner and geometry.

    Raises:
        CtmarError: The config has cases of a user's own, of which none is simulated.
    """
    require_simulated(cfg)
    data = cfg.data
    return Simulator(
        anatomy=make(cfg.anatomy),
        generator=make(data.generator),
        scanner=make(cfg.scanner),
        grid=make(cfg.geometry.grid),
        beam=make(cfg.geometry.beam),
        seed=data_seed(cfg),
        slices=slices,
        # Checkpoints of before it lack extended_scale.
        source=Source(data.source, data.metal, data.metal_threshold_hu, data.get("extended_scale", False)),
        fills=methods_named(cfg, data.fills),
        filter=cfg.projector.filter,
        backend=cfg.projector.backend,
        acquisition=make(cfg.geometry.get("acquisition") or None),
        scans=_scans(cfg),
    )


def _scans(cfg: DictConfig) -> dict[str, Scanning]:
    """The ways to scan that ``data.scans`` names; none where the run's own scanner scans every case."""
    nodes = cfg.data.get("scans") or {}
    return {
        str(name): Scanning(
            make(node.scanner),
            make(node.get("acquisition") or None),
            node.get("parts", 1),
            node.get("filter"),
        )
        for name, node in nodes.items()
    }


def build_data(cfg: DictConfig, slices: int) -> MARDataModule:
    """The data module over the run's cases."""
    return MARDataModule(
        source=build_source(cfg, slices),
        num_cases=dict(cfg.data.num_cases),
        batch_size=cfg.data.batch_size,
        store=case_store(cfg, slices),
        num_workers=cfg.data.num_workers,
        in_memory=cfg.data.in_memory,
        seed=cfg.seed,
        slices=slices,
    )


def build_model(cfg: DictConfig) -> Method | Fit:
    """The model, initialised from the seed: a method that is ready, or what fits one."""
    torch.manual_seed(cfg.seed)
    model = make(cfg.model)
    if not isinstance(model, (Method, Fit)):
        raise CtmarError(f"model must be a method or what fits one, got {type(model).__name__}")
    return model


def method_of(model: Method | Fit) -> Method:
    """The method, of a training too."""
    return model.method if isinstance(model, Fit) else model


def methods_named(cfg: DictConfig, names: Iterable[str]) -> dict[str, Method]:
    """Methods by their names in the config group ``model``; with the settings of ``cfg.catalogue``, if any.

    Raises:
        CtmarError: There is none of that name, or it is one that is still to be fitted.
    """
    return {str(name): method_named(cfg, str(name)) for name in names}


def method_named(cfg: DictConfig, name: str) -> Method:
    """The method of that name; see :func:`methods_named`."""
    node = (cfg.get("catalogue") or {}).get(name)
    if node is None:
        node = named("model", name)
        # Interpolations, of the scanner's dose say, are of the run's config.
        node._set_parent(cfg)
    found = make(node)
    if not isinstance(found, Method):
        raise CtmarError(f"{name} must be a method that is ready, got one that is still to be fitted")
    return found


def build_callbacks(cfg: DictConfig) -> list[Callback]:
    """The callbacks, ctmar's, Lightning's and the user's own.

    Raises:
        CtmarError: What is made is no callback of Lightning's.
    """
    made = {name: make(node) for name, node in (cfg.get("callbacks") or {}).items() if node is not None}
    for name, callback in made.items():
        if not isinstance(callback, Callback):
            raise CtmarError(
                f"callbacks.{name} must be made into a pytorch_lightning.Callback, got {callback!r}"
            )
    return list(made.values())


def build_metrics(cfg: DictConfig) -> dict[str, Metric]:
    """The metrics of the user's own by name, from the nodes of the config group ``metric``.

    A class is made from its arguments; of a function the arguments are kept for its calls.

    Raises:
        CtmarError: A node names no class or function, or one that is no metric.
    """
    nodes = cfg.get("metric") or {}  # checkpoints of before have none
    made = {str(name): _metric(str(name), node) for name, node in nodes.items()}
    check_metrics(made, (*CASE_METRICS, *FACTS))
    return made


def _metric(name: str, node: Any) -> Any:
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise CtmarError(
            f"a metric's YAML must hold its name, and below that its _target_, got {name}: {node!r}"
        )
    try:
        is_class = inspect.isclass(get_object(str(node["_target_"])))
    except (ImportError, AttributeError, ValueError):
        is_class = True  # Hydra says what cannot be found, where it is made
    return make(node) if is_class or "_partial_" in node else make(node, _partial_=True)


def build_loggers(cfg: DictConfig) -> list[Any]:
    """The loggers; none is an answer too. One that has a name to give, such as wandb's, gets the run's."""
    nodes = [node for node in (cfg.get("logger") or {}).values() if node is not None]
    unnamed = [{"name": run_title(cfg)} if "name" in node and node.name is None else {} for node in nodes]
    return [make(node, **name) for node, name in zip(nodes, unnamed, strict=True)]


def run_title(cfg: DictConfig) -> str:
    """What tells a run from the others at a glance: model, metal, body, seed."""
    network = OmegaConf.select(cfg, "model.method.network")
    cases = cfg.data if is_paired(cfg) else cfg.data.generator
    classes = (str(node._target_).rpartition(".")[2] for node in (network or cfg.model, cases))
    model, metal = (name.removeprefix("Sinogram").removesuffix("Generator").lower() for name in classes)
    if "adversary" in cfg.model:
        model = "cgan"
    body = "" if is_paired(cfg) else cfg.anatomy.get("name", "")
    return f"{model} {metal} {body} seed {cfg.seed}".replace("  ", " ")
