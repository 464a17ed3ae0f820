"""The chest with a rod and a lesion: everything lies where it is said to lie."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ctmar.anatomy.masks import body_mask
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.phantoms.chest import CENTER_MM, LUNG_HU, TRABECULAR_HU, ChestPhantom, build_chest
from ctmar.phantoms.torso import FAT_HU, MUSCLE_HU
from ctmar.physics import Noise, Scanner
from ctmar.scenes.spinal_rod import SpinalRod

GRID = ImageGrid((512, 512), 0.7)
CHEST, SLICES = ChestPhantom().pick("test", 0)


def cut(generator: SpinalRod, seed: int = 0):  # type: ignore[no-untyped-def]
    return generator.sample(CHEST, SLICES, np.random.default_rng(seed)).slices([0], GRID)


def center_mm(mask: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) from the middle of the grid."""
    row, column = ndimage.center_of_mass(mask)
    return (np.array([column, row]) - (GRID.shape[0] - 1) / 2) * GRID.spacing_mm


def lesion(generator: SpinalRod, seed: int = 0) -> np.ndarray:
    return cut(generator, seed).hu[0] - cut(replace(generator, contrast_hu=0.0), seed).hu[0]


def test_the_chest_holds_its_tissues_and_is_as_large_as_it_says() -> None:
    hu = build_chest().hu[0]
    x, y = (math.ceil(middle) for middle in CENTER_MM)
    for place, wanted in (
        ((y + 42, x), TRABECULAR_HU),
        ((y, x + 75), LUNG_HU),
        ((y + 76, x - 30), MUSCLE_HU),
        ((y, x - 147), FAT_HU),
        ((0, 0), -1000.0),
    ):
        assert hu[place] == pytest.approx(wanted)
    assert body_mask(hu).sum() == pytest.approx(np.pi * 150 * 100, rel=0.01)
    assert np.array_equal(hu, hu[:, ::-1])


@pytest.mark.parametrize("seed", range(4))
def test_the_lesion_lies_where_it_is_kept_with_its_size_and_contrast(seed: int) -> None:
    generator = SpinalRod(contrast_hu=20.0, lesion_at_mm=(-29.75, 76.65))
    added = lesion(generator, seed)
    np.testing.assert_allclose(center_mm(added), (-29.75, 76.65), atol=0.02)
    assert added.max() == pytest.approx(20.0, abs=1e-3) and added.min() == 0.0
    assert added.sum() * GRID.spacing_mm**2 == pytest.approx(20 * np.pi * 16, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_the_rod_lies_beside_it_and_its_bearing_varies(seed: int) -> None:
    generator = SpinalRod(contrast_hu=20.0, lesion_at_mm=(-30.0, 76.0))
    metal = cut(generator, seed).metal["Ti-6Al-4V"][0]
    assert metal.sum() * GRID.spacing_mm**2 == pytest.approx(np.pi * 2.75**2, rel=0.02)
    away = center_mm(metal) - (-30.0, 76.0)
    assert np.hypot(*away) == pytest.approx(12.0, abs=0.03)
    other = center_mm(cut(generator, seed + 10).metal["Ti-6Al-4V"][0])
    assert np.hypot(*(other - center_mm(metal))) > 0.1


def test_present_and_absent_differ_by_the_lesion_alone() -> None:
    generator = SpinalRod(contrast_hu=-30.0)
    present, absent = cut(generator, 3), cut(replace(generator, contrast_hu=0.0), 3)
    changed = present.hu[0] != absent.hu[0]
    # Its area, and the pixels that its edge cuts.
    assert np.pi * 4**2 < changed.sum() * GRID.spacing_mm**2 < np.pi * 5**2
    assert np.array_equal(present.metal["Ti-6Al-4V"], absent.metal["Ti-6Al-4V"])


def test_without_a_place_of_its_own_the_patient_lies_in_the_middle() -> None:
    generator = SpinalRod(contrast_hu=20.0, max_bearing_deg=0.0, max_rotation_deg=0.0)
    np.testing.assert_allclose(center_mm(lesion(generator)), generator.usual_mm(), atol=0.02)


def test_lesions_lie_in_muscle_wherever_they_are_drawn() -> None:
    for bearing in (-30.0, 0.0, 30.0):
        at = np.radians(bearing)
        x, y = -18 - 12 * np.cos(at), 76 + 12 * np.sin(at)
        columns, rows = np.meshgrid(*map(np.arange, CHEST.hu.shape[:0:-1]))
        disc = np.hypot(columns - CENTER_MM[0] - x, rows - CENTER_MM[1] - y) <= 5
        assert np.unique(CHEST.hu[0][disc]) == pytest.approx([MUSCLE_HU])


@pytest.mark.parametrize(
    "given,match",
    [
        ({"distance_mm": 6.0}, "distance_mm must keep rod and lesion apart: above 6.75, got 6.0"),
        ({"contrast_hu": float("nan")}, "contrast_hu must be finite, got nan"),
        ({"rod_radius_mm": 0.0}, "rod_radius_mm must be positive, got 0.0"),
        ({"lesion_at_mm": (1.0,)}, r"lesion_at_mm \(x, y\) or empty, got \(-18.0, 76.0\) and \(1.0,\)"),
        ({"max_bearing_deg": -1.0}, "max_bearing_deg must be 0 or more, got -1.0"),
    ],
)
def test_what_cannot_be_is_refused(given: dict, match: str) -> None:
    with pytest.raises(CtmarError, match=match):
        SpinalRod(**given)


def test_a_lesion_outside_the_volume_is_refused() -> None:
    with pytest.raises(CtmarError, match="the lesion must lie in chest, got"):
        cut(SpinalRod(contrast_hu=10.0, rod_at_mm=(-300.0, 0.0)))


def test_the_lesion_shows_in_the_reconstruction_and_is_as_bright_as_it_is() -> None:
    scanner = Scanner(noise=Noise(photons_per_ray=None))
    grid, beam = ImageGrid((128, 128), 2.8), ParallelBeam(180, 185, 2.8)
    images = []
    for contrast_hu in (50.0, 0.0):
        generator = SpinalRod(contrast_hu=contrast_hu, lesion_radius_mm=6.0, lesion_at_mm=(-29.4, 77.0))
        made = Simulator(ChestPhantom(), generator, scanner, grid, beam, slices=1).case("test", 1)
        images.append(made.truth.reference_hu[0, 0].numpy())
    added = images[0] - images[1]
    at = np.array([77.0, -29.4]) / 2.8 + 63.5  # (row, column), both whole
    np.testing.assert_allclose(ndimage.center_of_mass(added > 25), at, atol=0.1)
    distance = np.hypot(*(np.indices(added.shape) - at[:, None, None]))
    assert added[distance < 1.5].mean() == pytest.approx(50.0, rel=0.1)
    assert abs(added[distance > 8]).max() < 3.0
