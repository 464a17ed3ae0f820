"""The scanner: materials, spectra, detector noise, water correction."""

from ctmar.physics.scanner import Acquisition, Scanner

__all__ = ["Acquisition", "Scanner"]
