"""Cases of a run: where they come from, how they are kept, the data set and the data module."""

from ctmar.data.cases import CaseSource
from ctmar.data.paired import image_case, sinogram_case
from ctmar.data.setup import CaseSetup
from ctmar.data.simulate import Simulator

__all__ = ["CaseSetup", "CaseSource", "Simulator", "image_case", "sinogram_case"]
