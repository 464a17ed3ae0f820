"""Simulated cases: the simulator, its cache, the data set and the data module."""

from ctmar.data.simulate import Simulator

__all__ = ["Simulator"]
