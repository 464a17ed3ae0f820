"""Published sets' own files as cases to score and to train on: what is common, and a file a set."""

from ctmar.pairs.published.aapm import AAPM, AAPM_WATER, AAPMFiles, PairedAAPM, read_raw
from ctmar.pairs.published.adn import ADN, ADNFiles, PairedADN
from ctmar.pairs.published.case import FieldCase, field_case, metal_by_difference, rebinned_scan
from ctmar.pairs.published.cases import PairedFiles, PublishedCases, PublishedFiles
from ctmar.pairs.published.cnnmar import CNNMAR, CNNMARFiles, PairedCNNMAR
from ctmar.pairs.published.files import FieldFiles, NumberedSlices
from ctmar.pairs.published.syndeeplesion import (
    PairedSynDeepLesion,
    SynDeepLesion,
    SynDeepLesionFiles,
    read_syndeeplesion,
)

__all__ = [
    "AAPM",
    "AAPM_WATER",
    "ADN",
    "CNNMAR",
    "AAPMFiles",
    "ADNFiles",
    "CNNMARFiles",
    "FieldCase",
    "FieldFiles",
    "NumberedSlices",
    "PairedAAPM",
    "PairedADN",
    "PairedCNNMAR",
    "PairedFiles",
    "PairedSynDeepLesion",
    "PublishedCases",
    "PublishedFiles",
    "SynDeepLesion",
    "SynDeepLesionFiles",
    "field_case",
    "metal_by_difference",
    "read_raw",
    "read_syndeeplesion",
    "rebinned_scan",
]
