"""Methods under what they are not told of: ``python scripts/benchmarks/measure_untold.py``.

Near-metal RMSE in HU on validation cases of the benchmark's mixed parts, a line a row: another tube voltage,
dose, detector or geometry, alloys that no method lists, metal found in the image. A method that reads the
scanner's settings (``physics``) is scored twice where they differ: told, made from the row's own scanner; and
untold, made from ``scanner=standard``, when the scan alone tells the tube voltage. Cases are simulated once
and kept: a change of methods leaves them as they are, and a second run takes what the methods take.

    --rows standard clinical --cases 8 --methods nmar physics physics:path_error=0.1
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

import ctmar
from ctmar.config.build import build_model, build_simulator
from ctmar.config.cases import case_settings
from ctmar.config.composing import composed, options
from ctmar.data.dataset import CaseDataset, simulate_ahead
from ctmar.data.fingerprint import fingerprint, simulating_code
from ctmar.data.store import CaseStore
from ctmar.data.threads import one_thread
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import center_images
from ctmar.methods import Method
from ctmar.methods.base import slices_for
from ctmar.metrics import bootstrap_mean, near_metal_mask, rmse
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.report.table import aligned

SPLITS = ("val", "train", "test")
METHODS = ("uncorrected", "nmar", "physics")
UNTOLD = "untold"
OF_METHODS = ("methods", "operators/kernels/polychromatic.py")
"""Code in the package that no case here depends on: none has a fill."""
Words = tuple[str, ...]
Job = tuple[CaseDataset, int, Mapping[str, Method]]


class Part(NamedTuple):
    """Where bodies come from, and what metal is put into them."""

    anatomy: str
    data: str


PARTS = {
    f"{body}_{metal}": Part(body, data)
    for body in ("procedural", "thorax")
    for metal, data in (("screws", "realistic"), ("random", "random"))
}


class Row(NamedTuple):
    """What differs from the standard scan, as overrides; None where that kind of metal has no such row."""

    scan: Words = ()
    realistic: Words | None = ()
    random: Words | None = ()


def _alloy(material: str, screws: str | None, *sizes: str) -> Row:
    """All random metal, and the screws and rods that ``screws`` names, of a material given as YAML."""
    name = material.partition(":")[0]
    realistic = None if screws is None else (f"+data.generator.alloys={{{screws}:1}}",)
    return Row(
        (f"scanner.materials={{{material}}}",), realistic, (f"+data.generator.materials=[{name}]", *sizes)
    )


ROWS = {
    "standard": Row(),
    "kvp_80": Row(("scanner.tube.kvp=80",)),
    "kvp_100": Row(("scanner.tube.kvp=100",)),
    "kvp_140": Row(("scanner.tube.kvp=140",)),
    "counting": Row(("scanner=counting",)),
    "clinical": Row(("scanner=clinical",)),
    "clinical_fan": Row(("scanner=clinical", "geometry/acquisition=clinical")),
    # Rods of nitinol (ASTM F2063) on screws of titanium; screws and rods of the magnesium alloy WE43.
    "nitinol": _alloy("nitinol:{formula:NiTi,density_g_cm3:6.45}", "Ti-6Al-4V/nitinol"),
    "magnesium": _alloy("WE43:{mass_fractions:{Mg:0.93,Y:0.04,Nd:0.03},density_g_cm3:1.84}", "WE43"),
    # Nobody makes screws of these: porous tantalum, a fifth of it metal; gold as markers are.
    "tantalum": _alloy("porous_tantalum:{formula:Ta,density_g_cm3:3.3}", None),
    "gold": _alloy("gold:{formula:Au,density_g_cm3:19.3}", None, "+data.generator.sizes_mm=[3,6]"),
    "threshold": Row(("data.metal=threshold",)),
    "dose_4th": Row(("scanner.noise.photons_per_ray=2.5e5",)),
    "dose_16th": Row(("scanner.noise.photons_per_ray=6.25e4",)),
    # The chains of published sets, patients as small as theirs: near, 20 mm, is then 52 mm of the patient.
    "cnnmar": Row(("scanner=cnnmar", "geometry=cnnmar")),
    "adn": Row(("scanner=adn", "geometry=adn")),
    "syndeeplesion": Row(("scanner=syndeeplesion", "geometry=syndeeplesion")),
}


class Asked(NamedTuple):
    """What is measured, and where cases are kept."""

    rows: Words
    methods: Words
    cases: int
    split: str
    cache: Path
    more: Words = ()
    """Overrides of every row."""
    workers: int = 1


class Score(NamedTuple):
    """Near-metal RMSE in HU of a case, by column of the table."""

    row: str
    part: str
    case: int
    rmse_hu_near: dict[str, float]


def config(*overrides: str) -> DictConfig:
    """The training's configuration without fills, with these overrides; at 256 pixels where they name none.

    Raises:
        CtmarError: One of them names no key or option.
    """
    try:
        given = [] if any(word.startswith("geometry=") for word in overrides) else ["geometry=medium"]
        return composed("train", [*given, "data.fills=[]", "paths.output_dir=.", *overrides])
    except HydraException as error:
        raise CtmarError(f"settings must be keys of ctmar's: {str(error).splitlines()[0]}") from error


@lru_cache(maxsize=256)
def method_of(word: str, scan: Words) -> tuple[Method, str]:
    """A method for a scan, and all its settings as text.

    Args:
        word: ``NAME`` of the config group ``model``, with settings as in ``NAME:KEY=VALUE:KEY=VALUE``.
        scan: Overrides that name what the method is told of.

    Raises:
        CtmarError: There is no such method, or it must be trained first.
    """
    name, *settings = word.split(":")
    if name not in options("model"):
        raise CtmarError(f"--methods must be from {', '.join(options('model'))}, got {name!r}")
    cfg = config(*scan, f"model={name}", *(f"model.{setting}" for setting in settings))
    found = build_model(cfg)
    if not isinstance(found, Method):
        raise CtmarError(f"--methods must name methods that are ready, got {name!r}, which is trained")
    return found, json.dumps(OmegaConf.to_container(cfg.model, resolve=True), sort_keys=True)


def told_and_not(words: Iterable[str], scan: Words) -> tuple[dict[str, Method], dict[str, str]]:
    """Methods by column, none twice; and for each other column the one whose figures it shares."""
    methods, same = {}, {}
    for word in words:
        (told, settings), (untold, others) = method_of(word, scan), method_of(word, ())
        methods[word], column = told, f"{word} {UNTOLD}"
        if settings == others:
            same[column] = word
        else:
            methods[column] = untold
    return methods, same


def data_set(asked: Asked, row: str, part: str) -> CaseDataset | None:
    """The cases of a part under a row; None where it has none."""
    body, data = PARTS[part]
    own = ROWS[row].realistic if data == "realistic" else ROWS[row].random
    if own is None:
        return None
    cfg = config(f"anatomy={body}", f"data={data}", *ROWS[row].scan, *own, *asked.more)
    told = (*ROWS[row].scan, *asked.more)
    slices = slices_for(method_of(word, told)[0] for word in asked.methods)
    settings = json.dumps(case_settings(cfg, slices), sort_keys=True)
    place = hashlib.sha256(settings.encode() + _code()).hexdigest()[:16]
    store = CaseStore(asked.cache / place)
    return CaseDataset(build_simulator(cfg, slices), asked.split, asked.cases, store, in_memory=False)


def parts_there() -> list[str]:
    """The parts whose CT is there; a line on standard error for each of the others."""
    found = []
    for name, part in PARTS.items():
        anatomy = config(f"anatomy={part.anatomy}").anatomy
        absent = [anatomy[k] for k in ("ct", "labels") if k in anatomy and not Path(anatomy[k]).exists()]
        if absent:
            print(f"left out: {name}, {absent[0]} does not exist", file=sys.stderr)
        else:
            found.append(name)
    return found


@lru_cache(maxsize=1)
def _code() -> bytes:
    """Digest of the code that simulates, methods left out."""
    root, digest = Path(ctmar.__file__).parent, hashlib.sha256()
    for file in simulating_code():
        if not file.relative_to(root).as_posix().startswith(OF_METHODS):
            digest.update(file.read_bytes())
    return digest.digest()


def measure(asked: Asked) -> Iterator[Score]:
    """Every case under every method, row by row; what is not there yet is simulated before.

    Raises:
        CtmarError: A case that cannot be made, or a method that there is not.
    """
    told_and_not(asked.methods, ())  # what is wrong with one is said before anything is simulated
    parts = parts_there()
    sets = {(row, part): data_set(asked, row, part) for row in asked.rows for part in parts}
    known = {place: data for place, data in sets.items() if data is not None}
    todo = [
        (f"{row} {part} {asked.split}-{index:05d}", data, index)
        for (row, part), data in known.items()
        for index in data.missing()
    ]
    for reason in simulate_ahead(todo, asked.workers, "simulating"):
        if reason is not None:
            raise CtmarError(reason)
    places, jobs = [], []
    for (row, part), data in known.items():
        methods, same = told_and_not(asked.methods, (*ROWS[row].scan, *asked.more))
        for index in range(asked.cases):
            places.append((row, part, index, same))
            jobs.append((data.lean(), index, methods))
    for (row, part, index, same), found in zip(places, _done(jobs, asked.workers), strict=True):
        yield Score(row, part, index, found | {column: found[word] for column, word in same.items()})


def _done(jobs: Sequence[Job], workers: int) -> Iterator[dict[str, float]]:
    """The jobs' figures in their order, over so many processes."""
    if workers == 1:
        yield from (errors(*job) for job in jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        for waiting in [pool.submit(errors, *job) for job in jobs]:
            yield waiting.result()


def errors(data: CaseDataset, index: int, methods: Mapping[str, Method]) -> dict[str, float]:
    """RMSE in HU near metal of a case by method; on one thread, where sums are always taken alike."""
    with one_thread(), torch.inference_mode():
        case = data[index]
        center = case.center()
        scan, truth = center.scan, center.truth
        near = near_metal_mask(truth.body_mask, scan.metal_mask, scan.ray.grid.spacing_mm)
        images = center_images(methods, case)
        return {name: float(rmse(images[name], truth.reference_hu, near)) for name in methods}


def table(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Means over the cases of each row; of the untold methods those that differ from the told in some row."""
    found = {name: np.array([s.rmse_hu_near[name] for s in scores]) for name in scores[0].rmse_hu_near}
    told = {name: found[name.removesuffix(f" {UNTOLD}")] for name in found}
    shown = [n for n in found if found[n] is told[n] or not np.array_equal(found[n], told[n], equal_nan=True)]
    rows = np.array([score.row for score in scores])
    return [
        {"row": row, "cases": int((rows == row).sum())}
        | {name: float(np.nanmean(found[name][rows == row])) for name in shown}
        for row in dict.fromkeys(score.row for score in scores)
    ]


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as text."""
    cells = [[f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return "\n".join(aligned([list(rows[0]), *cells]))


def write(path: Path, asked: Asked, rows: Sequence[Mapping[str, Any]], scores: Sequence[Score]) -> None:
    """What ``ctmar results add`` takes: the table with intervals over cases, and every case's figures."""
    columns = list(rows[0])[2:]
    found = {
        (row["row"], name): [s.rmse_hu_near[name] for s in scores if s.row == row["row"]]
        for row in rows
        for name in columns
    }
    shown = [
        [row["row"], row["cases"], *(tuple(bootstrap_mean(found[row["row"], name]))[:3] for name in columns)]
        for row in rows
    ]
    settings = [asked.cases, asked.split, asked.more, [[name, *ROWS[name]] for name in asked.rows]]
    write_measured(
        path,
        "untold",
        "What a method was not told",
        made_now(
            command_line(),
            f"first {asked.cases} {asked.split} cases of {', '.join(PARTS)}",
            fingerprint({"untold": settings}),
        ),
        [
            Table(
                "Near-metal RMSE by row",
                ["row", "cases", *(f"{name}, HU" for name in columns)],
                shown,
                ["", "", *[".0f"] * len(columns)],
                "Told: made from the row's own scanner. Untold: made from scanner=standard, a column of its"
                " own where it differs.",
            )
        ],
        "256 × 256 pixels of 1.4 mm, 360 views; scanner=standard but for what a row says",
        split=asked.split,
        table=list(rows),
        cases=[score._asdict() for score in scores],
    )


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    found.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME[:KEY=VALUE...]")
    found.add_argument("--cases", type=int, default=4, help="of each part")
    found.add_argument("--split", choices=SPLITS, default="val", help="test is for a method that is done")
    found.add_argument("--cache", type=Path, default=Path("outputs/untold"), help="where cases are kept")
    found.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of every row")
    found.add_argument("--workers", type=int, default=2, help="processes")
    found.add_argument(
        "--json", type=Path, metavar="F", help="write table and cases to F, for ctmar results add"
    )
    return found


def main() -> int:
    """Prints the table; the exit status."""
    parsing = parser()
    given = parsing.parse_args()
    if min(given.cases, given.workers) < 1:
        parsing.error("--cases and --workers must be 1 or more")
    if given.json is not None and not given.json.parent.is_dir():
        parsing.error(f"--json must lie in a folder that exists, got {given.json}")
    asked = Asked(
        tuple(given.rows),
        tuple(given.methods),
        given.cases,
        given.split,
        given.cache,
        tuple(given.set),
        given.workers,
    )
    try:
        scores = list(measure(asked))
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = table(scores)
    print(text(rows))
    if given.json is not None:
        write(given.json, asked, rows, scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())
