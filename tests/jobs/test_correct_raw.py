"""Raw data in, a corrected image out."""

import math
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ctmar.clinical.raw import RawGeometry, correct_sinogram, raw_scan
from ctmar.config.composing import searching
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.jobs.arguments import parse
from ctmar.jobs.correct import run
from ctmar.jobs.correct_raw import geometry_named
from ctmar.methods import LI, NMAR
from ctmar.pairs.published import read_raw
from tests.tiny_runs import CONFIGS

GRID = ImageGrid((96, 96), 2.0)
FAN = FanBeam(360, 241, 2.0, 500.0, 400.0, "arc", 2.5, start_rad=math.pi, mirrored=True)
BEAM = ParallelBeam(180, 273, 1.0)
GEOMETRY = RawGeometry(GRID, BEAM, FAN)
BODY = [(0.0, 0.0, 80.0, 0.02), (20.0, 30.0, 12.0, 0.012), (-40.0, -10.0, 9.0, -0.019)]
METAL = [(-12.0, 26.0, 6.0, 0.6), (24.0, -14.0, 6.0, 0.6)]
"""x, y (up) and radius in mm, and attenuation in 1/mm."""
YAML = """
grid: {_target_: ctmar.geometry.ImageGrid, shape: [96, 96], spacing_mm: 2.0}
beam: {_target_: ctmar.geometry.ParallelBeam, num_angles: 180, det_count: 137, det_spacing_mm: 2.0}
acquisition:
  _target_: ctmar.geometry.FanBeam
  num_angles: 360
  det_count: 241
  det_spacing_mm: 2.0
  src_radius_mm: 500.0
  det_radius_mm: 400.0
  detector: arc
  det_offset_mm: 2.5
  start_rad: 3.14159265358979
  mirrored: true
"""


def sinogram(fan: FanBeam, metal: bool) -> torch.Tensor:
    """Line integrals of disks by closed form; behind metal they level off, as hardened beams do."""
    theta, s = fan.theta[:, None] - fan.gamma, fan.src_radius_mm * np.sin(fan.gamma)

    def chord(x: float, y: float, r: float, mu: float) -> np.ndarray:
        return 2 * mu * np.sqrt(np.clip(r**2 - (s - x * np.cos(theta) - y * np.sin(theta)) ** 2, 0, None))

    body = sum(chord(*disk) for disk in BODY)
    through = sum(chord(*disk) for disk in METAL) if metal else np.zeros_like(body)
    return torch.from_numpy(body + 3 * (1 - np.exp(-through / 3))).float()


def image_hu() -> np.ndarray:
    rows, columns = np.mgrid[:96, :96]
    x, y = (columns - 47.5) * 2, -(rows - 47.5) * 2
    return sum(1000 * mu / 0.02 * ((x - cx) ** 2 + (y - cy) ** 2 < r**2) for cx, cy, r, mu in BODY) - 1000


def around(r: float) -> np.ndarray:
    """Within so many mm of the metal's centres."""
    rows, columns = np.mgrid[:96, :96]
    x, y = (columns - 47.5) * 2, -(rows - 47.5) * 2
    return np.any([np.hypot(x - cx, y - cy) < r for cx, cy, _, _ in METAL], axis=0)


def rms(image: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - image_hu())[where] ** 2)))


def test_metal_is_found_and_its_rays_are_completed() -> None:
    found = correct_sinogram(sinogram(FAN, True), GEOMETRY, NMAR())
    metal, near = found.metal_mask.numpy(), around(30) & ~around(10)
    assert 2 * (metal & around(6)).sum() / (metal.sum() + around(6).sum()) > 0.85
    assert rms(found.image_hu.numpy(), near) < rms(found.uncorrected_hu.numpy(), near) / 2
    assert torch.equal(found.image_hu[found.metal_mask], found.uncorrected_hu[found.metal_mask])
    scan = raw_scan(sinogram(FAN, True), GEOMETRY)
    clean = raw_scan(sinogram(FAN, False), GEOMETRY)
    off = ~scan.metal_trace
    assert not clean.metal_trace.any()
    assert float((scan.measured - clean.measured)[off].abs().max()) < 0.02


