"""Scans on disk: DICOM, NIfTI, NRRD and MetaImage, read slice by slice and written as derived scans."""
