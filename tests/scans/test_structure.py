"""A part of the structural fuzzer that is quick enough; all of it by ``python -m tests.scans.structure``."""

from pathlib import Path

import pytest

from tests.scans.structure import MUTATIONS, main, one


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(0, len(MUTATIONS), 3))
def test_some_odd_studies_come_out_right(seed: int, tmp_path: Path) -> None:
    assert one(seed, tmp_path) in ("whole", "refused")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_hundred_odd_studies_come_out_right() -> None:
    assert main(100, 1000) == 0
