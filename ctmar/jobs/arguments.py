"""Arguments of the commands that take no config; imports nothing heavy: help comes at once."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

METHODS = ("physics", "mbhc", "nmar", "li", "fsnmar", "tv", "pretrained", "pretrained_mbhc")
"""The default first; the last are the network that is shipped, and its mean with MBHC."""
COMPARED = ("rmse_hu_near", "rmse_hu_body", "ssim_soft")
"""Columns of the table across runs."""
EXTRAS = ("difference", "uncertainty", "seg")


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; argparse itself answers ``--help`` and mistakes."""
    parser = argparse.ArgumentParser(
        prog=f"ctmar {name}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    PARSERS[name](parser)
    examples = "\n".join(f"  ctmar {name} {line}" for line in EXAMPLES[name])
    parser.description = f"{parser.description}\n\n{examples}"
    parser.epilog = "\n".join(textwrap.wrap(parser.epilog or "", 78))
    return parser.parse_intermixed_args(arguments)


def _correct(parser: argparse.ArgumentParser) -> None:
    parser.description = "Reduces metal artifacts in a reconstructed CT scan. Not a medical device."
    parser.epilog = (
        "OUTPUT is a new folder with a derived DICOM series, or a volume file of INPUT's format;"
        " with a report beside it. INPUT is only read."
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
    _config_dir(parser)
    _metal(parser)
    parser.add_argument(
        "--geometry",
        metavar="NAME",
        help="INPUT holds sinograms (headerless float32, .npy) of this option of configs/geometry:"
        " aapm; aapm,acquisition.det_offset_mm=0 changes a key",
    )
    parser.add_argument(
        "--mu-water",
        metavar="F",
        type=float,
        default=0.02,
        help="with it: attenuation of water in 1/mm by these sinograms (default: 0.02, XCIST's)",
    )
    parser.add_argument(
        "--slice-mm", metavar="MM", type=float, default=1.0, help="with it: distance of slices in OUTPUT"
    )
    parser.add_argument("--also", metavar="LIST", default="", help=f"write more, from {','.join(EXTRAS)}")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUTPUT that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress, no notes")


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.description = "Says what a folder or file holds, whether there is metal, and what would be done."
    parser.add_argument(
        "input", metavar="FOLDER", type=Path, help="DICOM folder, zip or file; NIfTI, NRRD, MHA"
    )
    _metal(parser)


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


def _config_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config-dir",
        "-cd",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a folder of your own configs (model/mine.yaml …), looked through before ctmar's",
    )


def _overrides(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=what)
    _config_dir(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.description = "Compares runs case by case on one page."
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or of a sweep")
    parser.add_argument("--out", type=Path, default=Path("outputs/compare.html"), help="the page")
    parser.add_argument("--method", default="model", help="which method of each run (default: model)")
    parser.add_argument("--metrics", nargs="+", default=list(COMPARED), help="columns of the table")


def _study(parser: argparse.ArgumentParser) -> None:
    parser.description = "The same training under several choices and seeds, scored on the same tests."
    parser.add_argument("study", help="a name in configs/study, or a YAML file")
    _overrides(parser, "of all trainings and tests: trainer.max_epochs=5 …")
    parser.add_argument("--folder", type=Path, help="where the runs go (default: outputs/studies/NAME)")
    parser.add_argument("--jobs", type=_from(1), default=2, help="trainings at a time, one thread each")


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.description = "Fits the U-Net, tunes the GAN from it, sweeps λ, and compares them."
    _overrides(parser, "of all steps: geometry=small trainer.max_epochs=5 …")
    parser.add_argument("--folder", type=Path, default=Path("outputs/recipe"), help="where the runs go")
    parser.add_argument("--lambdas", nargs="+", type=float, default=[10.0, 100.0, 1000.0, 10000.0])


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Fits the uncertainty of weights on validation cases, and puts it on their card."
    parser.add_argument("weights", help="a .safetensors file, or the name of weights that ctmar ships")
    _overrides(parser, "cases like the training's (default: experiment=unet_pretrain)")
    parser.add_argument("--cases", type=_from(2), default=40, help="validation cases to fit on")
    parser.add_argument("--test-cases", type=_from(2), default=40, help="test cases to tell the coverage of")
    parser.add_argument("--coverage", type=float, default=0.9, help="share of errors that shall lie within")
    parser.add_argument("--out", type=Path, help="file with the new card (default: the weights' own)")
    parser.add_argument(
        "--json", type=Path, metavar="F", help="write the figures to F, for ctmar results add"
    )


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.description = "Writes a checkpoint or weights of an earlier version as today's."
    parser.add_argument("file", metavar="FILE", type=Path, help="a .ckpt or .safetensors file; only read")
    parser.add_argument("out", metavar="OUT", type=Path, help="where it goes; of the same suffix")


def _new(parser: argparse.ArgumentParser) -> None:
    parser.description = "Lays out a project of your own: a method, a network, configs, a test, a README."
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder")


def _results(parser: argparse.ArgumentParser) -> None:
    parser.description = "Keeps what was measured as records, and writes result pages from them."
    parser.epilog = (
        "add keeps FOLDER/data/NAME.json of each FILE: evaluation/summary.json of a run, or what a script"
        " wrote by --json. pages writes FOLDER/*.md and the marked tables of the pages beside FOLDER."
    )
    parser.add_argument("action", choices=("add", "pages"))
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="add: what was measured")
    parser.add_argument("--name", default="", help="add: of the record (default: what the file says)")
    parser.add_argument("--title", default="", help="add: of the page (default: what it was)")
    parser.add_argument(
        "--protocol", default="", help="add: how it was measured (default: what the file says)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("docs/results"), help="of pages (default: docs/results)"
    )


def _from(least: int) -> Callable[[str], int]:
    """A whole number that is not less."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, got {text!r}")
        return int(text)

    return number


PARSERS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "correct": _correct,
    "inspect": _inspect,
    "compare": _compare,
    "study": _study,
    "recipe": _recipe,
    "calibrate": _calibrate,
    "convert": _convert,
    "new": _new,
    "results": _results,
}
"""What adds a command's arguments to its parser."""
EXAMPLES: dict[str, Sequence[str]] = {
    "correct": (
        "FOLDER OUT                               a DICOM series in, a derived one out",
        "ct.nii.gz corrected.nii.gz               the same header, other voxels",
        "FOLDER OUT --method nmar --also difference",
        "FOLDER OUT --checkpoint RUN/checkpoints/best.ckpt",
        "sinogram_900x1000.raw image.nii.gz --geometry aapm",
    ),
    "inspect": ("FOLDER", "ct.nii.gz"),
    "compare": ("RUN RUN", "outputs/train/multiruns/DATE --out lambda.html"),
    "study": ("claim", "inputs trainer.max_epochs=5 --jobs 1"),
    "recipe": ("geometry=small", "--lambdas 10 100 1000"),
    "calibrate": ("unet --out new.safetensors", "mine.safetensors anatomy=procedural"),
    "convert": ("old.ckpt new.ckpt", "old.safetensors new.safetensors"),
    "new": ("my-project",),
    "results": ("add outputs/evaluation/summary.json --name mine", "pages"),
}
"""What stands first in a command's help."""
