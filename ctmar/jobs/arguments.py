"""Arguments of ``ctmar correct``, ``inspect`` and ``compare``; imports nothing heavy: help comes at once."""

import argparse
from collections.abc import Sequence
from pathlib import Path

METHODS = ("mbhc", "nmar", "li", "fsnmar", "tv", "pretrained", "pretrained_mbhc")
"""The default first; the last are the network that is shipped, and its mean with MBHC."""
COMPARED = ("rmse_hu_near", "rmse_hu_body", "ssim_soft")
"""Columns of the table across runs."""
EXTRAS = ("difference", "uncertainty", "seg")


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; argparse itself answers ``--help`` and mistakes."""
    return {"correct": _correct, "inspect": _inspect, "compare": _compare}[name]().parse_args(arguments)


def _correct() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctmar correct",
        description="Reduces metal artifacts in a reconstructed CT scan. Not a medical device.",
        epilog="OUTPUT is a new folder with a derived DICOM series, or a volume file of INPUT's format;"
        " with a report beside it. INPUT is only read.",
    )
    parser.add_argument(
        "input", metavar="INPUT", type=Path, help="DICOM folder, zip or file; NIfTI, NRRD, MHA"
    )
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="a folder; a file for a volume")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--checkpoint",
        metavar="F",
        type=Path,
        help="complete the trace by this network: .ckpt of a run, .safetensors",
    )
    how.add_argument(
        "--method",
        metavar="NAME",
        default=METHODS[0],
        help=f"or by one of {', '.join(METHODS)} (default: {METHODS[0]}), or one of configs/model",
    )
    _metal(parser)
    parser.add_argument("--also", metavar="LIST", default="", help=f"write more, from {','.join(EXTRAS)}")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUTPUT that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress, no notes")
    return parser


def _inspect() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctmar inspect",
        description="Says what a folder or file holds, whether there is metal, and what would be done.",
    )
    parser.add_argument(
        "input", metavar="FOLDER", type=Path, help="DICOM folder, zip or file; NIfTI, NRRD, MHA"
    )
    _metal(parser)
    return parser


def _metal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--series", help="name (as 3, or 3.1), or SeriesInstanceUID, where INPUT holds several series"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="HU",
        help="metal has a voxel above this (default: found from the scan)",
    )
    parser.add_argument(
        "--threshold-low", type=float, metavar="HU", help="and goes on down to this (0.8 of it)"
    )
    parser.add_argument(
        "--min-area", type=float, metavar="MM2", default=1.0, help="smaller metal is left out"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: all cores)")


def _compare() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctmar compare", description="Compares runs case by case on one page."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or of a sweep")
    parser.add_argument("--out", type=Path, default=Path("outputs/compare.html"), help="the page")
    parser.add_argument("--method", default="model", help="which method of each run (default: model)")
    parser.add_argument("--metrics", nargs="+", default=list(COMPARED), help="columns of the table")
    return parser
