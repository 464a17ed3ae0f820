"""Files of weights: which the package ships, how one is read, and a generator's start from one."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ctmar.errors import CtmarError, flat
from ctmar.files import whole

FOLDER = Path(__file__).parents[1] / "weights"
SCHEMA = 2
KEY = "ctmar"


def shipped(weights: str | Path) -> Path:
    """The file of shipped weights; a path that ends in ``.safetensors`` is itself."""
    return Path(weights) if str(weights).endswith(".safetensors") else FOLDER / f"{weights}.safetensors"


def available() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of its weights, and the weights.

    Raises:
        CtmarError: There is no such file, or it is none of ctmar's.
    """
    if not path.is_file():
        known = ", ".join(available()) or "none"
        raise CtmarError(f"weights must be a .safetensors file or one of {known}, got {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CtmarError(f"weights must be a safetensors file, {path} is none: {short(error)}") from None
    if isinstance(about, dict) and about.get("schema") == 1:
        raise CtmarError(
            f"weights must be of schema {SCHEMA}, {path} is of 1: ctmar convert FILE OUT makes it so"
        )
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise CtmarError(f"weights must be exported by ctmar (schema {SCHEMA}), {path} is not")
    return about, state


def write(path: Path, about: dict[str, Any], state: dict[str, Tensor]) -> None:
    """The inverse of :func:`read`; the file appears whole or not at all."""
    with whole(path) as aside:
        save_file(state, aside, metadata={KEY: json.dumps(about)})
        aside.chmod(0o644)  # the library leaves it to the owner alone


def rewrite_card(weights: str | Path, entries: dict[str, Any], out: Path | None = None) -> Path:
    """Puts entries on a weights file's card; the weights stay as they are.

    Args:
        weights: File, or name of weights that ctmar ships.
        entries: Plain types, by name.
        out: Where the file goes; its own place where None. It is written aside and renamed.

    Returns:
        The file.
    """
    path = shipped(weights)
    about, state = read(path)
    about["card"] |= entries
    target = path if out is None else out
    write(target, about, state)
    return target


def generator_weights(path: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The generator's weights from a checkpoint of this package or its safetensors; nothing is unpickled.

    Args:
        path: The file, or the name of weights that ctmar ships.
        expected: The state of the generator that takes them: names and shapes must agree.

    Raises:
        CtmarError: There is no such file, or its generator has another architecture.
    """
    if path.endswith(".safetensors") or path in available():
        _, state = read(shipped(path))
    elif Path(path).is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    else:
        raise CtmarError(f"generator_checkpoint must be a checkpoint file, got {path}")
    # A checkpoint holds the method as a part of what fitted it.
    known = {name.removeprefix("method."): value for name, value in state.items()}
    prefix = "generator."
    weights = {name[len(prefix) :]: value for name, value in known.items() if name.startswith(prefix)}
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if shapes != {name: tuple(value.shape) for name, value in expected.items()}:
        raise CtmarError(
            f"generator_checkpoint must hold a generator of the same inputs and channels, got {path}"
        )
    return weights


def short(error: Exception) -> str:
    """An error of another library in one line that is no longer than a reader's patience."""
    return flat(error)[:200]
