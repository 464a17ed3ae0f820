"""A study: the same training under several choices and seeds, scored on the same tests, as one table.

``python scripts/study.py claim`` runs ``configs/study/claim.yaml``; a path runs a study of one's own.
"""

import argparse
import csv
import io
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ctmar.config.build import build_data, build_model, method_of
from ctmar.config.cases import case_settings
from ctmar.config.composing import composed, options
from ctmar.data.fingerprint import fingerprint
from ctmar.data.module import MARDataModule
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import center_images
from ctmar.files import write_text
from ctmar.jobs.benchmark import from_checkpoint
from ctmar.jobs.processes import job_command
from ctmar.methods import LI, NMAR, Method, Uncorrected
from ctmar.methods.base import slices_for
from ctmar.metrics import bootstrap_mean, near_metal_mask, rmse
from ctmar.metrics.statistics import Interval
from ctmar.report.provenance import made_now
from ctmar.report.record import Cell, Table, write_measured

DONE, RESULTS = "done.json", "results.json"
CLASSICAL = ("uncorrected", "li", "nmar")
KEYS = {"title", "base", "trainings", "tests", "seeds", "baseline"}

Values = dict[tuple[str, int], list[float]]
"""Near-metal RMSE in HU of each case of a test, by training and seed (-1 for methods without training)."""


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        title: What the table is of.
        base: Overrides of every training and test.
        trainings: Overrides of each training, by name.
        tests: Overrides of each test set, by name.
        seeds: One training each: other weights and another order of the same cases.
        baseline: The training that the others are held against, case by case.
    """

    title: str
    base: list[str]
    trainings: dict[str, list[str]]
    tests: dict[str, list[str]]
    seeds: list[int]
    baseline: str

    @classmethod
    def load(cls, name: str) -> "Study":
        """A study by its name in ``configs/study``, or by its file.

        Raises:
            CtmarError: If there is none, or it lacks a part.
        """
        known = options("study")
        path = Path(name) if name.endswith((".yaml", ".yml")) else known.get(name)
        if path is None or not path.is_file():
            raise CtmarError(f"a study must be one of {', '.join(known)}, or a YAML file, got {name!r}")
        try:
            given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CtmarError(f"a study must be a YAML file, {name!r} cannot be read: {error}") from None
        if not isinstance(given, dict) or set(given) != KEYS:
            raise CtmarError(f"{path.name} must have the keys {', '.join(sorted(KEYS))}, got {_keys(given)}")
        study = cls(**given)
        if study.baseline not in study.trainings or not study.tests or not study.seeds:
            raise CtmarError(f"{path.name} must have tests, seeds, and a baseline among its trainings")
        return study


def run(arguments: argparse.Namespace) -> None:
    """Runs what is not done yet of a study and prints its table."""
    name = arguments.study
    folder = arguments.folder or Path("outputs/studies") / Path(name).stem
    print(run_study(Study.load(name), folder, arguments.jobs, arguments.overrides))
    print(f"for ctmar results add: {folder / RESULTS}")


def run_study(study: Study, folder: Path, jobs: int = 1, overrides: Sequence[str] = ()) -> str:
    """Simulates, trains and scores; what is done is not done again.

    Args:
        study: What is compared.
        folder: Gets a run a training and seed (``NAME/SEED``), the cases, ``cases.csv``, ``table.md`` and
            ``results.json`` for ``ctmar results add``.
        jobs: Trainings at a time.
        overrides: Of every training and test, after their own.

    Returns:
        The table, in Markdown.

    Raises:
        CtmarError: A training ended with an error.
    """
    common = [*study.base, f"data.cache={folder / 'cases'}", "data.seed=0"]
    runs = {
        (name, seed): _last([*common, *own, *overrides, f"seed={seed}"])
        for name, own in study.trainings.items()
        for seed in study.seeds
    }
    waiting = {key: own for key, own in runs.items() if not _is_done(_run(folder, *key), own)}
    _simulate(waiting.values())
    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for name in pool.map(lambda key: _train(folder, key, waiting[key]), waiting) if name]
    if failed:
        raise CtmarError(f"a study must pass each training, these ended with an error: {', '.join(failed)}")
    scores = {
        test: _score(folder, list(runs), _last([*common, *own, *overrides]))
        for test, own in study.tests.items()
    }
    write_text(folder / "cases.csv", _as_csv(scores))
    table = as_table(study, {test: values for test, (_, values) in scores.items()})
    write_text(folder / "table.md", table + "\n")
    cases = ", ".join(f"{len(names)} {test}" for test, (names, _) in scores.items())
    made = made_now(
        " ".join(["ctmar study", folder.name, *overrides]),
        f"test cases: {cases}; {len(study.seeds)} seeds",
        fingerprint({test: _last([*study.base, *own, *overrides]) for test, own in study.tests.items()}),
    )
    values = {test: own for test, (_, own) in scores.items()}
    write_measured(folder / RESULTS, f"study-{folder.name}", study.title, made, study_tables(study, values))
    return table


def study_tables(study: Study, scores: Mapping[str, Values]) -> list[Table]:
    """The same for a result page: errors, and differences to the baseline, as means with intervals."""
    headings = [f"{test}, HU" for test in scores]
    errors: list[list[Cell]] = [
        [name, *(tuple(bootstrap_mean(values[name, -1]))[:3] for values in scores.values())]
        for name in CLASSICAL
    ]
    spreads: list[list[Cell]] = []
    differences: list[list[Cell]] = []
    for name in study.trainings:
        by_test = [(_by_seed(values, name), _by_seed(values, study.baseline)) for values in scores.values()]
        errors.append([name, *(tuple(bootstrap_mean(own.mean(0)))[:3] for own, _ in by_test)])
        spreads.append([name, *(float(np.ptp(own.mean(1)) / 2) for own, _ in by_test)])
        if name != study.baseline:
            pairs = [bootstrap_mean(own.mean(0) - base.mean(0)) for own, base in by_test]
            differences.append([name, *(tuple(pair)[:3] for pair in pairs)])
    styles = ["", *[".1f"] * len(scores)]
    return [
        Table("Near-metal RMSE", ["trained on", *headings], errors, styles, "Seeds averaged case by case."),
        Table(f"Paired difference to {study.baseline}", ["trained on", *headings], differences, styles),
        Table("Half the range of the seeds' means", ["trained on", *headings], spreads, styles),
    ]


def as_table(study: Study, scores: Mapping[str, Values]) -> str:
    """Means over cases and seeds with 95 % intervals over cases; and paired differences to the baseline.

    Args:
        study: For its names and baseline.
        scores: Of each test.

    Returns:
        Markdown: a row a training, a column a test: ``mean (low–high); difference [low, high]``. Seeds are
        averaged case by case before cases are drawn; the spread of the seeds' means stands behind ``±``.
    """
    lines = [f"| {study.title} | {' | '.join(scores)} |", "|---" * (len(scores) + 1) + "|"]
    for name in CLASSICAL:
        cells = [f"{np.mean(values[name, -1]):.1f}" for values in scores.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in study.trainings:
        cells = [_cell(values, name, study.baseline) for values in scores.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Values, name: str, baseline: str) -> str:
    own, base = _by_seed(values, name), _by_seed(values, baseline)
    mean, spread = bootstrap_mean(own.mean(0)), np.ptp(own.mean(1)) / 2
    cell = f"{_interval(mean)} ± {spread:.1f}"
    if name == baseline:
        return cell
    return f"{cell}; {_interval(bootstrap_mean(own.mean(0) - base.mean(0)), '+')}"


def _by_seed(values: Values, name: str) -> Any:
    return np.asarray([value for (of, _), value in values.items() if of == name])


def _interval(value: Interval, sign: str = "") -> str:
    return f"{value.mean:{sign}.1f} ({value.low:{sign}.1f} to {value.high:{sign}.1f})"


def _simulate(runs: Iterable[list[str]]) -> None:
    """Puts the cases of all trainings on disk, each set once."""
    made: set[str] = set()
    for overrides in runs:
        cfg = composed("train", overrides)
        slices = slices_for([method_of(build_model(cfg))])
        key = json.dumps([case_settings(cfg, slices), dict(cfg.data.num_cases)], sort_keys=True)
        if key not in made:
            build_data(cfg, slices).prepare("train", "val")
            made.add(key)


def _train(folder: Path, run: tuple[str, int], overrides: list[str]) -> str | None:
    """One training in a process of its own; the run's name where it fails."""
    name, seed = run
    where = _run(folder, name, seed)
    where.mkdir(parents=True, exist_ok=True)
    last = where / "checkpoints" / "last.ckpt"
    own = [f"hydra.run.dir={where}", "test=false", "extras.progress_bar=false", "extras.num_threads=1"]
    resumed = [f"ckpt_path={last}"] if last.is_file() else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    print(f"training {name}, seed {seed}", flush=True)
    with open(where / "log.txt", "a", encoding="utf-8") as log:
        command = job_command("train", [*overrides, *own, *resumed])
        ended = subprocess.run(command, check=False, stdout=log, stderr=log, env=environment)
    if ended.returncode:
        return f"{name}/{seed} (see {where / 'log.txt'})"
    write_text(where / DONE, json.dumps(overrides))
    return None


