"""Materials, implants, bodies and effects of the scanner from a user's folder: one Python file, one YAML."""

import math
from pathlib import Path

import numpy as np
import pytest
import xraydb

from tests.outside.folder import ANY_METAL, NETWORK, NO_NOISE, cases, done, refused, simulated, write

pytestmark = pytest.mark.slow
CONFIGS = "--config-dir=configs"

EFFECTS = """
from dataclasses import dataclass

import torch

from ctmar.physics import Rays


@dataclass
class Tilt:
    per_mm: float = 0.0

    def __call__(self, x, rays: Rays, random):
        return x + self.per_mm * torch.from_numpy(rays.positions_mm).to(x)


class Half:
    def __call__(self, x, rays, random):
        return x / 2
"""
TILTED = """
defaults: [standard, _self_]
after_log:
  - {_target_: mine.Tilt, per_mm: 0.002}
"""
HALVED = """
defaults: [standard, _self_]
before_log:
  - _target_: mine.Half
"""


def test_an_effect_after_the_logarithm_shifts_line_integrals(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": EFFECTS, "configs/scanner/tilted.yaml": TILTED})
    plain, tilted = simulated(tmp_path, "plain"), simulated(tmp_path, "tilted", "scanner=tilted")
    shift = 0.002 * 5.6 * (np.arange(93) - 46)
    np.testing.assert_allclose(
        tilted["measured"] - plain["measured"], np.broadcast_to(shift, (1, 48, 93)), atol=2e-6
    )
    assert np.abs(shift).max() > 0.5 and np.array_equal(tilted["metal_trace"], plain["metal_trace"])


def test_an_effect_before_the_logarithm_takes_half_the_light(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": EFFECTS, "configs/scanner/halved.yaml": HALVED})
    plain = simulated(tmp_path, "plain", *NO_NOISE)
    halved = simulated(tmp_path, "halved", "scanner=halved", *NO_NOISE)
    np.testing.assert_allclose(halved["measured"] - plain["measured"], math.log(2), atol=1e-5)


def test_cases_are_made_anew_after_an_effect_was_edited(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": EFFECTS, "configs/scanner/halved.yaml": HALVED})
    two = (*ANY_METAL, "model=uncorrected", "scanner=halved", *NO_NOISE, "data.num_cases.test=1")

    def error(run_dir: str) -> float:
        done(tmp_path, "evaluate", CONFIGS, *two, f"hydra.run.dir={run_dir}")
        (row,) = (row for row in cases(tmp_path / run_dir) if row["method"] == "uncorrected")
        return float(row["rmse_hu_body"])

    found = [error("a"), error("b")]
    write(tmp_path, {"mine.py": EFFECTS.replace("return x / 2", "return torch.roll(x, 3, -1)")})
    found.append(error("c"))
    assert found[0] == found[1] and abs(found[2] - found[0]) > 20.0


def material(density: float) -> str:
    """A metal as thin as foam: rays through it stay in the linear range."""
    return f"# @package scanner.materials.foam\nformula: NiTi\ndensity_g_cm3: {density}\n"


OF_FOAM = ("+material=foam", "+data.generator.alloys={foam:1}")


def test_a_material_attenuates_as_xraydb_has_it(tmp_path: Path) -> None:
    made = []
    for density in (0.5, 1.0):
        write(tmp_path, {"configs/material/foam.yaml": material(density)})
        made.append(simulated(tmp_path, f"of-{density}", *OF_FOAM, *NO_NOISE, "data.num_workers=2"))
    light, heavy = made
    assert {screw["material"] for screw in heavy["told"]["parameters"]["plan"]["screws"]} == {"foam"}
    thick = light["metal_path_mm"] > 5.0
    assert thick.sum() > 50 and np.array_equal(light["metal_path_mm"], heavy["metal_path_mm"])
    per_mm = (heavy["measured"] - light["measured"])[thick] / light["metal_path_mm"][thick]
    expected = xraydb.material_mu("NiTi", 70_000.0, density=0.5) / 10
    assert float(np.median(per_mm)) == pytest.approx(expected, rel=0.01)


def test_a_material_travels_in_the_checkpoint(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "configs/material/foam.yaml": "# @package scanner.materials.foam\n"
            "mass_fractions: {Ti: 0.45, Ni: 0.55}\ndensity_g_cm3: 1.0\n"
        },
    )
    small = ("data.num_cases={train:2,val:1,test:1}", "data.batch_size=1", "trainer.max_epochs=1")
    network = (
        "model.method.network.channels=[4,8]",
        "model.method.wrap_views=8",
        "extras.progress_bar=false",
    )
    done(tmp_path, "train", CONFIGS, *ANY_METAL, *small, *network, *OF_FOAM, "hydra.run.dir=run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = ("ckpt_path=../run/checkpoints/last.ckpt", "hydra.run.dir=again")
    done(elsewhere, "evaluate", *again)
    before, after = (
        cases(tmp_path / "run"),
        cases(elsewhere / "again"),
    )
    assert before == after and {row["materials"] for row in after} == {"foam"}


def test_an_unknown_material_is_one_line(tmp_path: Path) -> None:
    for given, message in (
        ("+data.generator.alloys={foam:1}", "error: material must be one of water, "),
        ("+scanner.materials.foam={formula:Zz,density_g_cm3:1}", "error: material foam: formula must be a"),
        ("+scanner.materials.foam={formula:NiTi}", "error: material foam must have density_g_cm3 and either"),
    ):
        assert refused(tmp_path, "simulate", *ANY_METAL, "num_cases=1", given).startswith(message)


HARDWARE = """
from dataclasses import dataclass

import numpy as np

from ctmar.errors import CtmarError
from ctmar.implants import Part
from ctmar.scenes import Pose, Scene


@dataclass(frozen=True)
class Sleeve:
    center_mm: tuple
    radius_mm: float
    wall_mm: float
    length_mm: float

    def signed_distance(self, points_mm):
        x, y, z = np.moveaxis(points_mm - np.asarray(self.center_mm), -1, 0)
        ring = np.abs(np.hypot(x, y) - self.radius_mm + self.wall_mm / 2) - self.wall_mm / 2
        return np.maximum(ring, np.abs(z) - self.length_mm / 2)

    def bounds_mm(self):
        reach = np.array([self.radius_mm, self.radius_mm, self.length_mm / 2])
        return self.center_mm - reach, self.center_mm + reach


class Generator:
    def __init__(self, radius_mm=15.0, material="titanium"):
        self.radius_mm, self.materials = radius_mm, (material,)

    def sample(self, anatomy, slices, rng):
        center = int(rng.choice(list(slices)))
        rows, columns = np.nonzero(anatomy.hu[center] > -200)
        at = np.array([columns.mean(), rows.mean(), center]) * anatomy.spacing_mm
        part = Part("sleeve", self.materials[0], Sleeve(tuple(at), self.radius_mm, 5.0, 40.0))
        return Scene(anatomy, (part,), center, Pose(), {"kind": "sleeve", "material": self.materials[0]})
"""
SLEEVES = """
defaults: [base, _self_]
generator:
  _target_: mine.Generator
  radius_mm: 15.0
  material: foam
"""


def test_an_implant_in_code_is_as_large_as_its_distance_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "mine.py": HARDWARE,
            "configs/data/sleeves.yaml": SLEEVES,
            "configs/material/foam.yaml": material(1.0),
        },
    )
    made = simulated(tmp_path, "sleeves", "data=sleeves", "+material=foam", *NO_NOISE)
    assert made["told"]["parameters"]["kind"] == "sleeve"
    areas = made["metal_path_mm"][0].sum(axis=-1) * 5.6
    assert float(areas.mean()) == pytest.approx(math.pi * (15.0**2 - 10.0**2), rel=0.02)
    done(
        tmp_path,
        "train",
        CONFIGS,
        *ANY_METAL,
        *NETWORK,
        "data=sleeves",
        "+material=foam",
        "hydra.run.dir=run",
    )
    assert {(row["materials"], row["kind"]) for row in cases(tmp_path / "run")} == {("foam", "sleeve")}


BODIES = """
import numpy as np

from ctmar.anatomy import Anatomy


class Source:
    name = "mine"

    def __init__(self, hu=137.0):
        rows, columns = np.mgrid[-50:51, -50:51]
        body = np.where(np.hypot(rows / 35, columns / 45) < 1, hu, -1000.0)
        volume = np.repeat(body[None], 12, axis=0).astype(np.float32)
        self.body = Anatomy(self.name, volume, np.zeros(volume.shape, np.uint8), (3.0, 3.0, 5.0))

    def pick(self, split, index):
        first = {"train": 1, "val": 5, "test": 8}[split]
        return self.body, range(first, first + 2)
"""
OF_MINE = "_target_: mine.Source\nhu: 137.0\n"


def test_bodies_of_ones_own_serve_in_every_job(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": BODIES, "configs/anatomy/mine.yaml": OF_MINE})
    made = simulated(tmp_path, "set", "anatomy=mine", "data=random", *NO_NOISE)
    body = np.unpackbits(made["body_mask"], count=64 * 64).astype(bool).reshape(64, 64)
    area = math.pi * 35 * 45 * 3.0**2
    assert body.sum() * 5.6**2 == pytest.approx(area, rel=0.03)
    assert float(np.median(made["reference_hu"][0][body])) == pytest.approx(137.0, abs=3.0)
    small = (*ANY_METAL, "anatomy=mine", "data=random", "data.num_cases={train:2,val:1,test:1}")
    network = (
        "model.method.network.channels=[4,8]",
        "model.method.wrap_views=8",
        "extras.progress_bar=false",
    )
    done(
        tmp_path,
        "train",
        CONFIGS,
        *small,
        *network,
        "trainer.max_epochs=1",
        "hydra.run.dir=run",
    )
    part = "benchmark.parts.procedural_random"
    mine = (f"anatomy@{part}.anatomy=mine", "models=[uncorrected]", "num_cases=1", "hydra.run.dir=set-run")
    quick = ("geometry=tiny", "data.num_workers=0", "evaluation.lesions=false", "evaluation.num_panels=0")
    done(tmp_path, "benchmark", CONFIGS, *quick, *mine)
    for run_dir in ("run", "set-run"):
        assert {row["body"] for row in cases(tmp_path / run_dir)} == {"mine"}
