"""The frozen test set: which cases, made how, and whether they still are what they were."""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

import ctmar
from ctmar.case import Case
from ctmar.config.build import build_simulator
from ctmar.config.cases import case_store
from ctmar.config.parts import UnknownPart, file_of
from ctmar.config.typed import required
from ctmar.data.cases import CaseSource
from ctmar.data.dataset import CaseDataset, simulate_ahead
from ctmar.data.setup import SPLITS
from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.operators import RayTransform

TOLERANCE = 2.0e-3
"""By how much a case's control figures may differ between machines, relative."""

PACKAGE = Path(ctmar.__file__).parent
CONTROLS = {"sampled", "metal_pixels", "trace_bins", "clean", "measured"}
"""What a list holds of each case, see :func:`control`."""

TRIES = 2
"""Cases tried for each that is wanted: a plan may find no room in the slices."""


@dataclass(frozen=True)
class Part:
    """One source of cases, and which of its cases count."""

    name: str
    data: CaseDataset
    controls: dict[int, dict[str, Any]]


class TestSet:
    """The cases of a benchmark in an order whose every beginning is spread over the parts.

    Args:
        cfg: A config with ``benchmark``, ``geometry`` and ``scanner``.
        slices: 1 or 3 slices a case.
        num_cases: The first so many; None for all.
        frozen: Whether the cases come from the benchmark's JSON; else as many as each part wants are tried.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, cfg: DictConfig, slices: int, num_cases: int | None, frozen: bool = True) -> None:
        check_benchmark(cfg)
        self.name = str(cfg.benchmark.name)
        self.workers = int(cfg.data.num_workers)
        known = load_controls(self.name) if frozen else {}
        self.parts: dict[str, Part] = {}
        self.left_out: list[str] = []
        for name, part in cfg.benchmark.parts.items():
            files = [part.anatomy[key] for key in ("ct", "labels") if part.anatomy.get(key)]
            absent = [file for file in files if not Path(file).exists()]
            if absent:
                self.left_out.append(f"{name}: {absent[0]} does not exist")
                continue
            if frozen:
                _require_cases(self.name, str(name), part.cases, known)
            controls = known.get(name) or {index: {} for index in range(TRIES * part.cases)}
            self.parts[name] = Part(str(name), _dataset(cfg, part, slices), controls)
        if not self.parts:
            raise CtmarError(f"{self.name} must have a part whose data are there, got none")
        self.cases = self._order()[:num_cases]
        if num_cases is not None and not 1 <= num_cases <= len(self._order()):
            raise CtmarError(f"num_cases must be from 1 to {len(self._order())}, got {num_cases}")
        self.changed: list[str] = []
        self.rescanned: list[str] = []

    def _order(self) -> list[tuple[str, int]]:
        places = [
            ((position + 0.5) / len(part.controls), name, index)
            for name, part in self.parts.items()
            for position, index in enumerate(part.controls)
        ]
        return [(name, index) for _, name, index in sorted(places)]

    @property
    def ray(self) -> RayTransform:
        """The geometry, the same in all parts."""
        return next(iter(self.parts.values())).data.source.ray

    @property
    def sources(self) -> dict[str, tuple[CaseSource, str]]:
        """What makes each part's cases, and of which split."""
        return {name: (part.data.source, part.data.split) for name, part in self.parts.items()}

    def __len__(self) -> int:
        return len(self.cases)

    def prepare(self) -> list[str]:
        """Simulates what is missing, in parallel; returns a line for each case that cannot be made."""
        missing = {name: set(part.data.missing()) for name, part in self.parts.items()}
        todo = [
            (f"{name}-{index:05d}", self.parts[name].data, index)
            for name, index in self.cases
            if index in missing[name]
        ]
        return [line for line in simulate_ahead(todo, self.workers, f"simulating {self.name}") if line]

    def __iter__(self) -> Iterator[Case]:
        """Batches of one case, named ``PART-INDEX``; a case that is not the frozen one is noted.

        In ``changed`` where something else was sampled, in ``rescanned`` where the scene is the frozen one
        and its scan is not: another geometry or scanner, or other code behind them.
        """
        self.changed, self.rescanned = [], []
        for name, index in self.cases:
            case = self.parts[name].data[index]
            case_id = f"{name}-{index:05d}"
            wanted = self.parts[name].controls[index]
            found = control(case)
            if wanted and not same_case(wanted, found):
                same_scene = wanted["sampled"] == found["sampled"]
                (self.rescanned if same_scene else self.changed).append(case_id)
            told = ({**case.truth.parameters[0], "part": name},)
            yield Case(replace(case.scan, case_id=(case_id,)), replace(case.truth, parameters=told))

    def told(self) -> str:
        """What is scored, in words: the set, its parts, and cases that are not the frozen ones."""
        counts = {name: sum(own == name for own, _ in self.cases) for name in self.parts}
        parts = ", ".join(f"{name} {count}" for name, count in counts.items())
        words = f"{self.name}: {len(self)} cases ({parts})"
        for what, cases in (("sampled", self.changed), ("scanned", self.rescanned)):
            words += f"; {len(cases)} of them {what} otherwise than frozen" if cases else ""
        return words

    def digest(self) -> str:
        """Of the frozen cases that are scored: names, and what was sampled for each."""
        listed = [
            (name, index, self.parts[name].controls[index].get("sampled")) for name, index in self.cases
        ]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]

    def freeze(self, wanted: dict[str, int]) -> Path:
        """Writes which cases of each part could be made, and their control figures.

        Raises:
            CtmarError: A part has too few cases that can be made; or the list is that of a benchmark of an
                installed ctmar.
        """
        path = controls_path(self.name)
        if path.is_relative_to(PACKAGE):
            raise CtmarError(
                f"{self.name} is a benchmark of ctmar's and stays as it was frozen: for other cases copy"
                f" {path.with_suffix('.yaml').name} under another name into a folder benchmark/ of your own"
            )
        self.prepare()
        before = _read(path) or {}
        # A part whose data are not here stays as it was frozen where they are.
        frozen: dict[str, dict[Any, Any]] = {name: before[name] for name in wanted if name in before}
        for name, part in self.parts.items():
            made = [i for n, i in self.cases if n == name and i not in set(part.data.missing())]
            if len(made) < wanted[name]:
                raise CtmarError(f"{name} must have {wanted[name]} cases, got {len(made)}")
            frozen[name] = {str(i): control(part.data[i]) for i in sorted(made)[: wanted[name]]}
        lines = [
            f'  "{name}": {{\n'
            + ",\n".join(f'    "{i}": {json.dumps(c)}' for i, c in cases.items())
            + "\n  }"
            for name, cases in frozen.items()
        ]
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
        return path


