"""A spine of simple solids whose pedicles are known."""

import pytest
from toy_spine import make_spine

from ctmar.anatomy import Anatomy


@pytest.fixture(scope="session")
def toy_spine() -> Anatomy:
    return make_spine()
