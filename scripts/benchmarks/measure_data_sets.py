"""How a case is best kept, whether a trainer is fed: ``scripts/benchmarks/measure_data_sets.py [--feed]``.

Realistic 3-slice cases at 256² and 360 views. Formats: size on disk, time to write and to read a case, in one
process; Zarr where it is installed. ``--feed``: cases a second that the default U-Net consumes on this
machine's CPU, and that the loader gives it from shards and by simulating on the fly.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ctmar.case import Case, collate
from ctmar.config.build import build_data, build_model
from ctmar.config.cases import case_settings
from ctmar.config.composing import composed
from ctmar.data.encoding import Arrays, decode, encode
from ctmar.data.fingerprint import fingerprint
from ctmar.data.module import MARDataModule
from ctmar.data.store import COMPRESSION, CaseStore
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured

CASES, ROUNDS = 12, 3
WARM = ["geometry=medium", "data.num_cases={train: 12, val: 1, test: 1}", "paths.output_dir=."]


def config(*overrides: str) -> Any:
    """The default training's config at 256²."""
    return composed("train", [*WARM, *overrides])


def whole(case: Case) -> Arrays:
    """Every field as it is."""
    seen = ("measured", "metal_trace", "metal_path_mm", "metal_mask")
    known = ("clean", "reference_hu", "body_mask", "tissue_labels")
    fields = {name: getattr(case.scan, name) for name in seen}
    fields |= {name: getattr(case.truth, name) for name in known}
    fields |= {f"fill_{name}": fill for name, fill in case.scan.fills.items()}
    return {name: field[0].numpy() for name, field in fields.items()}


def half(case: Case) -> Arrays:
    """Sinograms and reference in half precision."""
    return encode(case, "float16")