def _dataset(cfg: DictConfig, part: DictConfig, slices: int) -> CaseDataset:
    """The cases of one part: the run's geometry, its own scanner or the run's, the benchmark's seed."""
    own = copy.deepcopy(cfg)
    with open_dict(own):
        own.anatomy, own.data.generator = part.anatomy, part.data.generator
        own.scanner = part.get("scanner") or own.scanner
        own.seed = own.data.seed = cfg.benchmark.seed
    simulator = build_simulator(own, slices)
    store = case_store(own, slices)
    return CaseDataset(simulator, cfg.benchmark.split, TRIES * part.cases, store, in_memory=store is None)


def check_benchmark(cfg: DictConfig) -> None:
    """Refuses a benchmark whose YAML lacks something, before anything is simulated.

    Raises:
        CtmarError: Names the key, what is required and what came.
    """
    keys: dict[str, Any] = {"name": str, "seed": int, "split": str, "parts": dict[str, Any]}
    keys |= {f"parts.{name}.cases": int for name in _names(cfg.benchmark.get("parts"))}
    for key, hint in keys.items():
        value = required(cfg.benchmark, "benchmark", key, hint)
        if isinstance(value, int) and value < (0 if key == "seed" else 1):
            raise CtmarError(f"benchmark.{key} must be {'0' if key == 'seed' else '1'} or more, got {value}")
    if cfg.benchmark.split not in SPLITS:
        raise CtmarError(f"benchmark.split must be one of {', '.join(SPLITS)}, got {cfg.benchmark.split!r}")
    for name, part in cfg.benchmark.parts.items():
        for key in ("anatomy._target_", "data.generator._target_"):
            if OmegaConf.select(part, key) is None:
                raise CtmarError(
                    f"benchmark.parts.{name} must have {key}, as an option of its group gives it"
                )


