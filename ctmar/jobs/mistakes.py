"""What a user can mend, said in one line: of a config, an option's extra, the machine."""

import traceback
from pathlib import Path

from ctmar.errors import CtmarError, flat

EXTRAS = {
    "hydra/sweeper/optuna": ("hparams_search=optuna", "sweeps"),
    "hydra/launcher/submitit": ("hydra/launcher=cluster", "cluster"),
    "Neither `tensorboard` nor `tensorboardX` is available": ("logger=tensorboard", "tensorboard"),
}
"""What an error of another library holds where an option's extra is missing."""

GROUP_OVERRIDE = "Config group override must be"
"""How Hydra's ValueError begins where a group is given what is no name, such as callbacks=null."""


def one_line(error: BaseException) -> str | None:
    """The line for a user, where the error is a user's to mend; None where it is a bug of ours."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    # A process's death is told by a signal, in the middle of whatever runs, which may take it for its own.
    for cause in chain:
        if died := _of_worker(cause):
            return died
    for cause in chain:
        if isinstance(cause, CtmarError):
            return flat(cause)
    for sign, (option, extra) in EXTRAS.items():
        if sign in str(error):
            return f"{option} needs the {extra} extra: pip install 'ctmar[{extra}]'"
    return _of_machine(error) or _of_trainer(error) or _of_config(error)


def _of_config(error: BaseException) -> str | None:
    """The line for what Hydra and OmegaConf find."""
    from hydra.errors import HydraException, InstantiationException, OverrideParseException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, TypeError) and _last_file(error) == "defaults_list.py":
        # Hydra joins what a list holds to its group's name, whatever it is.
        return f"what a group's list holds must be names of its options, as in logger=[csv]: {flat(error)}"
    if isinstance(error, MissingMandatoryValue):
        key = str(error).splitlines()[0].rpartition(": ")[2]
        return f"{key} must be given ({key}=...), got nothing"
    if isinstance(error, OverrideParseException):
        quoted = f"""'{error.override.partition("=")[0]}="VALUE"'"""
        why = "a value with = : , ( ) or blanks is quoted for the shell and for Hydra"
        return f"{flat(error.override)}: {why}, {quoted}"
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        made = isinstance(error, InstantiationException)
        # Where Hydra looked is a list of folders.
        return flat((error.__cause__ if made else None) or error).partition(" Config search path:")[0]
    return _of_group(error) if str(error).startswith(GROUP_OVERRIDE) else None


def _of_group(error: BaseException) -> str:
    """The line for a group that is given what is no name; Hydra's own does not say which."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    override = getattr(frames[-1].f_locals.get("override") if frames else None, "input_line", None)
    if override is None:
        return flat(error)
    group, _, value = override.lstrip("+").partition("=")
    return (
        f"{group} must be one of its options, or a list of them, got {value} (~{group} takes the group away)"
    )


def _last_file(error: BaseException) -> str:
    """The name of the file in which an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).name if frames else ""


def _of_machine(error: BaseException) -> str | None:
    """The line for what is the machine's: its disk, its memory, its network."""
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    if type(error).__module__.startswith("wandb."):
        return (
            f"wandb: {str(error).splitlines()[0] if str(error) else type(error).__name__};"
            " with logger.wandb.offline=true the run stays on this disk"
        )
    return None


def _of_trainer(error: BaseException) -> str | None:
    """The line for what Lightning refuses."""
    return flat(error) if type(error).__name__ == "MisconfigurationException" else None


def _of_worker(error: BaseException) -> str | None:
    """The line for a process that loads cases and died."""
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        return (
            f"a process that loads cases died, perhaps for want of memory: {flat(error).rstrip('.')};"
            " with data.num_workers=0 there is none"
        )
    return None


def _of_system(error: OSError) -> str:
    """The line for an error of the system: its reason, and the file."""
    reason = error.strerror or str(error) or type(error).__name__
    return flat(f"{reason}: {error.filename}" if error.filename else reason)
