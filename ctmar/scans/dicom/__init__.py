"""DICOM series, byte for byte where nothing is meant to change."""