def _names(parts: Any) -> list[str]:
    return [str(name) for name in parts] if isinstance(parts, DictConfig) else []


def controls_path(name: str) -> Path:
    """Where a benchmark's frozen list lies: beside its YAML, wherever that is.

    Raises:
        CtmarError: No YAML of the group ``benchmark`` has the benchmark's name.
    """
    try:
        return file_of("benchmark", name).with_suffix(".json")
    except UnknownPart as error:
        raise CtmarError(f"benchmark.name must be what its file is called: {error}") from None


def load_controls(name: str) -> dict[str, dict[int, dict[str, Any]]]:
    """The control figures by part and index.

    Raises:
        CtmarError: There is no list, or it is none.
    """
    path = controls_path(name)
    if not path.is_file():
        raise CtmarError(f"benchmark {name} must have its list of cases {path.name}; freeze=true writes it")
    found = _read(path)
    if found is None:
        raise CtmarError(f"{path} must be a list of cases as freeze=true writes it; it is none")
    return found


def _read(path: Path) -> dict[str, dict[int, dict[str, Any]]] | None:
    """A list of cases; None where there is none that is whole."""
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        found = {part: {int(i): c for i, c in cases.items()} for part, cases in parts.items()}
        whole = all(set(control) >= CONTROLS for cases in found.values() for control in cases.values())
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return found if whole else None


def _require_cases(benchmark: str, part: str, count: int, known: dict[str, dict[int, Any]]) -> None:
    """Refuses a frozen list that is not of so many cases of a part, or of other cases than are tried."""
    if part not in known:
        raise CtmarError(f"{benchmark}.json must list the cases of {part}; freeze=true writes it")
    listed = known[part]
    if len(listed) != count or not all(0 <= index < TRIES * count for index in listed):
        raise CtmarError(
            f"{benchmark}.json must list {count} of the first {TRIES * count} cases of {part},"
            f" got {len(listed)} up to number {max(listed, default=0)}; freeze=true writes it anew"
        )


def control(case: Case) -> dict[str, Any]:
    """A digest of what was sampled, and figures of the centre slice that tell one case from another."""
    sampled = json.dumps(_rounded(case.truth.parameters[0]), sort_keys=True)
    center = case.center()
    scan, clean = center.scan, center.truth.clean[0, 0]
    return {
        "sampled": hashlib.sha256(sampled.encode()).hexdigest()[:16],
        "metal_pixels": int(scan.metal_mask.sum()),
        "trace_bins": int(scan.metal_trace.sum()),
        "clean": float(f"{clean.double().mean():.6g}"),
        "measured": float(f"{scan.measured[0, 0].double().mean():.6g}"),
    }


def same_case(wanted: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a case is the frozen one: the same sampled, its figures equal up to :data:`TOLERANCE`."""
    if wanted["sampled"] != found["sampled"]:
        return False
    figures = CONTROLS - {"sampled"}
    return all(abs(found[k] - wanted[k]) <= TOLERANCE * abs(wanted[k]) for k in figures)


def _rounded(value: Any) -> Any:
    """Numbers to six digits: what differs beyond is the machine's arithmetic."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value
