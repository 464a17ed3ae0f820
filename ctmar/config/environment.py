"""Environment variables: one that is set but empty counts as unset."""

import os

OURS = ("CTMAR_", "HYDRA_", "WANDB_")
"""Beginnings of names that this package and its libraries look for."""
RANKS = ("LOCAL_RANK", "GLOBAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID")
"""What Lightning reads as numbers."""


def drop_empty() -> None:
    """Removes variables without a value: ``CTMAR_ROOT=`` would name the root of the file system.

    ``CUDA_VISIBLE_DEVICES=`` and others that mean something empty stay.
    """
    for name in [name for name, value in os.environ.items() if not value]:
        if name.startswith(OURS) or name in RANKS:
            del os.environ[name]
