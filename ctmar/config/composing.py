"""A job's config, composed from the folder of configs that travels with the package."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctmar
from ctmar.config.environment import drop_empty
from ctmar.config.moved import renamed
from ctmar.errors import CtmarError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_dir() -> Path:
    """Where the configs are: inside the installed package, or beside it in a checkout."""
    package = Path(ctmar.__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise CtmarError(f"configs must lie in {package} or beside it, found none")


_places: list[str] = []
"""Of this process: its threads look there too, which a context variable's value would not reach."""


@contextmanager
def searching(places: Sequence[str | Path]) -> Iterator[None]:
    """Has :func:`composed` look for options in a user's places first.

    Args:
        places: Folders, or what ``hydra.searchpath`` takes (``file://…``, ``pkg://…``).

    Raises:
        CtmarError: One of them is no folder.
    """
    for place in places:
        if "://" not in str(place) and not Path(place).is_dir():
            raise CtmarError(f"--config-dir must be a folder, got {str(place)!r}, which is none")
    found = (str(place) if "://" in str(place) else f"file://{Path(place).resolve()}" for place in places)
    before, _places[:] = list(_places), found
    try:
        yield
    finally:
        _places[:] = before


def places() -> tuple[str, ...]:
    """Where a user's options are looked for, as ``hydra.searchpath`` takes it."""
    return tuple(_places)


def searchpath() -> list[str]:
    """The override by which a job of its own looks there too; none where there is nothing to tell."""
    return [f"hydra.searchpath=[{','.join(map(_quoted, places()))}]"] if places() else []


def config_folders() -> list[Path]:
    """The folders in which options are looked for: a user's first, then ctmar's."""
    theirs = [Path(place.removeprefix("file://")) for place in places() if place.startswith("file://")]
    return [*theirs, config_dir()]


def options(group: str) -> dict[str, Path]:
    """A group's options by name, in the order of the alphabet, and their files."""
    files = [file for folder in reversed(config_folders()) for file in (folder / group).glob("*.yaml")]
    return dict(sorted((file.stem, file) for file in files))


def composed(job: str, overrides: Sequence[str] = ()) -> "DictConfig":
    """A job's config with overrides, whatever the command line's: for what works on several."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    drop_empty()
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            return compose(job, overrides=[*searchpath(), *renamed(overrides)])
    finally:
        GlobalHydra.instance().hydra = running


def plain(cfg: "DictConfig") -> dict[str, Any]:
    """The resolved config as plain types: what travels in checkpoints and reports."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    made: dict[str, Any] = json.loads(json.dumps(container))
    return made


def _quoted(place: str) -> str:
    escaped = place.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def importable(folder: Path) -> None:
    """Lets classes that a config names be imported from a folder, after all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
