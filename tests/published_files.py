"""Mock files of published sets, with the layout and the geometry of the real ones."""

import math
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

DISKS = [(0.0, 0.0, 5.0, 0.19), (2.2, -1.4, 1.1, 0.1), (-2.5, -1.0, 0.8, -0.1), (0.5, 3.0, 0.6, 0.2)]
"""x, y and radius in cm of the set's small world, and attenuation in 1/cm."""
METAL = (2.2, -1.4, 0.35, 2.0)


def file_image(disks: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Disks as ODL lays an image out: the first index runs along x, the second along y."""
    at = (np.arange(416) - 207.5) * 15.36 / 416
    x, y = at[:, None], at[None, :]
    return sum(mu * ((x - cx) ** 2 + (y - cy) ** 2 < r**2) for cx, cy, r, mu in disks).astype(np.float32)


def file_sinogram(disks: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Their line integrals in ODL's fan, by closed form: views and bins in the middles of equal parts."""
    radius, width = 1075 * 15.36 / 416, 2 * math.hypot(15.36, 15.36)
    beta = (np.arange(640)[:, None] + 0.5) * 2 * math.pi / 640
    gamma = np.arctan((np.arange(641) - 320) * width / 641 / (2 * radius))
    theta, s = beta - gamma, radius * np.sin(gamma)
    chords = (
        2 * mu * np.sqrt(np.clip(r**2 - (s - cx * np.cos(theta) - cy * np.sin(theta)) ** 2, 0, None))
        for cx, cy, r, mu in disks
    )
    return sum(chords, np.zeros(1)).astype(np.float32)


@lru_cache(maxsize=1)
def fields() -> dict[str, dict[str, np.ndarray]]:
    """The fields of a slice's two files, of disks; as they are in all of a process's tests."""
    trace = file_sinogram([METAL]) > 0
    sinogram = file_sinogram(DISKS)
    image = file_image(DISKS)
    gt = {"image": image, "poly_CT": image + 0.0192, "poly_sinogram": sinogram}
    metal = {"ma_CT": file_image([*DISKS, METAL]), "LI_CT": image * 1.1}
    metal |= {"ma_sinogram": file_sinogram([*DISKS, METAL]), "LI_sinogram": np.where(trace, 2.5, sinogram)}
    return {"gt.h5": gt, "4.h5": metal | {"metal_trace": trace.astype(np.uint8)}}


def write_slice(
    root: Path, part: str = "train", images_alone: bool = False, patient: str = "000001_03_01"
) -> Path:
    """A slice of Synthesised DeepLesion under ``root``; its folder."""
    folder = root / f"{part}_640geo" / patient / "113"
    folder.mkdir(parents=True)
    for name, values in fields().items():
        with h5py.File(folder / name, "w") as file:
            for field, array in values.items():
                if not images_alone or array.shape == (416, 416):
                    file[field] = array
    return folder


Disk = tuple[float, float, float, float]
"""x and y (up) of the centre and the radius in mm, attenuation in 1/mm."""
BODY: tuple[Disk, ...] = (
    (0, 0, 130, 0.0195),
    (57, -36, 29, 0.01),
    (-65, -26, 21, -0.01),
    (13, 78, 16, 0.005),
    (-20, 95, 3, 0.012),
)
PIN: Disk = (57, -36, 6, 0.2)


@lru_cache(maxsize=16)
def image_of(disks: tuple[Disk, ...], pixels: int, pixel_mm: float, axis: float) -> np.ndarray:
    """Disks on pixels of 2 × 2 samples, 1/mm; the axis of rotation lies at row and column ``axis``."""
    at = (np.arange(2 * pixels) / 2 - 0.25 - axis) * pixel_mm
    x, y = at[None, :], -at[:, None]
    fine = np.zeros((2 * pixels, 2 * pixels), np.float32)
    for cx, cy, r, mu in disks:
        fine += np.float32(mu) * ((x - cx) ** 2 + (y - cy) ** 2 < r**2)
    return fine.reshape(pixels, 2, pixels, 2).mean((1, 3))


def lines_of(disks: tuple[Disk, ...], theta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Line integrals of disks by closed form, along the lines ``x cos θ + y sin θ = s``."""
    chords = (
        2 * mu * np.sqrt(np.clip(r**2 - (s - cx * np.cos(theta) - cy * np.sin(theta)) ** 2, 0, None))
        for cx, cy, r, mu in disks
    )
    return sum(chords, np.zeros(1)).astype(np.float32)


CNNMAR_AXIS = 255
"""Row and column that MATLAB's fanbeam turns about: ``floor((512 + 1) / 2)``, counted from 1."""


def write_cnnmar(
    root: Path, name: str = "sample_1", bins: int = 1025, projections: bool = True, hdf5: bool = False
) -> Path:
    """A file of CNN-MAR's, its sinogram in MATLAB's fan (``para2fan``: θ = β - γ, t = D sin γ)."""

    def per_cm(disks: tuple[Disk, ...]) -> np.ndarray:
        return (10 * image_of(disks, 512, 0.8, CNNMAR_AXIS)).astype(np.float32)

    beta = np.arange(984) * 2 * math.pi / 984
    gamma = (np.arange(bins) - (bins - 1) / 2)[:, None] * 0.001
    held = {"imRaw": per_cm((*BODY, PIN)), "imRef": per_cm(BODY)}
    held |= {"metalBW": image_of((PIN,), 512, 0.8, CNNMAR_AXIS) > 0.1}
    if projections:
        held |= {"proj": lines_of((*BODY, PIN), beta - gamma, 595 * np.sin(gamma))}
    else:
        held |= {"imLI": held["imRef"] * np.float32(1.1), "imBHC": held["imRaw"] * np.float32(0.95)}
    file = root / f"{name}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    if hdf5:  # as version 7.3 has it, axes the other way round
        with h5py.File(file, "w") as into:
            for field, values in held.items():
                into[f"imData/{field}"] = (values.astype(np.uint8) if values.dtype == bool else values).T
    else:
        savemat(file, {"imData": held}, do_compression=True)
    return file


ADN_PIXEL_MM = 400 / 256


def write_adn(
    root: Path, scan: str = "000001_03_01", slice_: str = "113", metals: tuple[int, ...] = (1, 2)
) -> Path:
    """A slice of ADN's DeepLesion under ``root``, a part such as ``test``; its folder."""
    folder = root / scan / slice_
    folder.mkdir(parents=True)
    clean, metal = (image_of(disks, 256, ADN_PIXEL_MM, 127.5) for disks in (BODY, (PIN,)))
    stored = np.round((clean / 0.0192 - 1) * 1000 + 32768).astype(np.uint16)
    stored[:3] -= 400  # padding below air
    savemat(folder / "gt.mat", {"image": stored})
    for number in metals:
        with_metal = 10 * (1.02 * clean + metal * number)
        savemat(folder / f"{number}.mat", {"image": with_metal.T.astype(np.float32)})
    return folder


def write_adn_masks(root: Path) -> np.ndarray:
    """``metal_masks/SampleMasks.mat``: of the first two metals of the test part a square each; the masks."""
    masks = np.zeros((512, 512, 100), np.uint8)
    masks[320:352, 312:344, 0] = masks[100:140, 200:220, 1] = masks[20:30, 30:50, 2] = 1
    (root / "metal_masks").mkdir(parents=True)
    savemat(root / "metal_masks" / "SampleMasks.mat", {"CT_samples_bwMetal": masks}, do_compression=True)
    return masks


AAPM_WATER = 0.02


def write_aapm(
    root: Path, number: int = 7, sinograms: bool = True, region: str = "body", part: str = "training"
) -> None:
    """A case of AAPM CT-MAR under ``root``, its sinograms as XCIST stores them."""
    pixel = {"body": 400 / 512, "head": 220.16 / 512}[region]
    scale = {"body": 1.0, "head": 0.55}[region]
    body, pin = (tuple((x * scale, y * scale, r * scale, mu) for x, y, r, mu in d) for d in (BODY, (PIN,)))
    # The source above, source and cells turning against the clock; cells from -449.5 - 1.25 on, 950 mm away.
    beta = np.arange(1000)[:, None] * 2 * math.pi / 1000
    alpha = (np.arange(900) - 449.5 - 1.25) / 950
    for folder, what, disks in (("Baseline", "metalart", (*body, *pin)), ("Target", "nometal", body)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        hu = (image_of(disks, 512, pixel, 255.5) / AAPM_WATER - 1) * 1000
        if what == "metalart":
            hu += 40 * np.sin(np.arange(512) / 9) * (hu > -500)  # streaks
        hu.astype("<f4").tofile(root / folder / f"{part}_{region}_{what}_img{number}_512x512x1.raw")
        if sinograms:
            lines = lines_of(disks, beta + alpha, 550 * np.sin(alpha))
            lines.astype("<f4").tofile(root / folder / f"{part}_{region}_{what}_sino{number}_900x1000.raw")
    (root / "Mask").mkdir(parents=True, exist_ok=True)
    mask = image_of(((*pin[0][:3], 1.0),), 512, pixel, 255.5) > 0.25
    mask.astype("<f4").tofile(root / "Mask" / f"{part}_{region}_metalonlymask_img{number}_512x512x1.raw")