def _score(folder: Path, runs: Sequence[tuple[str, int]], overrides: list[str]) -> tuple[list[str], Values]:
    """Names of the test's cases, and the near-metal RMSE of each method on each."""
    models: dict[tuple[str, int], Method] = {
        ("uncorrected", -1): Uncorrected(),
        ("li", -1): LI(),
        ("nmar", -1): NMAR(),
    }
    for key in runs:
        models[key] = from_checkpoint(str(_run(folder, *key) / "checkpoints" / "best.ckpt"))
    cfg = composed("train", [*overrides, "seed=0"])
    data: MARDataModule = build_data(cfg, slices_for(models.values()))
    for model in models.values():
        model.check(data.source.ray)
    data.prepare("test")
    methods = {f"{name}/{seed}": m for (name, seed), m in models.items()}
    names: list[str] = []
    values: Values = {key: [] for key in models}
    shrink = data.source.scanner.shrink if isinstance(data.source, Simulator) else 1.0
    spacing_mm = data.source.ray.grid.spacing_mm * shrink
    for case in data.test_dataloader():
        names.append(case.scan.case_id[0])
        images = center_images(methods, case, cfg.projector.filter)
        center = case.center()
        near = near_metal_mask(center.truth.body_mask, center.scan.metal_mask, spacing_mm)
        for key, image in zip(models, images.values(), strict=False):  # the clean one comes last
            values[key].append(float(rmse(image, center.truth.reference_hu, near)))
    return names, values


def _last(overrides: Sequence[str]) -> list[str]:
    """Of several overrides of one key the last: Hydra does not take two of a group."""
    return list({override.split("=")[0].lstrip("+~"): override for override in overrides}.values())


def _run(folder: Path, name: str, seed: int) -> Path:
    return folder / name / str(seed)


def _is_done(run: Path, overrides: list[str]) -> bool:
    done = run / DONE
    return done.is_file() and json.loads(done.read_text(encoding="utf-8")) == overrides


def _as_csv(scores: Mapping[str, tuple[list[str], Values]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["test", "case", "training", "seed", "rmse_hu_near"])
    for test, (names, values) in scores.items():
        for (name, seed), column in values.items():
            rows = zip(names, column, strict=True)
            writer.writerows([test, case, name, seed if seed >= 0 else "", f"{x:.4f}"] for case, x in rows)
    return out.getvalue()


def _keys(given: Any) -> str:
    return ", ".join(sorted(map(str, given))) if isinstance(given, dict) else type(given).__name__