def test_without_metal_nothing_changes_and_other_shapes_are_refused() -> None:
    found = correct_sinogram(sinogram(FAN, False), GEOMETRY, LI())
    assert not found.metal_mask.any() and torch.equal(found.image_hu, found.uncorrected_hu)
    with pytest.raises(CtmarError, match=r"must be \(360, 241\), got \(241, 360\)"):
        correct_sinogram(sinogram(FAN, False).T, GEOMETRY, LI())


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with a geometry of the name ``bench``."""
    (tmp_path / "mine" / "geometry").mkdir(parents=True)
    (tmp_path / "mine" / "geometry" / "bench.yaml").write_text(YAML, encoding="utf-8")
    return tmp_path / "mine"


def correct(own: Path, *arguments: str) -> None:
    with searching([own]):
        run(parse("correct", [*arguments, "--quiet"]))


def test_the_command_writes_a_volume_of_a_user_s_geometry(own: Path, tmp_path: Path) -> None:
    stack = torch.stack([sinogram(FAN, False), sinogram(FAN, True)])
    file = tmp_path / "scan_241x360x2.raw"
    stack.numpy().astype("<f4").tofile(file)
    out = tmp_path / "out.nii.gz"
    given = [str(file), str(out), "--geometry", "bench", "--slice-mm", "3", "--method", "li"]
    correct(own, *given)
    image = sitk.ReadImage(str(out))
    assert image.GetSpacing() == (2.0, 2.0, 3.0) and image.GetOrigin() == (-95.0, -95.0, -1.5)
    slices = sitk.GetArrayFromImage(image)
    with searching([own]):
        geometry = geometry_named("bench")
    wanted = [correct_sinogram(one, geometry, LI()).image_hu.numpy() for one in stack]
    np.testing.assert_array_equal(slices, np.stack(wanted))
    assert rms(slices[0], image_hu() > -2000) < 80  # upright, and not mirrored
    np.save(tmp_path / "scan.npy", stack.numpy())
    correct(own, str(tmp_path / "scan.npy"), *given[1:], "--overwrite")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out))), slices)


def test_what_cannot_be_corrected_is_one_line(own: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "scan.raw", str(tmp_path / "out.nii")
    sinogram(FAN, True).numpy().astype("<f4").tofile(file)
    wrong = [
        ([str(file), out, "--geometry", "nothing"], "--geometry must be one of .*bench.*, got 'nothing'"),
        ([str(file), out, "--geometry", "tiny"], "must hold .* bytes, float32 of"),
        ([str(file), out, "--geometry", "bench", "--also", "seg"], "--also needs a reconstructed scan"),
        ([str(file), str(tmp_path / "out"), "--geometry", "bench"], "the output must be a volume file"),
        ([str(own), out, "--geometry", "bench"], "the input must be a file of sinograms"),
        ([str(file), out, "--geometry", "bench", "--mu-water", "0"], "--mu-water must be positive, got 0"),
        ([str(file), out, "--geometry", "bench,acquisition.num_angles=180"], "must hold|must be"),
    ]
    for given, match in wrong:
        with pytest.raises(CtmarError, match=match):
            correct(own, *given)
    assert not Path(out).exists()
    helix = (CONFIGS / "geometry" / "acquisition" / "helical.yaml").read_text(encoding="utf-8")
    helix = YAML.partition("acquisition:")[0] + "acquisition:\n" + indent(helix, "  ")
    (own / "geometry" / "helix.yaml").write_text(helix, encoding="utf-8")
    with pytest.raises(CtmarError, match="must be of parallel beams or a fan, got a HelicalScan"):
        correct(own, str(file), out, "--geometry", "helix")


def test_xcist_s_sinogram_becomes_xcist_s_image(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "xcist_pair"
    if not folder.is_dir():
        pytest.skip("no pair of XCIST's: CTMAR_DATA has no xcist_pair")
    out = tmp_path / "out.nii.gz"
    given = [str(folder / "out.prep"), str(out), "--geometry", "aapm,acquisition.det_offset_mm=0"]
    run(parse("correct", [*given, "--threshold", "3000", "--quiet"]))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))[0]
    wanted = read_raw(folder / "out_512x512x1.raw")
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
    assert float(np.sqrt(np.mean((found - wanted) ** 2))) < 35
