"""What a derived series says of itself in the standard's own attributes, and codes as they are published."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import ctmar
from ctmar.scans.dicom import origin
from ctmar.scans.dicom.elements import Element, Elements
from ctmar.scans.dicom.tags import tag_of
from ctmar.scans.dicom.windows import add_presets
from tests.scans.dicom_maker import CT_IMAGE, SERIES, write, write_series
from tests.scans.test_dicom import enhanced, run
from tests.stored_images import body, disk

CENTER, WIDTH, NAMES = map(tag_of, ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"))
BOTH = ["SOFT TISSUE", "BONE"]


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """Three slices, metal in the second."""
    plain = body()
    return np.stack([plain, np.where(disk(30, 0, 6) > 0.5, 3000, plain), plain])


def derived(
    folder: Path, volume: np.ndarray, change: Callable[[Dataset, int], Any] | None = None
) -> list[Dataset]:
    write_series(folder / "in", volume, change)
    run(folder / "in", folder / "out")
    return [pydicom.dcmread(path) for path in sorted((folder / "out").glob("ct*.dcm"))]


def test_the_codes_are_the_published_ones() -> None:
    published = {
        origin.ADDITION: codes.cid7203.PixelByPixelAddition,
        origin.PROCESSING: codes.cid7005.ProcessingEquipment,
        origin.SOURCE_IMAGE: codes.cid7202.SourceImageForImageProcessingOperation,
    }
    for (value, scheme, meaning), code in published.items():
        assert Code(value, scheme, meaning) == code and meaning == code.meaning
    assert origin.REDUCTION[1].startswith("99")


def test_method_version_and_settings_are_said(volume: np.ndarray, tmp_path: Path) -> None:
    for index, image in enumerate(derived(tmp_path, volume)):
        text = image.DerivationDescription
        for part in (
            f"ctmar {ctmar.__version__}",
            "method nmar",
            "above 2500 HU",
            "to 2000 HU",
            "from 1 mm2",
        ):
            assert part in text
        assert [item.CodeValue for item in image.DerivationCodeSequence] == ["113042", "MAR"]
        (scheme,) = image.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == image.DerivationCodeSequence[1].CodingSchemeDesignator
        (source,) = image.SourceImageSequence
        (series,) = image.ReferencedSeriesSequence
        (instance,) = series.ReferencedInstanceSequence
        uid = pydicom.dcmread(tmp_path / "in" / f"image_{index:03d}.dcm").SOPInstanceUID
        assert series.SeriesInstanceUID == SERIES and source.SpatialLocationsPreserved == "YES"
        for item in (source, instance):
            assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (CT_IMAGE, uid)
        (equipment,) = image.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == ("ctmar", ctmar.__version__)
        assert "nmar" in equipment.ContributionDescription
        assert image.ContentDate in equipment.ContributionDateTime
        assert image.Manufacturer == "Test"


def test_references_and_equipment_that_came_stay(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        localizer, own = Dataset(), Dataset()
        for item, series, image in ((localizer, "1.2.9", "1.2.9.1"), (own, SERIES, "1.2.3.4")):
            one = Dataset()
            one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = CT_IMAGE, image
            item.SeriesInstanceUID, item.ReferencedInstanceSequence = series, [one]
        dataset.ReferencedSeriesSequence = [localizer, own]
        scanner, scheme = Dataset(), Dataset()
        scanner.Manufacturer, scheme.CodingSchemeDesignator = "Archive", "99OTHER"
        dataset.ContributingEquipmentSequence = [scanner]
        dataset.CodingSchemeIdentificationSequence = [scheme]

    for image in derived(tmp_path, volume, change):
        first, second = image.ReferencedSeriesSequence
        assert (first.SeriesInstanceUID, len(first.ReferencedInstanceSequence)) == ("1.2.9", 1)
        assert (second.SeriesInstanceUID, len(second.ReferencedInstanceSequence)) == (SERIES, 2)
        assert [one.Manufacturer for one in image.ContributingEquipmentSequence] == ["Archive", "ctmar"]
        schemes = [one.CodingSchemeDesignator for one in image.CodingSchemeIdentificationSequence]
        assert schemes == ["99OTHER", origin.SCHEME]


def test_no_source_is_made_up_where_uids_are_blank(volume: np.ndarray, tmp_path: Path) -> None:
    def blank(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = ""

    for image in derived(tmp_path, volume, blank):
        assert "ReferencedSeriesSequence" not in image and len(image.SourceImageSequence) == 1


def test_an_enhanced_file_says_the_same_of_itself_and_its_frames(volume: np.ndarray, tmp_path: Path) -> None:
    write(enhanced(volume), tmp_path / "in.dcm")
    run(tmp_path / "in.dcm", tmp_path / "out")
    image = pydicom.dcmread(tmp_path / "out" / "ct.dcm")
    assert image.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES
    assert image.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    (window,) = image.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    assert list(window.WindowCenterWidthExplanation) == BOTH and list(window.WindowWidth) == [400, 1500]
    for number, frame in enumerate(image.PerFrameFunctionalGroupsSequence, start=1):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert (source.ReferencedFrameNumber, source.SpatialLocationsPreserved) == (number, "YES")


def test_windows_of_frames_are_added_to_where_they_are(volume: np.ndarray, tmp_path: Path) -> None:
    dataset = enhanced(volume)
    for center, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = center, 100
        frame.FrameVOILUTSequence = [window]
    write(dataset, tmp_path / "in.dcm")
    run(tmp_path / "in.dcm", tmp_path / "out")
    image = pydicom.dcmread(tmp_path / "out" / "ct.dcm")
    assert "FrameVOILUTSequence" not in image.SharedFunctionalGroupsSequence[0]
    for center, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        assert list(frame.FrameVOILUTSequence[0].WindowCenter) == [center, 40, 300]


def test_the_original_windows_come_first(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = [60, 1000], [250, 3000]
        dataset.WindowCenterWidthExplanation = ["ABDOMEN", "OWN"]

    for image in derived(tmp_path, volume, change):
        assert list(image.WindowCenter) == [60, 1000, 40, 300]
        assert list(image.WindowWidth) == [250, 3000, 400, 1500]
        assert list(image.WindowCenterWidthExplanation) == ["ABDOMEN", "OWN", *BOTH]


WINDOWED = {
    "none": (None, None, None, (b"40\\300 ", b"400\\1500", b"SOFT TISSUE\\BONE")),
    "one without a name": (
        b"50",
        b"350",
        None,
        (b"50\\40\\300", b"350\\400\\1500 ", b"\\SOFT TISSUE\\BONE "),
    ),
    "one of ours": (b"40.0", b"4E2 ", b"MINE", (b"40.0\\300", b"4E2\\1500", b"MINE\\BONE ")),
    "bytes of any set": (
        *(b"1 ", b"2 ", b"\xb0\xa1"),
        (b"1\\40\\300", b"2\\400\\1500", b"\xb0\xa1\\SOFT TISSUE\\BONE"),
    ),
    "a centre without a width": (b"1\\2", b"3 ", None, (b"1\\2", b"3 ", None)),
    "no numbers": (b"x ", b"3 ", None, (b"x ", b"3 ", None)),
    "more names than windows": (b"1 ", b"3 ", b"A\\B ", (b"1 ", b"3 ", b"A\\B ")),
}


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_that_are_malformed_stay_as_they_came(name: str) -> None:
    center, width, explanation, expected = WINDOWED[name]
    elements: Elements = {
        tag: Element(vr, value)
        for tag, vr, value in ((CENTER, "DS", center), (WIDTH, "DS", width), (NAMES, "LO", explanation))
        if value is not None
    }
    add_presets(elements)
    assert tuple(
        elements[tag].value.rstrip() if tag in elements else None for tag in (CENTER, WIDTH, NAMES)
    ) == (tuple(value.rstrip() if value is not None else None for value in expected))
    assert all(len(element.value) % 2 == 0 for element in elements.values() if len(element.value) > 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_of_the_patient_comes_into_what_is_added(volume: np.ndarray, tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SeriesDescription, dataset.OperatorsName = "Spine", "Secret^Operator"
        dataset.InstitutionName, dataset.StationName = "SECRET clinic", "SECRET"

    before = derived(tmp_path, volume, change)
    added = (
        *("DerivationDescription", "DerivationCodeSequence", "ContributingEquipmentSequence"),
        *("SourceImageSequence", "ReferencedSeriesSequence", "CodingSchemeIdentificationSequence"),
        *("WindowCenterWidthExplanation", "SeriesDescription"),
    )
    for image in before:
        with warnings.catch_warnings():
            said = " ".join(str(image[keyword]) for keyword in added)
        assert "nmar" in said and not any(word in said for word in ("Secret", "SECRET", "Nobody", "1970"))
    assert not any("secret" in path.name.lower() for path in (tmp_path / "out").iterdir())
