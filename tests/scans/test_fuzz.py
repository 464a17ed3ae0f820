"""A part of the fuzzer that is quick enough for every run; all of it by ``python -m tests.scans.fuzz``."""

from pathlib import Path

import pytest

from tests.scans.fuzz import main, one

WITHOUT_JPEG = ("plain", "implicit", "big", "rle", "enhanced")


@pytest.mark.parametrize("first", range(0, 40, 8))
def test_broken_files_end_in_a_whole_output_or_in_one_line(first: int, tmp_path: Path) -> None:
    results = []
    for seed in range(first, first + 8):
        (tmp_path / str(seed)).mkdir()
        results.append(one(seed, tmp_path / str(seed), WITHOUT_JPEG))
    assert set(results) == {"whole", "refused"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_thousand_broken_files() -> None:
    pytest.importorskip("jpeg_ls", reason="pyjpegls, which would write JPEG-LS, is not installed")
    assert main(1000) == 0
