"""A projector of a user's own, from a folder that holds nothing else."""

import sys
from pathlib import Path

import pytest

from tests.children import run
from tests.outside.folder import NETWORK, SMALL, done, refused, summary, write

MINE = """
    import math
    from pathlib import Path

    import torch
    from torch.nn.functional import grid_sample

    from ctmar.errors import CtmarError
    from ctmar.geometry import ParallelBeam

    Path("imported").touch()


    class Sampled:
        '''Line integrals by samples half a pixel apart; transposes by autograd.'''

        def __init__(self, grid, beam):
            if not isinstance(beam, ParallelBeam):
                raise CtmarError(f"mine.Sampled projects parallel beams, got a {type(beam).__name__}")
            self.grid, self.beam = grid, beam
            theta = torch.tensor(beam.theta)[:, None]
            s = (torch.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
            s = (s + beam.det_offset_mm).double()
            self.step = grid.spacing_mm / 2
            reach = math.hypot(*grid.size_mm) / 2
            t = torch.arange(-reach, reach, self.step, dtype=torch.float64)
            x = (s * theta.cos())[..., None] - (theta.sin() * t)[:, None]
            y = (s * theta.sin())[..., None] + (theta.cos() * t)[:, None]
            rows, columns = grid.shape
            places = torch.stack([2 * x / grid.size_mm[1], -2 * y / grid.size_mm[0]], -1)
            self.places = places.flatten(1, 2).float()
            row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            px, py = (column - (columns - 1) / 2) * grid.spacing_mm, ((rows - 1) / 2 - row) * grid.spacing_mm
            at = px * theta[..., None].cos() + py * theta[..., None].sin() - beam.det_offset_mm
            at = at / beam.det_spacing_mm
            self.seen = (2 * at / beam.det_count).float()

        def forward(self, image):
            return self.along(image.detach())

        def adjoint(self, sinogram):
            return transpose(self.along, self.grid.shape, sinogram)

        def backproject(self, sinogram):
            return self.through(sinogram.detach())

        def backproject_adjoint(self, image):
            return transpose(self.through, self.beam.shape, image)

        def along(self, image):
            places = self.places.to(image.dtype)[None].expand(len(image), -1, -1, -1)
            samples = grid_sample(image[:, None], places, align_corners=False)
            return samples[:, 0].unflatten(-1, (self.beam.det_count, -1)).sum(-1) * self.step

        def through(self, sinogram):
            total = 0
            for view, at in enumerate(self.seen.to(sinogram.dtype)):
                place = torch.stack([at, torch.zeros_like(at)], -1)[None].expand(len(sinogram), -1, -1, -1)
                line = sinogram[:, None, view : view + 1]
                total = total + grid_sample(line, place, align_corners=False)[:, 0]
            return total * (math.pi / self.beam.num_angles)


    def transpose(apply, shape, y):
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(len(y), *shape, dtype=y.dtype, requires_grad=True)
            return torch.autograd.grad(apply(x), x, y.detach().clone())[0]


    class Mirrored(Sampled):
        def adjoint(self, sinogram):
            return super().adjoint(sinogram).flip(-1)


    class Deaf(Sampled):
        def __init__(self, grid, beam):
            super().__init__(grid, ParallelBeam(*beam.shape, beam.det_spacing_mm, beam.det_offset_mm))


    class Half(Sampled):
        def along(self, image):
            return super().along(image) / 2


    class Narrow(Sampled):
        def forward(self, image):
            return super().forward(image)[..., 1:]


    class Lazy:
        def __init__(self, grid, beam):
            pass

        forward = adjoint = backproject = lambda self, x: x
"""
FOLDER = {
    "mine.py": MINE,
    "configs/projector/mine.yaml": "backend: mine.Sampled\nfilter: ram-lak\n",
}
CHECK = """
import torch
from ctmar.errors import CtmarError
from ctmar.operators import check_backend

print(check_backend("mine.Sampled"))
for name in ("Mirrored", "Deaf", "Half", "Narrow", "Lazy", "Nobody"):
    try:
        check_backend(f"mine.{name}")
        print(name, "passes")
    except CtmarError as error:
        print(name, error)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FOLDER)


def test_the_check_lets_a_true_one_through_and_names_what_is_wrong_with_others(folder: Path) -> None:
    out = run([sys.executable, "-c", CHECK], cwd=folder)
    lines = out.stdout.splitlines()
    assert len(lines) == 7 and lines[0].startswith("BackendFigures(gap="), out.stdout + out.stderr
    answers = {line.split()[0]: line for line in lines[1:]}
    assert "forward and adjoint must be transposes" in answers["Mirrored"]
    assert "must tell its angles from mirrored ones" in answers["Deaf"]
    assert "forward must be within 0.05 of native's" in answers["Half"]
    assert "forward must return ((2, 23, 51)" in answers["Narrow"] and "(2, 23, 50)" in answers["Narrow"]
    assert "has no backproject_adjoint" in answers["Lazy"]
    assert "a class as module.Class, got 'mine.Nobody'" in answers["Nobody"]


@pytest.mark.slow
def test_it_simulates_and_reconstructs_like_ctmars_own(folder: Path) -> None:
    job = ("evaluate", "--config-dir=configs", *SMALL, "model=li", "data.num_cases.test=2")
    done(folder, *job, "projector=mine", "hydra.run.dir=mine-run")
    done(folder, *job, "projector=native", "hydra.run.dir=native-run")
    mine, native = (summary(folder / name)["methods"] for name in ("mine-run", "native-run"))
    for method in ("uncorrected", "li"):
        ours, theirs = (found[method]["rmse_hu_near"]["mean"] for found in (native, mine))
        assert theirs == pytest.approx(ours, rel=0.1) and theirs != ours
    assert mine["clean"]["rmse_hu_body"]["mean"] < 30


@pytest.mark.slow
def test_cases_are_known_by_its_code(folder: Path) -> None:
    job = ("simulate", "--config-dir=configs", *SMALL, "projector=mine", "num_cases=1", "folder=set")
    done(folder, *job)
    write(folder, {"mine.py": MINE.replace("spacing_mm / 2", "spacing_mm / 3")})
    assert "was made by another (module mine)" in refused(folder, *job)


@pytest.mark.slow
def test_a_checkpoint_cannot_have_it_imported_unless_it_is_trusted(folder: Path) -> None:
    job = ("train", "--config-dir=configs", *SMALL, *NETWORK, "projector=mine")
    done(folder, *job, "test=false", "hydra.run.dir=run")
    (folder / "imported").unlink()
    again = ("evaluate", "ckpt_path=run/checkpoints/best.ckpt", *SMALL, "hydra.run.dir=again")
    line = refused(folder, *again)
    assert "got 'mine.Sampled'" in line and "CTMAR_TRUST=mine accepts that package" in line
    assert not (folder / "imported").exists()
    done(folder, *again, CTMAR_TRUST="mine")
    assert (folder / "imported").exists() and summary(folder / "again")["num_cases"] == 1


def test_what_is_none_is_one_line(folder: Path) -> None:
    job = ("evaluate", "--config-dir=configs", *SMALL, "model=li", "projector=mine")
    assert "No module named 'absent'" in refused(folder, *job, "projector.backend=absent.Backend")
    assert "mine.Sampled projects parallel beams, got a FanBeam" in refused(
        folder, *job, "geometry/acquisition=clinical"
    )
