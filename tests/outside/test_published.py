"""A published set that ctmar does not know: one Python file and two YAMLs, in a folder outside of ctmar."""

from pathlib import Path

import numpy as np
import pytest

from tests.outside.folder import done, refused, summary, write

pytestmark = pytest.mark.slow
MINE = '''
    """A set in a format of its own: images in HU, and sinograms in the parallel rays of geometry=tiny."""

    from pathlib import Path

    import numpy as np
    import torch

    from ctmar.pairs.published import FieldCase, FieldFiles, PairedFiles, PublishedFiles


    class Files(FieldFiles):
        title, option = "Mine", "tiny"
        shape, pixel_mm, mu_water = (64, 64), 5.6, 0.0192
        images, ceiling = ("input", "best"), "best"
        patient = r"(p\\d)"

        def __init__(self, root):
            self.root = Path(root)

        def slices(self):
            return sorted(path.stem for path in self.root.glob("*.npz"))

        def read(self, name, metal):
            with np.load(self.root / f"{name}.npz") as file:
                held = {key: torch.from_numpy(file[key]) for key in file.files}
            return FieldCase(
                name=name,
                measured=held["sinogram"],
                uncorrected_hu=held["with_metal"],
                reference_hu=held["without"],
                metal_mask=held["metal"],
                images={"input": held["with_metal"], "best": held["without"]},
            )


    class Cases(PublishedFiles):
        def __init__(self, setup, acquisition, root):
            super().__init__(setup, acquisition, Files(root))


    class Pairs(PairedFiles):
        def __init__(self, setup, root, splits=None):
            super().__init__(setup, None, Files(root), splits=splits)
'''
BENCHMARK = """
    defaults:
      - /geometry@geometry: tiny
      - /scanner@scanner: ideal
      - _self_

    name: mine
    root: null
    protocol: soft
    mu_water: 0.0192
    filter: hann
    cases:
      _target_: mine.Cases
      root: ${benchmark.root}
"""
DATA = """
    defaults:
      - paired
      - override /geometry@_global_.geometry: tiny
      - _self_

    _target_: mine.Pairs
    source: raw
    root: ???
    splits: null
"""
FOLDER = {"mine.py": MINE, "configs/benchmark/mine.yaml": BENCHMARK, "configs/data/mine.yaml": DATA}
COMMAND = ("benchmark", "--config-dir=configs", "benchmark=mine", "models=[li]", "data.fills=[]",
           "evaluation.num_panels=0", "hydra.run.dir=run")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with files of four slices."""
    import torch

    from ctmar.geometry import ImageGrid, ParallelBeam
    from ctmar.operators import RayTransform
    from ctmar.units import hu_to_mu

    write(tmp_path, FOLDER)
    (tmp_path / "set").mkdir()
    ray = RayTransform(ImageGrid((64, 64), 5.6), ParallelBeam(48, 93, 5.6))
    rows, columns = np.indices((64, 64)) - 31.5
    for index, name in enumerate(("p1_a", "p1_b", "p2_a", "p3_a")):
        bone = 600.0 * (np.hypot(rows - 8, columns + 6) < 5)
        without = np.where(np.hypot(rows, columns) < 22, 20.0 + bone, -1000.0)
        metal = np.hypot(rows + 4, columns - 3 - index) < 1.6
        with_metal = np.where(metal, 9000.0, without)
        image = hu_to_mu(torch.from_numpy(with_metal), 0.0192).float()
        np.savez(
            tmp_path / "set" / f"{name}.npz",
            sinogram=ray.forward(image).numpy(),
            with_metal=with_metal.astype(np.float32),
            without=without.astype(np.float32),
            metal=metal,
        )
    return tmp_path


def test_it_is_scored_and_trained_on(folder: Path) -> None:
    assert "benchmark.root must be the folder of mine's files" in refused(folder, *COMMAND)
    out = done(folder, *COMMAND, "benchmark.root=set")
    found = summary(folder / "run")
    assert list(found["methods"]) == ["li", "input", "best", "clean"] and found["num_cases"] == 4
    near = {name: figures["rmse_hu_near"]["mean"] for name, figures in found["methods"].items()}
    assert near["best"] == 0.0 and near["clean"] < near["li"]
    assert "4 cases: projections as measured in the files" in out.stdout
    assert "those without metal made from the image without it, metal from masks of the set" in out.stdout
    assert "images of the files themselves: input, best; ceiling: best" in out.stdout
    given = ("evaluate", "--config-dir=configs", "data=mine", "data.root=set", "data.fills=[]", "model=li",
             "data.num_workers=0", "evaluation.num_panels=0", "evaluation.lesions=false")  # fmt: skip
    done(folder, *given, "data.splits={test: 1.0}", "hydra.run.dir=alone")
    alone = summary(folder / "alone")
    assert alone["num_cases"] == 4 and alone["source"] == "raw" and alone["metal_from"] == "mask"
    line = refused(folder, *given, "data.splits={train: [p1_a], test: [p1_b]}", "hydra.run.dir=torn")
    assert "files of one group must be in one split, got p1" in line
