"""Long files of tests come first, and pytest-xdist gives them out in that order."""

from pathlib import Path

import pytest

from tests.conftest import LONGEST, pytest_collection_modifyitems


class Item:
    def __init__(self, path: Path) -> None:
        self.path = path


def test_the_longest_come_first_and_the_rest_as_it_was(request: pytest.FixtureRequest) -> None:
    folder = Path(__file__).parent
    paths = [folder / f"{name}.py" for name in ("test_case", *reversed(LONGEST), "test_geometry")]
    assert all(path.is_file() for path in paths)
    items = [Item(path) for path in paths]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert [item.path for item in items] == [*reversed(paths[1:-1]), paths[0], paths[-1]]
    assert request.config.option.loadscopereorder is False
