"""Parts by their names in a config group, the user's own among them."""

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ctmar.config.composing import composed, options
from ctmar.errors import CtmarError


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
    running = GlobalHydra.instance().is_initialized()
    try:
        whole = compose(f"{group}/{name}") if running else composed(f"{group}/{name}")
    except HydraException:
        raise UnknownPart(f"{group} must be one of {', '.join(_options(group))}, got {name!r}") from None
    node = whole[group]
    assert isinstance(node, DictConfig)
    OmegaConf.set_struct(node, False)
    return node


def _options(group: str) -> list[str]:
    """Names of a group's options: of the running job's search path, else of ctmar's own."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group)
    return list(options(group))
