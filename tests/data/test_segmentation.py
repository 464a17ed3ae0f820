"""What a hospital has: the stored image, the metal segmented from it, their projections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ctmar.data.segmentation import reprojected, stored_image, with_segmented_metal
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Scanner, Tube
from ctmar.units import hu_to_mu

GRID, BEAM = ImageGrid((128, 128), 2.8), ParallelBeam(180, 185, 2.8)
RAY = RayTransform(GRID, BEAM)
SCANNER = Scanner(Tube(filtration_mm={"Cu": 0.2}))


def disk(x: float, y: float, radius: float) -> np.ndarray:
    c = (np.arange(256) - 127.5) * 1.4
    distance = np.hypot(c[None, :] - x, -c[:, None] - y)
    return np.clip(0.5 - (distance - radius) / 1.4, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def scan() -> Acquisition:
    """Water with a large piece of steel and a wire that a threshold misses."""
    metal = disk(20, 10, 6) + disk(-60, -20, 0.5)
    fine = RayTransform(GRID.refine(2), BEAM.refine(2))
    hu = 1000 * disk(0, 0, 130) - 1000
    return SCANNER.acquire(hu[None], {"316L": metal[None]}, fine, [np.random.SeedSequence(0)])


def test_the_stored_image_holds_whole_numbers_of_twelve_bits(scan: Acquisition) -> None:
    stored = stored_image(scan.measured, RAY, SCANNER.mu_water, "ram-lak")
    assert torch.equal(stored, stored.round())
    assert stored.min() >= -1024 and stored.max() == 3071


def test_the_trace_is_that_of_the_mask_and_what_it_misses_is_left(scan: Acquisition) -> None:
    stored = stored_image(scan.measured, RAY, SCANNER.mu_water, "ram-lak")
    mask = stored > 2500
    assert 10 < mask.sum() < 30  # 113 mm² on pixels of 7.8 mm²; the wire is not among them
    seen = with_segmented_metal(scan, mask, RAY, SCANNER.trace_epsilon_mm)
    path = RAY.forward(mask.float())
    covered = path > SCANNER.trace_epsilon_mm
    grown = covered.clone()
    grown[..., 1:] |= covered[..., :-1]
    grown[..., :-1] |= covered[..., 1:]
    assert torch.equal(seen.metal_trace, grown)
    assert torch.equal(seen.measured, scan.measured)
    assert torch.equal(seen.clean[~grown], scan.measured[~grown])
    both, missed = grown & scan.metal_trace, scan.metal_trace & ~grown
    assert torch.equal(seen.clean[both], scan.clean[both])
    assert missed.any() and torch.equal(seen.clean[missed], scan.measured[missed])
    assert (seen.metal_path_mm[~grown] == 0).all()


def test_reprojection_shows_the_stored_image_again(scan: Acquisition) -> None:
    stored = stored_image(scan.measured, RAY, SCANNER.mu_water, "ram-lak")
    clean = stored_image(scan.clean, RAY, SCANNER.mu_water, "ram-lak")
    seen = with_segmented_metal(scan, stored > 2500, RAY, SCANNER.trace_epsilon_mm)
    image = reprojected(seen, stored, clean, RAY, SCANNER.mu_water)
    off = ~image.metal_trace
    assert torch.equal(image.measured, RAY.forward(hu_to_mu(stored, SCANNER.mu_water)))
    assert torch.equal(image.clean[off], image.measured[off])
    torch.testing.assert_close(
        image.clean[~off], RAY.forward(hu_to_mu(clean, SCANNER.mu_water))[~off], rtol=0, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("anatomy", ["thorax", "abdomen"])
def test_the_threshold_finds_screws_in_real_ct(
    anatomy: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra import compose, initialize_config_dir

    from ctmar.runs.build import build_simulator
    from ctmar.runs.cli import config_dir

    monkeypatch.setenv("CTMAR_DATA", str(data_dir))
    cases = {}
    for metal in ("scene", "threshold"):
        with initialize_config_dir(str(config_dir().resolve()), version_base="1.3"):
            choices = [f"anatomy={anatomy}", "geometry=medium", f"data.metal={metal}", "data.fills=[]"]
            cfg = compose("train", overrides=[*choices, f"paths.output_dir={tmp_path}"])
        cases[metal] = build_simulator(cfg, 1).case("test", 1)
    true, found = (cases[metal].metal_mask for metal in ("scene", "threshold"))
    dice = 2 * (true & found).sum() / (true.sum() + found.sum())
    trace = cases["scene"].metal_trace
    assert dice > 0.8
    assert (trace & cases["threshold"].metal_trace).sum() > 0.88 * trace.sum()
