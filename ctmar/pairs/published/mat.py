"""MATLAB's files: what numbers they hold; nothing in them is run or unpickled."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from ctmar.errors import CtmarError


def names_in(path: Path) -> list[str]:
    """Names of the variables of a file of any version.

    Raises:
        CtmarError: It is no file of MATLAB's.
    """
    try:
        if h5py.is_hdf5(path):  # version 7.3
            with h5py.File(path, "r", locking=False) as file:
                return list(file)
        return [name for name, *_ in whosmat(path)]
    except Exception as error:  # zlib and struct have errors of their own
        raise _unreadable(path, error) from None


def numbers_in(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Arrays of a variable: the fields of a struct by their names, or the variable itself under its own.

    Arrays have MATLAB's axes, ``(row, column)``; in files of version 7.3 they lie the other way round.

    Raises:
        CtmarError: It is no file of MATLAB's, has no such variable, or one without numbers.
    """
    try:
        held = _from_hdf5(path, name) if h5py.is_hdf5(path) else _from_mat(path, name)
    except Exception as error:
        raise _unreadable(path, error) from None
    arrays = {key: value for key, value in held.items() if value.dtype.kind in "biuf"}
    if not arrays:
        raise CtmarError(f"{path} must hold numbers as {name}, got none")
    return arrays


def _from_mat(path: Path, name: str) -> dict[str, NDArray[Any]]:
    found = loadmat(path, variable_names=[name], simplify_cells=True).get(name, {})
    fields = found if isinstance(found, dict) else {name: found}
    return {str(key): np.asarray(value) for key, value in fields.items()}


def _from_hdf5(path: Path, name: str) -> dict[str, NDArray[Any]]:
    with h5py.File(path, "r", locking=False) as file:
        node = file.get(name, {})
        fields = {name: node} if isinstance(node, h5py.Dataset) else dict(node)
        return {
            key: np.asarray(value[()]).T for key, value in fields.items() if isinstance(value, h5py.Dataset)
        }


def _unreadable(path: Path, error: Exception) -> CtmarError:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CtmarError(f"{path} must be a file of MATLAB's, cannot be read: {told}")
