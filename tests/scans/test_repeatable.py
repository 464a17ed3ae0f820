"""UIDs of a derived series: new ones each time, or such as follow from its source."""

from pathlib import Path

import numpy as np
import pytest

from tests.scans.dicom_maker import write_series
from tests.scans.test_dicom import run
from tests.scans.test_dicom_series import setting, written
from tests.stored_images import body

Uids = list[tuple[str, str]]


def uids(folder: Path, output: Path, repeatable: bool = True) -> Uids:
    run(folder, output, repeatable=repeatable)
    return [(one.SeriesInstanceUID, one.SOPInstanceUID) for one in written(output)]


@pytest.mark.parametrize("repeatable", [True, False])
def test_the_same_correction_has_the_same_uids_where_asked_for(repeatable: bool, tmp_path: Path) -> None:
    write_series(tmp_path / "in", np.stack([body(), body() + 1]))
    first, second = (uids(tmp_path / "in", tmp_path / name, repeatable) for name in "ab")
    assert (first == second) is repeatable
    assert len(set(first)) == 2 and len({series for series, _ in first}) == 1
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for pair in first for uid in pair)


def test_another_source_has_others(tmp_path: Path) -> None:
    write_series(tmp_path / "a in", body()[None])
    write_series(tmp_path / "b in", body()[None], setting(SeriesInstanceUID="1.2.3"))
    a, b = (uids(tmp_path / f"{name} in", tmp_path / name) for name in "ab")
    assert a[0][0] != b[0][0] and a[0][1] != b[0][1]


@pytest.mark.parametrize("blank", ["SOPInstanceUID", "SeriesInstanceUID"])
def test_slices_that_share_a_uid_or_have_none_still_differ(blank: str, tmp_path: Path) -> None:
    for value in ("", "1.2.3.4"):
        write_series(tmp_path / "in", np.stack([body(), body() + 1]), setting(**{blank: value}))
        found = uids(tmp_path / "in", tmp_path / f"out {value}")
        assert len({instance for _, instance in found}) == 2
