"""Methods from elsewhere: a function of the user's own, and a folder of another method's images."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.files import file_stem
from ctmar.methods.base import Completed, Method, as_sinogram


class ReadyImages(Method):
    """Images that lie ready: scored as they are, what became of the measured rays cannot be told from them.

    Args:
        name: What reports call it.
        image_hu: The image of a case by its name, ``(row, column)`` in HU.
    """

    completes = False
    own_image = True

    def __init__(self, name: str, image_hu: Callable[[str], Tensor]) -> None:
        self.name, self._image_hu = name, image_hu

    def trace(self, scan: Scan) -> Tensor:
        """The measurement: an image completes no sinogram."""
        return scan.measured

    def finish(self, scan: Scan, corrected_hu: Tensor, uncorrected_hu: Tensor) -> Tensor:
        """Each case's image, on the centre slice of the reconstruction's shape."""
        images = [self._image(case_id, corrected_hu.shape[-2:]) for case_id in scan.case_id]
        return torch.stack(images)[:, None].expand(corrected_hu.shape)

    def _image(self, case_id: str, shape: torch.Size) -> Tensor:
        image = self._image_hu(case_id)
        if image.shape != shape:
            raise CtmarError(f"{self.name} must be HU of shape {tuple(shape)}, got {tuple(image.shape)}")
        return image


class ImageFolder(ReadyImages):
    """Images of a method that ran elsewhere: ``CASE.npy``, HU, ``(row, column)``, one a case.

    Args:
        folder: Where the images lie; names as ``export=…`` writes them.
        name: What reports call it.
    """

    def __init__(self, folder: str | Path, name: str = "images") -> None:
        self.folder, self.name = Path(folder), name
        if not self.folder.is_dir():
            raise CtmarError(f"images must be a folder of CASE.npy files, got {str(folder)!r}")

    def _image(self, case_id: str, shape: torch.Size) -> Tensor:
        path = self.folder / f"{file_stem(case_id)}.npy"
        try:
            image = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise CtmarError(f"images must hold {path.name} for every case, {self.folder} does not") from None
        except (ValueError, EOFError, OSError) as error:
            raise CtmarError(f"{path} must be an array of numbers as numpy.save writes it: {error}") from None
        if image.shape != shape or not np.issubdtype(image.dtype, np.number):
            raise CtmarError(f"{path} must be HU of shape {tuple(shape)}, got {image.dtype} {image.shape}")
        return torch.from_numpy(image.astype(np.float32))


class FunctionMethod(Method):
    """A function ``f(scan)`` that returns a sinogram, as a method.

    Args:
        function: Takes a :class:`~ctmar.case.Scan`, returns a sinogram of ``scan.measured``'s shape.
        name: What reports call it.
    """

    def __init__(self, function: Callable[[Scan], Any], name: str) -> None:
        self.function, self.name = function, name

    def complete(self, scan: Scan) -> Completed:
        """What the function returns, as it is: what it does to rays off the trace is to be seen."""
        found = as_sinogram(scan, self.function(scan), self.name)
        return Completed(found.to(scan.measured))


def find_method(dotted: str, name: str) -> Method:
    """The method, or the function as a method, at ``package.module.name``.

    Args:
        dotted: A :class:`~ctmar.methods.base.Method`, its class, or a function ``f(scan)``.
        name: What reports call it.

    Raises:
        CtmarError: Where there is no such thing, or one that needs more to be made or called.
    """
    module, _, attribute = dotted.rpartition(".")
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise CtmarError(f"methods must name functions as module.function, got {dotted!r}: {error}") from None
    is_class = isinstance(found, type) and issubclass(found, Method)
    if not isinstance(found, Method):
        if not callable(found):
            raise CtmarError(f"methods must name functions as module.function, got {dotted!r}, which is none")
        if not _takes(found, 0 if is_class else 1):
            raise CtmarError(
                "methods must name functions f(scan), or Method classes that need no argument,"
                f" got {dotted!r}, which needs others"
            )
        found = found() if is_class else FunctionMethod(found, name)
    if not found.name:
        object.__setattr__(found, "name", name)  # of a frozen one too
    return found


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments; so it seems where compiled code does not tell."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
