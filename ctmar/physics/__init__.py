"""The scanner and its parts: materials, spectra, detector noise, water correction, effects of one's own."""

from ctmar.physics.effects import Effect
from ctmar.physics.faults import Faults
from ctmar.physics.materials import MATERIALS, Material, attenuation
from ctmar.physics.noise import Noise
from ctmar.physics.optics import Optics
from ctmar.physics.rays import Rays
from ctmar.physics.scanner import Acquisition, Scanner
from ctmar.physics.scatter import Scatter
from ctmar.physics.spectra import Spectrum
from ctmar.physics.trace import Trace
from ctmar.physics.tube import Tube
from ctmar.physics.water import Water

__all__ = [
    "MATERIALS",
    "Acquisition",
    "Effect",
    "Faults",
    "Material",
    "Noise",
    "Optics",
    "Rays",
    "Scanner",
    "Scatter",
    "Spectrum",
    "Trace",
    "Tube",
    "Water",
    "attenuation",
]
