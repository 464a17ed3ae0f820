"""A benchmark of a user's own, from a folder that holds nothing else: frozen beside its YAML, found again."""

import json
from pathlib import Path

import pytest

from tests.outside.folder import done, refused, summary, write

MINE = """
    from ctmar.phantoms import ProceduralSpine
    from ctmar.physics import Scanner
    from ctmar.scenes import RandomGenerator


    class Large(RandomGenerator):
        def __init__(self):
            super().__init__(sizes_mm=(20.0, 21.0))


    class Bodies(ProceduralSpine):
        pass


    class Scans(Scanner):
        pass
"""
BENCHMARK = """
    defaults:
      - /anatomy@parts.screws.anatomy: procedural_small
      - /data@parts.screws.data: realistic
      - /anatomy@parts.balls.anatomy: mine
      - /data@parts.balls.data: mine
      - /scanner@parts.balls.scanner: mine
      - _self_

    name: mine
    seed: 7
    split: test
    parts:
      screws: {cases: 1}
      balls: {cases: 2}
"""
FOLDER = {
    "mine.py": MINE,
    "configs/benchmark/mine.yaml": BENCHMARK,
    "configs/anatomy/mine.yaml": "defaults:\n  - procedural_small\n  - _self_\n_target_: mine.Bodies\n",
    "configs/data/mine.yaml": "defaults:\n  - base\n  - _self_\ngenerator:\n  _target_: mine.Large\n",
    "configs/scanner/mine.yaml": "defaults:\n  - ideal\n  - _self_\n_target_: mine.Scans\n",
    "configs/metric/worst.yaml": "worst:\n  _target_: mine_metric.worst\n",
    "mine_metric.py": "def worst(image_hu, truth):\n    return (image_hu - truth.reference_hu).abs().max()\n",
}
COMMAND = ("benchmark", "--config-dir=configs", "benchmark=mine", "geometry=tiny", "data.num_workers=0",
           "evaluation.lesions=false", "evaluation.num_panels=0", "hydra.run.dir=run")  # fmt: skip
LIST = "configs/benchmark/mine.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FOLDER)


def test_it_is_frozen_beside_its_yaml_and_scored(folder: Path) -> None:
    line = refused(folder, *COMMAND)
    assert "benchmark mine must have its list of cases mine.json; freeze=true writes it" in line
    done(folder, *COMMAND, "freeze=true")
    frozen = json.loads((folder / LIST).read_text(encoding="utf-8"))
    assert {part: len(cases) for part, cases in frozen.items()} == {"screws": 1, "balls": 2}
    out = done(folder, *COMMAND, "models=[uncorrected,li]", "metric=[worst]")
    found = summary(folder / "run")
    assert found["benchmark"]["name"] == "mine" and found["num_cases"] == 3
    assert found["benchmark"]["changed_cases"] == found["benchmark"]["rescanned_cases"] == []
    assert set(found["groups"]["part"]) == {"screws", "balls"}
    assert found["groups"]["part"]["balls"]["li"]["worst"]["n"] == 2
    assert "worst by part" in out.stdout and "worst, paired" in out.stdout
    # Its own scanner is ideal, the other part's is not: what is left without metal tells them apart.
    clean = {part: by["clean"]["rmse_hu_body"]["mean"] for part, by in found["groups"]["part"].items()}
    assert clean["balls"] < 0.5 * clean["screws"]


@pytest.mark.slow
def test_cases_that_are_not_the_frozen_ones_are_told(folder: Path) -> None:
    done(folder, *COMMAND, "freeze=true")
    write(folder, {"mine.py": MINE.replace("20.0, 21.0", "30.0, 31.0")})
    done(folder, *COMMAND, "models=[uncorrected]")
    assert len(summary(folder / "run")["benchmark"]["changed_cases"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ({LIST: "{"}, (), "mine.json must be a list of cases as freeze=true writes it"),
        ({LIST: '{"screws": {"0": {"sampled": "a"}}}'}, (), "mine.json must be a list of cases"),
        ({LIST: "{}"}, (), "mine.json must list the cases of"),
        ({}, ("benchmark.parts.balls.cases=0", "freeze=true"), "benchmark.parts.balls.cases must be 1"),
        ({}, ("~benchmark.parts.balls.cases", "freeze=true"), "benchmark.parts.balls.cases must be a whole"),
        ({}, ("benchmark.name=other", "freeze=true"), "benchmark.name must be what its file is called"),
        ({}, ("benchmark.split=all", "freeze=true"), "benchmark.split must be one of train, val, test, got"),
        ({}, ("data=random",), "reads no data: a benchmark of your own has its own parts"),
    ],
)
def test_what_is_none_is_one_line(
    folder: Path, texts: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    write(folder, texts)
    assert message in refused(folder, *COMMAND, *arguments)
    assert not (folder / "run").exists()
