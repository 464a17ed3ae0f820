"""Whether voxels are in HU, for files and for arrays."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ctmar.clinical import correct
from ctmar.errors import CtmarError
from ctmar.stored.scale import Scale
from tests.stored_images import SPACING_MM, body

Change = Callable[[np.ndarray], np.ndarray]


def noisy(seed: int = 0) -> np.ndarray:
    return body() + np.random.default_rng(seed).normal(0, 12, body().shape)


def padded(image: np.ndarray, value: float = -2000, spread: float = 0) -> np.ndarray:
    out = image.copy()
    y, x = np.indices(image.shape) - (len(image) - 1) / 2
    outside = np.hypot(x, y) > 54
    out[outside] = value + np.random.default_rng(1).normal(0, spread, outside.sum())
    return out


ACCEPTED: dict[str, Change] = {
    "as it is": lambda image: image,
    "without noise": lambda image: np.where(image < -500, -1000, 40),
    "without noise, cut off": lambda image: np.where(image < -500, -1024, 40),
    "cut off at the bottom": lambda image: image.clip(-1024, None),
    "padded": padded,
    "padded and blurred": lambda image: padded(image, spread=20),
    "padded far below": lambda image: padded(image, -3024),
    "fat and nothing darker": lambda image: np.where(image < -500, -250, image),
    "bone in air": lambda image: np.where(image > -500, image + 1100, image),
    "with streaks": lambda image: np.where(np.arange(112) % 17 == 0, -1700, image),
}
REFUSED: dict[str, Change] = {
    "stored values": lambda image: (image + 1024).clip(0, 4095),
    "an offset twice": lambda image: image - 1024,
    "an offset of 1000 twice": lambda image: image - 1000,
    "no offset, padded": lambda image: padded(image + 1024),
    "no offset, a few below": lambda image: np.where(np.arange(112) % 50 == 0, -300, image + 1024),
    "attenuation": lambda image: (image / 1000 + 1) * 0.02,
    "nothing but one value": np.zeros_like,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_in_hu_is_taken(name: str) -> None:
    scale = Scale()
    scale.add(ACCEPTED[name](noisy()))
    scale.check()


@pytest.mark.parametrize("name", REFUSED)
def test_another_scale_is_refused(name: str) -> None:
    scale = Scale()
    scale.add(REFUSED[name](noisy()))
    with pytest.raises(CtmarError, match="must be in HU"):
        scale.check()


def test_padding_is_no_voxel() -> None:
    scale = Scale()
    scale.add(padded(body()))
    assert scale.lowest == -1000
    scale.add(np.full((20, 20), -4096.0))
    scale.check()
    assert scale.lowest == -1000


def test_arrays_are_held_to_it_too() -> None:
    with pytest.raises(CtmarError, match="must be in HU"):
        correct(noisy()[None] + 1024, (SPACING_MM, SPACING_MM, 2.0))


def test_a_volume_may_be_lists_or_a_tensor(with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    volume, spacing = with_rods[0][None], (SPACING_MM, SPACING_MM, 2.0)
    expected = correct(volume, spacing, method="li")
    assert not np.array_equal(expected, volume)
    for same in (volume.tolist(), torch.from_numpy(volume), torch.from_numpy(volume).requires_grad_()):
        assert np.array_equal(correct(same, spacing, method="li"), expected)
    assert np.array_equal(volume, with_rods[0][None])


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ("text", "array of real numbers"),
        ([[[1, 2], [3]]], "array of real numbers"),
        (np.zeros((2, 2, 2), complex), "array of real numbers"),
        (np.zeros((2, 2)), "slice, row and column"),
        (np.zeros((0, 2, 2)), "slice, row and column"),
        (np.full((1, 8, 8), np.nan), "finite"),
    ],
)
def test_what_is_no_volume_is_refused(volume: object, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        correct(volume, (1.0, 1.0, 1.0))  # type: ignore[arg-type]


def test_a_spacing_is_of_three_axes() -> None:
    with pytest.raises(CtmarError, match="x, y and z"):
        correct(noisy()[None], (1.0, 1.0))  # type: ignore[arg-type]
