"""Parts by their names in a config group, the user's own among them."""

from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ctmar.config.composing import composed, config_folders, options, places
from ctmar.errors import CtmarError

PLAIN = "export"
"""A config without parts of its own, to which one is added."""


class UnknownPart(CtmarError):
    """No option of that name."""


def named(group: str, name: str) -> DictConfig:
    """The node that an option of a group gives, composed with its own defaults.

    Args:
        group: Such as ``model``.
        name: One of its options; of the running job's search path, so that ``--config-dir`` adds to them.

    Raises:
        UnknownPart: There is no such option.
    """
    try:
        # A part of a user's own is no config by itself to a Hydra that searches their folder too.
        whole = compose(f"{group}/{name}") if _is_all_there_is() else composed(PLAIN, [f"+{group}={name}"])
    except HydraException:
        raise UnknownPart(f"{group} must be one of {', '.join(_options(group))}, got {name!r}") from None
    node = whole[group]
    assert isinstance(node, DictConfig)
    OmegaConf.set_struct(node, False)
    return node


def _is_all_there_is() -> bool:
    """Whether Hydra runs, and searches no places but those that it was started with."""
    return GlobalHydra.instance().is_initialized() and not places()


def file_of(group: str, name: str) -> Path:
    """The YAML of an option: of the running job's search path the first, as Hydra takes it.

    Raises:
        UnknownPart: No folder has it.
    """
    for folder in _folders():
        file = folder / group / f"{name}.yaml"
        if file.is_file():
            return file
    raise UnknownPart(
        f"{group}/{name}.yaml must be in one of {', '.join(map(str, _folders()))}; it is in none"
    )


def _folders() -> list[Path]:
    """Folders of configs, a user's first."""
    if not _is_all_there_is():
        return config_folders()
    sources = GlobalHydra.instance().config_loader().get_sources()
    return [Path(source.path) for source in sources if source.scheme() == "file"]


def _options(group: str) -> list[str]:
    """Names of a group's options: of the running job's search path, else of ctmar's own."""
    if _is_all_there_is():
        return GlobalHydra.instance().config_loader().get_group_options(group)
    return list(options(group))