class Hdf5:
    """A group a case, a chunk an array."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def write(self, path: Path, cases: list[Arrays]) -> None:
        """Writes the cases as one set."""
        with h5py.File(path, "w") as file:
            for index, arrays in enumerate(cases):
                for name, array in arrays.items():
                    chunked = self.options | {"chunks": array.shape} if self.options and array.ndim else {}
                    file.create_dataset(f"{index}/{name}", data=array, **chunked)

    def read(self, path: Path, index: int) -> Arrays:
        """Reads one case, opening the set for it."""
        with h5py.File(path, "r", locking=False) as file:
            return {name: np.asarray(data[()]) for name, data in file[str(index)].items()}


class Zarr:
    """A group a case, a shard an array, Blosc."""

    def __init__(self, **codec: Any) -> None:
        self.codec = codec

    def write(self, path: Path, cases: list[Arrays]) -> None:
        """Writes the cases as one set."""
        import zarr

        root = zarr.create_group(zarr.storage.LocalStore(path))
        for index, arrays in enumerate(cases):
            for name, array in arrays.items():
                blosc = zarr.codecs.BloscCodec(typesize=array.dtype.itemsize, **self.codec)
                parts = {"chunks": array.shape, "shards": array.shape} if array.ndim else {}
                root.create_array(f"{index}/{name}", data=array, compressors=blosc, **parts)

    def read(self, path: Path, index: int) -> Arrays:
        """Reads one case, opening the set for it."""
        import zarr

        return {name: data[...] for name, data in zarr.open_group(path, mode="r")[str(index)].arrays()}


def formats(cases: list[Case]) -> Table:
    """One line a format."""
    found: list[list[str | float]] = []
    gzip = COMPRESSION
    rows: list[tuple[str, Callable[[Case], Arrays], Any]] = [
        ("HDF5, all fields, no compression", whole, Hdf5({})),
        ("HDF5, all fields, gzip 1", whole, Hdf5(gzip)),
        ("HDF5, no compression", encode, Hdf5({})),
        ("HDF5, LZF", encode, Hdf5({"compression": "lzf", "shuffle": True, "fletcher32": True})),
        ("HDF5, gzip 1 (chosen)", encode, Hdf5(gzip)),
        ("HDF5, gzip 4", encode, Hdf5(gzip | {"compression_opts": 4})),
        ("HDF5, gzip 1, float16", half, Hdf5(gzip)),
    ]
    try:
        import zarr  # noqa: F401
    except ImportError:
        print("no Zarr here")
    else:
        for name, how in (("Zstd 3", "zstd"), ("LZ4", "lz4")):
            row = Zarr(cname=how, clevel=3, shuffle="bitshuffle")
            rows.append((f"Zarr, {name}", encode, row))
        rows.append(("Zarr, Zstd 3, float16", half, Zarr(cname="zstd", clevel=3, shuffle="bitshuffle")))
    for name, made, way in rows:
        with tempfile.TemporaryDirectory() as folder:
            size, write, read = _timed(Path(folder) / "set", [made(case) for case in cases], way)
            found.append([name, size, write, read])
            print(f"{name:34}{size:6.2f} MB  write {write:6.1f} ms  read {read:6.1f} ms", flush=True)
    columns = ["format", "size of a case, MB", "write, ms", "read, ms"]
    return Table("Formats", columns, found, ["", ".2f", ".0f", ".0f"], "A case, in one process.")


def _timed(path: Path, cases: list[Arrays], way: Any) -> tuple[float, float, float]:
    times: dict[str, list[float]] = {"write": [], "read": []}
    for _ in range(ROUNDS):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        start = time.perf_counter()
        way.write(path, cases)
        times["write"].append(time.perf_counter() - start)
        start = time.perf_counter()
        for index in range(len(cases)):
            way.read(path, index)
        times["read"].append(time.perf_counter() - start)
    size = sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size
    write, read = (1000 * min(times[name]) / len(cases) for name in ("write", "read"))
    return size / len(cases) / 1e6, write, read


def rounding(cases: list[Case], filter: str) -> Table:
    """What half precision does to images, beside the noise of one."""
    changes, noises = [], []
    for case in cases:
        scan, truth = case.scan, case.truth
        again = decode(half(case), scan.ray, scan.kvp[0] if scan.kvp else None).truth
        images = [scan.image_hu(clean, filter) for clean in (truth.clean, again.clean)]
        changes.append(float((images[1] - images[0])[truth.body_mask].square().mean().sqrt()))
        noises.append(float((images[0] - truth.reference_hu)[truth.body_mask].square().mean().sqrt()))
    change, noise = float(np.mean(changes)), float(np.mean(noises))
    print(f"float16: {change:.2f} HU RMS in the body; noise there {noise:.1f} HU")
    columns = ["what float16 changes in the body, HU RMS", "noise there, HU"]
    return Table("Half precision", columns, [[change, noise]], [".1f", ".0f"])


def consumed(data: MARDataModule, cfg: Any, steps: int = 4) -> float:
    """Cases a second that training steps take, from one batch in memory."""
    model: Any = build_model(cfg)
    size = data.batch_size
    batch = collate([data.sets["train"][index] for index in range(size)])
    optimizer = torch.optim.Adam(model.parameters())
    model.log = model.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        optimizer.zero_grad()
        loss: Any = model.training_step(batch, 0)
        loss.backward()
        optimizer.step()
    return steps * size / (time.perf_counter() - start)


def given(data: MARDataModule) -> float:
    """Cases a second that the loader gives, over one epoch."""
    count, start = 0, time.perf_counter()
    for batch in data.train_dataloader():
        count += len(batch)
    return count / (time.perf_counter() - start)


def feed(cases: list[Case]) -> Table:
    """One line a source."""
    rows: list[list[str | float]] = []

    def told(name: str, rate: float) -> None:
        rows.append([name, rate])
        print(f"{name}: {rate:.1f} cases/s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        store = CaseStore(Path(folder))
        for index, case in enumerate(cases):
            store.save("train", index, case)
        store.pack("train", range(len(cases)))
        cfg = config("data.cache=null", "data.in_memory=false", "data.num_cases.train=24")
        data = build_data(cfg, 3)
        data.sets["train"].num_cases, data.sets["train"].store = len(cases), store
        told(f"the default U-Net takes, {torch.get_num_threads()} threads", consumed(data, cfg))
        for workers in (0, 2):
            data.num_workers = workers
            told(f"shards give, {max(workers, 1)} processes", given(data))
    data = build_data(cfg, 3)
    given(data)
    told(f"simulating on the fly gives, {cfg.data.num_workers} processes", given(data))
    return Table("Is the trainer fed?", ["source", "cases a second"], rows, ["", ".2g"])


def main() -> int:
    """Prints a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feed", action="store_true")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    asked = parser.parse_args()
    cfg = config("data.cache=null")
    data = build_data(cfg, 3)
    cases = [data.sets["train"][index] for index in range(CASES)]
    tables = [feed(cases)] if asked.feed else [formats(cases), rounding(cases, cfg.projector.filter)]
    if asked.json is not None:
        name, title = (
            ("data-feed", "Is the trainer fed?") if asked.feed else ("data-formats", "Formats of a data set")
        )
        made = made_now(
            command_line(), f"{CASES} realistic cases of 3 slices", fingerprint(case_settings(cfg, 3))
        )
        write_measured(asked.json, name, title, made, tables, "256 × 256 pixels, 360 views, with LI and NMAR")
    return 0


if __name__ == "__main__":
    sys.exit(main())
