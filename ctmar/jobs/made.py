"""How a run came about, beside its summary: ``evaluation/made.json``, from which a result page tells it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ctmar.files import write_text
from ctmar.report.provenance import made_now

MADE = "made.json"
OF_HYDRA = "hydra."


def note_made(
    folder: Path,
    job: str,
    overrides: Sequence[str],
    cfg: DictConfig,
    cases: str,
    hash: str,
    summary: Mapping[str, Any],
) -> None:
    """Writes ``made.json`` into ``folder``: command, date, version, machine, cases, protocol.

    Args:
        folder: Where the summary lies.
        job: Of the command line.
        overrides: What was asked for there.
        cfg: What came of it.
        cases: What was scored, in words.
        hash: Of these cases.
        summary: What came out, for what the cases say of themselves.
    """
    asked = [override for override in overrides if not override.lstrip("+~").startswith(OF_HYDRA)]
    made = made_now(" ".join(["ctmar", job, *map(_quoted, asked)]), cases, hash)
    told = asdict(made) | {"protocol": protocol_of(cfg, summary)}
    write_text(folder / MADE, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def _quoted(override: str) -> str:
    return f"'{override}'" if any(sign in override for sign in " {}()<>*?;&|$") else override


def protocol_of(cfg: DictConfig, summary: Mapping[str, Any]) -> str:
    """Image, rays, scanner and the origin of scans and metal in a line."""

    def of(key: str) -> Any:
        return OmegaConf.select(cfg, key)

    rows, columns = of("geometry.grid.shape")
    words = [f"{rows} × {columns} pixels of {of('geometry.grid.spacing_mm'):.4g} mm"]
    words.append(f"{of('geometry.beam.num_angles')} views × {of('geometry.beam.det_count')} bins")
    if of("geometry.acquisition"):  # parallel beams of the geometry's own are an empty node
        words[-1] += ", rebinned from the scanner's own rays"
    kvp, photons = of("scanner.tube.kvp"), of("scanner.noise.photons_per_ray")
    doses = of("benchmark.photons_per_ray")  # of a study of several
    words.append("one energy" if kvp is None else f"{kvp:g} kV")
    shown = " / ".join(f"{dose:,.0f}" for dose in doses or [photons] if dose is not None)
    words.append(f"{shown} photons a ray" if shown else "no noise")
    if "source" in summary:
        words += [f"scans from {summary['source']} data", f"metal from {summary['metal_from']}"]
    return "; ".join(words)
