"""The recipe from beginning to end: ``python scripts/recipe.py [OVERRIDE ...]``."""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.jobs.compare import compare
from ctmar.jobs.processes import job_command


def run(arguments: argparse.Namespace) -> None:
    """Runs what is not done yet of the three steps, compares, and prints the table."""
    print(recipe(arguments.folder, arguments.lambdas, arguments.overrides))


def recipe(folder: Path, lambdas: Sequence[float], overrides: Sequence[str] = ()) -> str:
    """The three steps in ``folder``: ``unet``, ``cgan``, ``lambda/0 …``, and ``compare.html``.

    A step whose evaluation is there is not run again, so that the same command resumes.

    Args:
        folder: Where the runs go.
        lambdas: The sweep's values of λ.
        overrides: Hydra's, of every step.

    Returns:
        The table across the runs, and where the page is.

    Raises:
        CtmarError: A step ended with an error.
    """
    fitted = folder / "unet" / "checkpoints" / "best.ckpt"
    start = f"model.generator_checkpoint={fitted}"
    sweep = f"model.lambda_l2={','.join(f'{value:g}' for value in lambdas)}"
    steps = {
        "unet": ["experiment=unet_pretrain", f"hydra.run.dir={folder / 'unet'}"],
        "cgan": ["experiment=cgan_finetune", f"hydra.run.dir={folder / 'cgan'}", start],
        "lambda": ["experiment=lambda_sweep", f"hydra.sweep.dir={folder / 'lambda'}", start, sweep],
    }
    for name, own in steps.items():
        done = (
            [folder / "lambda" / str(n) for n in range(len(lambdas))] if name == "lambda" else [folder / name]
        )
        if all((run / "evaluation" / "summary.json").is_file() for run in done):
            continue
        print(f"step {name}", flush=True)
        multirun = ["-m"] if name == "lambda" else []
        command = job_command("train", [*multirun, *own, *overrides])
        if subprocess.run(command, check=False).returncode:
            raise CtmarError(f"the recipe must pass each step, {name} ended with an error")
    return compare([folder / name for name in steps], folder / "compare.html", "model")
