"""ctmar: completing the metal trace of CT sinograms, from volume to metrics."""

__version__ = "0.1.0"
