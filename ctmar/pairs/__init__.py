"""Paired data as a source of cases: folders of images or sinograms, with metal and without."""

from ctmar.pairs.images import PairedImages
from ctmar.pairs.published import PairedAAPM, PairedADN, PairedCNNMAR, PairedSynDeepLesion
from ctmar.pairs.sinograms import PairedSinograms

__all__ = [
    "PairedAAPM",
    "PairedADN",
    "PairedCNNMAR",
    "PairedImages",
    "PairedSinograms",
    "PairedSynDeepLesion",
]
