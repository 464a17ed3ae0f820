"""What of bright pixels is metal, and what a corrected image shows of it."""

import pytest
import torch
from torch import Tensor

from ctmar.stored import occupied as module
from ctmar.stored.occupied import HEAVY_HU, LIGHT_HU, occupied, raised, with_borders

SPACING_MM = 0.7


def seen(monkeypatch: pytest.MonkeyPatch, share: Tensor, heavy: float = 0.0) -> None:
    """Makes the network see such a share."""
    answer = torch.stack([share, torch.full_like(share, heavy)])
    monkeypatch.setattr(module, "seen_metal", lambda image, bright, spacing: torch.where(bright, answer, 0.0))


def blocks(*places: tuple[slice, slice]) -> Tensor:
    out = torch.zeros(60, 60)
    for place in places:
        out[place] = 1.0
    return out


STREAKED = torch.zeros(60, 60)
STREAKED[::4] = -400.0
LARGE, PIECE = (slice(5, 15), slice(5, 15)), (slice(40, 44), slice(40, 44))


def test_a_piece_that_looks_like_no_metal_is_a_streak_beside_a_screw(monkeypatch: pytest.MonkeyPatch) -> None:
    bright = blocks(LARGE, PIECE) > 0
    seen(monkeypatch, blocks(LARGE))  # 100 pixels, 49 mm²
    share, added = occupied(STREAKED, bright, SPACING_MM)
    assert torch.equal(share, blocks(LARGE)) and torch.equal(added, LIGHT_HU * share)


def test_where_nothing_dark_is_around_all_that_is_bright_is_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    bright = blocks(LARGE, PIECE) > 0
    seen(monkeypatch, blocks(LARGE))
    share, _ = occupied(torch.zeros(60, 60), bright, SPACING_MM)
    assert torch.equal(share, bright.float())


def test_a_lower_ceiling_stands_for_that_of_twelve_bits() -> None:
    image, bright = torch.full((9, 9), 40.0), torch.zeros(9, 9, dtype=torch.bool)
    bright[3:6, 3:6] = True
    image[3:6, 3:6] = 2047.0
    image[3, 3] = 1900.0
    found = raised(image, bright)
    assert found[3, 3] == 1900 and (found[bright] == 3071).sum() == 8 and (found[~bright] == 40).all()
    assert torch.equal(raised(3 * image, bright), 3 * image)  # 6141 HU is no lower ceiling


def test_beside_less_than_that_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    few = (slice(5, 10), slice(5, 10))  # 12 mm²
    bright = blocks(few, PIECE) > 0
    seen(monkeypatch, blocks(few), heavy=1.0)
    share, added = occupied(STREAKED, bright, SPACING_MM)
    assert torch.equal(share, blocks(few, PIECE)) and torch.equal(added, HEAVY_HU * share)


def test_a_hole_that_is_bright_is_filled_and_one_that_is_dark_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bright = blocks(LARGE) > 0
    bright[7, 7] = False
    looks = blocks(LARGE)
    looks[10, 10] = 0.0
    seen(monkeypatch, looks)
    share, _ = occupied(STREAKED, bright, SPACING_MM)
    assert share[10, 10] == 0.5 and share[7, 7] == 0


def test_borders_show_metals_part_and_nothing_is_brighter_than_it_was() -> None:
    stored, corrected = torch.full((1, 9, 9), 3071.0), torch.full((1, 9, 9), 50.0)
    share = torch.zeros(1, 9, 9)
    share[0, 3:6, 3:6] = 1.0
    share[0, 4, 6], share[0, 4, 2], share[0, 0, 0] = 0.2, 0.45, 0.05
    share[0, 3, 8] = 0.3  # a doubt: it is of the piece in the middle, two pixels off
    share[0, 3, 7], share[0, 3, 6] = 0.1, 0.1
    shown = with_borders(corrected, stored, share, LIGHT_HU * share)[0]
    assert shown[4, 6] == 50 + 0.2 * LIGHT_HU and shown[4, 2] == 3071
    assert shown[0, 0] == 50 and shown[3, 8] == 50 and shown[4, 4] == 50
    # A piece of its own that is nowhere mostly metal is shown whole.
    alone = torch.zeros(1, 9, 9)
    alone[0, 2, 2] = 0.3
    assert with_borders(corrected, stored, alone, LIGHT_HU * alone)[0, 2, 2] == 50 + 0.3 * LIGHT_HU
