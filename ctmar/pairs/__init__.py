"""Paired data as a source of cases: a user's folders of images or sinograms, with metal and without."""

from ctmar.pairs.images import PairedImages
from ctmar.pairs.sinograms import PairedSinograms

__all__ = ["PairedImages", "PairedSinograms"]
