"""Which keys each kind of benchmark reads; any other on the command line is refused, with what to write."""

from collections.abc import Mapping, Sequence
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from ctmar.config.named import Keys, Named
from ctmar.errors import CtmarError

Kind = Literal["set", "published", "detection", "scans"]
"""Simulated cases, a published set's files, the simulated study of detection, one of a user's own scans."""
PARTS = "benchmark.parts.NAME"
SETS_OWN = "a benchmark of your own has its own parts (benchmark=mine, docs/tutorials/own-benchmark.md)"
OF_TRAINING = {
    "model": "models=[li,nmar] says what is scored, catalogue.NAME.KEY=… with which settings",
    "ckpt_path": "checkpoints={NAME:FILE} scores what a training left",
    "seed": "benchmark.seed=… makes other cases",
    "data.seed": "benchmark.seed=… makes other cases",
    "data.generator": f"{PARTS}.data.generator.KEY=… changes a part's metal; {SETS_OWN}",
    "data.num_cases": "num_cases=N scores the first N cases",
    "anatomy": f"{PARTS}.anatomy.KEY=… changes a part's body; {SETS_OWN}",
}
"""Keys that a training reads and no benchmark does, and what to write instead."""
TO_EVERY = (
    *("benchmark", "models", "checkpoints", "methods", "catalogue", "projector", "logger"),
    *("paths", "extras", "task_name", "tags"),
)
OF_SIMULATION = (
    *("geometry", "scanner", "data.source", "data.metal", "data.metal_threshold_hu", "data.extended_scale"),
    "data.fills",
)
READ: Mapping[Kind, Sequence[str]] = {
    "set": (*TO_EVERY, *OF_SIMULATION, "data.num_workers", "data.cache", "evaluation", "metric")
    + ("images", "num_cases", "export", "freeze"),
    "published": (
        *TO_EVERY,
        "data.fills",
        "evaluation.num_panels",
        "metric",
        "images",
        "num_cases",
        "export",
    ),
    "detection": (*TO_EVERY, *OF_SIMULATION),
    "scans": TO_EVERY,
}
"""What each kind reads: these keys and all below them."""
KEPT = "none of its scans is kept"
FILES = "its cases are files"
SCANS = "its images are the scans that benchmark.study lists"
INSTEAD: Mapping[Kind, Mapping[str, str]] = {
    "set": {},
    "published": {
        "geometry": "benchmark.geometry.KEY=… changes how the files' sinograms are rebinned",
        "scanner": "benchmark.scanner.KEY=… changes what methods are told of the files' scanner",
        "projector.filter": "benchmark.filter=… changes how images are reconstructed",
        **dict.fromkeys(("freeze", "seed", "data.seed", "anatomy", "data.generator"), FILES),
        "data.num_workers": "its cases are read one after the other",
        "evaluation.limit": "the ceiling is the set's own metal-free reconstruction",
        "evaluation.lesions": "planted lesions would change what the files measured",
    },
    "detection": {
        "scanner.noise.photons_per_ray": "the study has doses of its own, benchmark.photons_per_ray=[…]",
        "anatomy": "benchmark.anatomy.KEY=… changes the phantom",
        "data.generator": "benchmark.generator.KEY=… changes rod and lesion",
        "data.num_cases": "benchmark.realisations=N scans each condition N times",
        "data.num_workers": "its scans are made one after the other",
        "data.cache": KEPT,
        "num_cases": "benchmark.realisations=N scans each condition N times",
        "freeze": "nothing of it is frozen",
        "evaluation.limit": "its ceiling is the row clean",
        "evaluation": "its judges look for the lesion alone",
        "metric": "its figures are the judges' AUC and the bias",
        "export": KEPT,
        "images": f"{KEPT}, so nobody has images of them",
    },
    "scans": {
        **dict.fromkeys(("geometry", "scanner", "anatomy", "data", "export", "freeze"), SCANS),
        "seed": "benchmark.seed=… draws other intervals",
        "num_cases": "benchmark.realisations=N takes the first N of each condition",
        "images": "benchmark.study=FILE lists the images of other methods too",
        "catalogue": "models are those of ctmar correct, methods={NAME:module.Class} one of your own",
        "projector.filter": "the images keep the filter that they were made with",
        "evaluation": "its judges look for the lesion alone",
        "metric": "its figures are the judges' AUC and the bias",
    },
}
"""What to write in place of single keys, or why there is nothing."""
USUALLY = "a training reads it"


def refuse_unread(overrides: Sequence[str], kind: Kind = "set", name: str = "a benchmark") -> None:
    """Refuses keys and groups on the command line that the benchmark would not look at.

    Args:
        overrides: The command line's.
        kind: Of the benchmark.
        name: What it is called in the error.

    Raises:
        CtmarError: Names the key, and what to write instead.
    """
    given = Named.of("benchmark", overrides)
    for group, place in given.groups.items():
        _refuse(group, place, kind, name)
    for keys in given.keys:
        _refuse(".".join(keys), keys, kind, name)


def refuse_values(cfg: DictConfig, kind: Kind) -> None:
    """Refuses what a config asks for beyond its defaults, however it came there.

    Raises:
        CtmarError: Names the key, its value, and what to write instead.
    """
    for key in ("num_cases", "freeze", "evaluation.limit", "export", "images", "metric"):
        came = OmegaConf.select(cfg, key)
        if came and not _within(tuple(key.split(".")), READ[kind]):
            raise CtmarError(f"{cfg.benchmark.name} reads no {key}, got {came!r}: {INSTEAD[kind][key]}")
    unheard = [name for name in cfg.get("logger") or {} if name not in ("csv", "wandb")]
    if unheard:
        raise CtmarError(f"a benchmark reports to files and to wandb, got logger={unheard[0]}")


def _refuse(written: str, place: Keys, kind: Kind, name: str) -> None:
    own = INSTEAD[kind]
    reason = next((own[key] for key in own if _within(place, [key])), None)
    if reason is not None:
        raise CtmarError(f"{name} reads no {written}: {reason}")
    reason = next((OF_TRAINING[key] for key in OF_TRAINING if _within(place, [key])), None)
    if reason is None and not _within(place, READ[kind]):
        reason = SETS_OWN if place == ("data",) else USUALLY
    if reason is not None:
        raise CtmarError(f"a benchmark has cases and methods of its own and reads no {written}: {reason}")


def _within(place: Keys, keys: Sequence[str]) -> bool:
    """Whether a place is one of the keys, or below one."""
    return any(place[: key.count(".") + 1] == tuple(key.split(".")) for key in keys)
