"""An observer from outside: the toolkit ``mar-eval`` (PyPI, MIT), for the study of the proposed Annex GG."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

Array = NDArray[np.float64]
PRINCIPAL = 16
"""Channels that the toolkit learns from the training images, as in its own configuration of the study."""


def mar_eval_version() -> str | None:
    """The version of ``mar-eval`` that is installed; None where none is."""
    try:
        return version("mar-eval")
    except PackageNotFoundError:
        return None


class MarEval:
    """The toolkit's channelised Hotelling observer.

    Args:
        channels: ``(pixel, channel)``; None for its own, learnt from the training images of each fold by
            principal components.

    Raises:
        CtmarError: It is not installed.
    """

    def __init__(self, channels: Array | None = None) -> None:
        try:
            import mareval
        except ImportError as error:
            raise CtmarError("the judge mar-eval is not installed: pip install 'ctmar[judges]'") from error
        self._toolkit, self._channels = mareval, channels
        self.name = "mar-eval" if channels is None else "mar-eval, ctmar's channels"

    def read(self, present: Array, absent: Array, images: Array) -> Array:
        """Decision values of ``images``; see :class:`ctmar.metrics.detection.Judge`."""
        tool, channels = self._toolkit, self._channels
        if channels is None:
            training = np.concatenate([present, absent])
            channels = tool.build_pca_channels(training, n_channels=min(PRINCIPAL, len(training) // 2))
        yes, no, seen = (tool.apply_channels(x, channels) for x in (present, absent, images))
        return np.asarray(tool.cho_decision_values(seen, tool.cho_template(yes, no)))

    def auc(self, present: Array, absent: Array) -> float:
        """The toolkit's own AUC."""
        labels = np.repeat([1, 0], [len(present), len(absent)])
        return float(self._toolkit.compute_auc(np.concatenate([present, absent]), labels))

    def verdict(self, uncorrected: Array, corrected: Array) -> str:
        """``improved``, ``worse`` or ``no_change``: the toolkit's word on the mean ΔAUC, one AUC a cell."""
        return str(self._toolkit.delta_auc_bias_assessment(uncorrected, corrected)["status"])
