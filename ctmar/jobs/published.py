"""A published set under the benchmark: the files' own geometry, their images as rows, what was measured."""

import copy
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from ctmar.case import Case
from ctmar.config.build import make, methods_named
from ctmar.config.typed import required
from ctmar.data.setup import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam, smaller
from ctmar.methods import Method
from ctmar.methods.elsewhere import ReadyImages
from ctmar.metrics.protocols import find_protocol
from ctmar.operators import RayTransform
from ctmar.pairs.published import PublishedCases

METAL = {
    "mask": "masks of the set",
    "difference": "the images' difference, no masks at hand",
    "threshold": "a threshold, no masks at hand",
}
"""What a table says of where a case's metal comes from."""


def is_published(cfg: DictConfig) -> bool:
    """Whether the benchmark's cases are files rather than simulated."""
    return "cases" in cfg.benchmark


def check_published(cfg: DictConfig) -> None:
    """Refuses a published benchmark without a folder, and what only simulated cases have.

    Raises:
        CtmarError: Names the key, what is required and what came.
    """
    root = cfg.benchmark.get("root")
    if root is None or not Path(str(root)).expanduser().is_dir():
        raise CtmarError(f"benchmark.root must be the folder of {cfg.benchmark.name}'s files, got {root!r}")
    keys: dict[str, Any] = {"name": str, "protocol": str, "mu_water": float, "filter": str}
    keys |= {"geometry": dict, "scanner": dict}
    if "masks" in cfg.benchmark:
        keys["masks"] = list[int] | None
    for key, hint in keys.items():
        required(cfg.benchmark, "benchmark", key, hint)
    for key, given in (("freeze", cfg.freeze), ("evaluation.limit", cfg.evaluation.limit)):
        if given:
            raise CtmarError(f"{key} must be false where cases are files, got true for {cfg.benchmark.name}")


def of_files(cfg: DictConfig) -> DictConfig:
    """The config with the files' geometry, scanner and filter, of which methods read their settings."""
    own = copy.deepcopy(cfg)
    with open_dict(own):
        own.geometry, own.scanner = own.benchmark.geometry, own.benchmark.scanner
        own.projector.filter = own.benchmark.filter
    return own


class PublishedSet:
    """The cases of a published set; iterates over batches of one, again and again.

    Args:
        cfg: A config as :func:`of_files` returns it.
        num_cases: The first so many; None for all.

    Raises:
        CtmarError: The folder holds no case, or fewer than asked for.
    """

    def __init__(self, cfg: DictConfig, num_cases: int | None) -> None:
        self.name, self._protocol = str(cfg.benchmark.name), find_protocol(str(cfg.benchmark.protocol)).name
        scanner = make(cfg.scanner)
        grid, beam = (smaller(make(cfg.geometry[part]), scanner.shrink) for part in ("grid", "beam"))
        rays = make(cfg.geometry.get("acquisition") or None)
        fan = None if rays is None else smaller(rays, scanner.shrink)
        setup = CaseSetup(
            ray=RayTransform(grid, beam, cfg.projector.backend),
            mu_water=float(cfg.benchmark.mu_water),
            kvp=scanner.kvp,
            fills=methods_named(cfg, cfg.data.fills),
            filter=cfg.projector.filter,
        )
        # A dataclass among Hydra's arguments would become a config.
        maker = make(cfg.benchmark.cases, _partial_=True)
        self.files: PublishedCases = maker(setup=setup, acquisition=fan)
        self.ray: RayTransform[ParallelBeam] = setup.ray
        self._made: Counter[tuple[str, str]] = Counter()
        self._hash = ""
        if num_cases is not None and not 1 <= num_cases <= len(self.files):
            raise CtmarError(f"num_cases must be from 1 to {len(self.files)}, got {num_cases}")
        self._count = len(self.files) if num_cases is None else num_cases

    def __len__(self) -> int:
        return self._count

    def told(self) -> str:
        """What is scored, in words."""
        return f"{self.name}: {len(self)} cases of the set's own files"

    def digest(self) -> str:
        """Of the names, reference images and metal of the cases that were scored last, all of them."""
        return self._hash

    def __iter__(self) -> Iterator[Case]:
        self._made.clear()
        digest = hashlib.sha256()
        for index in range(self._count):
            case = self.files.case(index)
            told = case.truth.parameters[0]
            self._made[self._projections(told), METAL[told["metal_from"]]] += 1
            digest.update("".join(case.scan.case_id).encode())
            for held in (case.truth.reference_hu, case.scan.metal_mask):
                digest.update(held.numpy().tobytes())
            yield Case(case.scan, replace(case.truth, parameters=({**told, "part": self.name},)))
        self._hash = digest.hexdigest()[:16]

    def rows(self) -> dict[str, Method]:
        """The images that the files bring, as methods whose images lie ready."""
        return {name: ReadyImages(name, partial(self.files.image_hu, name)) for name in self.files.images}

    def about(self) -> dict[str, Any]:
        """What was scored: whose projections, whose metal, and which row is the ceiling."""
        lines = [f"{n} cases: projections {p}, metal from {m}" for (p, m), n in self._made.items()]
        if self.files.images:
            ceiling = f"ceiling: {self.files.ceiling}" if self.files.ceiling else "no ceiling among them"
            lines.append(f"images of the files themselves: {', '.join(self.files.images)}; {ceiling}")
        return {
            "name": self.name,
            "protocol": self._protocol,
            "notes": lines,
            "ceiling": self.files.ceiling,
            "left_out": list(getattr(self.files, "left_out", ())),
        }

    def _projections(self, told: Mapping[str, Any]) -> str:
        """Where a case's projections come from."""
        angles, fine = self.ray.beam.shape
        if told["source"] != "raw":
            return f"made from the files' images ({angles} × {fine})"
        views, bins = told.get("rays", self.ray.beam.shape)
        text = f"as measured in the files ({views} × {bins})"
        if (views, bins) != (angles, fine):
            text += f", rebinned to {angles} × {fine}"
        made = told.get("clean_from") == "image"
        return text + (", those without metal made from the image without it" if made else "")
