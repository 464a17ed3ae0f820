"""The recipe from beginning to end: ``python scripts/recipe.py [OVERRIDE ...]``."""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.jobs.compare import compare
from ctmar.jobs.mistakes import printed
from ctmar.jobs.processes import job_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is not done yet of the three steps, then compares; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="recipe.py", description="Fits the U-Net, tunes the GAN from it, sweeps λ, and compares them."
    )
    parser.add_argument("overrides", nargs="*", help="of all steps: geometry=small trainer.max_epochs=5 …")
    parser.add_argument("--folder", type=Path, default=Path("outputs/recipe"), help="where the runs go")
    parser.add_argument("--lambdas", nargs="+", type=float, default=[10.0, 100.0, 1000.0, 10000.0])
    given = parser.parse_intermixed_args(arguments)
    return printed(lambda: recipe(given.folder, given.lambdas, given.overrides))


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
