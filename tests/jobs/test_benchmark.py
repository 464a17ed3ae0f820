"""The frozen test set, and any set of methods on it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ctmar.case import Case
from ctmar.config.composing import config_dir
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import _complete
from ctmar.jobs import test_set
from ctmar.jobs.benchmark import benchmark, find_models, run, run_name
from ctmar.jobs.benchmark_keys import READ, Kind, refuse_unread
from ctmar.jobs.test_set import TestSet, control, same_case
from ctmar.jobs.train import train
from ctmar.methods import LI

PARTS = ("thorax_screws", "thorax_random", "abdomen_screws", "abdomen_random")
SMALL = [
    *(f"~benchmark.parts.{name}" for name in PARTS),
    *(
        f"benchmark.parts.{part}.{key}"
        for part in ("procedural_screws", "procedural_random")
        for key in (
            "cases=2",
            "anatomy.levels=[L1,L2,L3]",
            "anatomy.spacing_mm=[2.0,2.0,3.0]",
            "anatomy.num_bodies.test=1",
        )
    ),
]


@pytest.fixture
def small(tiny, tmp_path, monkeypatch):
    """Composes the benchmark over two small parts; its list of cases lies in ``tmp_path``."""
    monkeypatch.setattr(test_set, "controls_path", lambda name: tmp_path / f"{name}.json")
    monkeypatch.chdir(tmp_path)

    def build(*overrides: str, folder: str = "run"):
        given = [o for o in SMALL if not any(v.startswith(o.split("=")[0] + "=") for v in overrides)]
        return tiny(*given, "model=li", "evaluation.num_panels=0", *overrides, job="benchmark", folder=folder)

    return build


MINE = """
import torch
from ctmar.methods import linear_interpolation


def complete(scan):
    return linear_interpolation(scan.measured, scan.metal_trace)
"""


@pytest.mark.slow
def test_methods_of_every_kind_on_the_same_frozen_cases(small, tiny, tmp_path, capsys) -> None:
    run(small("freeze=true"))
    assert "cases frozen in" in capsys.readouterr().out
    frozen = json.loads((tmp_path / "spine-v1.json").read_text(encoding="utf-8"))
    assert {part: len(cases) for part, cases in frozen.items()} == {
        "procedural_screws": 2,
        "procedural_random": 2,
    }

    summary = benchmark(small(f"export={tmp_path}/cases", "evaluation.lesions=true"), tmp_path / "first")
    assert summary["num_cases"] == 4 and list(summary["methods"]) == ["uncorrected", "li", "nmar", "clean"]
    untouched = {"left_out": [], "changed_cases": [], "rescanned_cases": []}
    assert summary["benchmark"] == {"name": "spine-v1"} | untouched
    assert summary["off_trace_max_abs_change"] == 0.0 and summary["lesions"]["cases"] > 0
    assert set(summary["groups"]["part"]) == {"procedural_screws", "procedural_random"}

    # A method of one's own, another method's images, a classical one: scored alike.
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    exported = sorted((tmp_path / "cases").glob("*.npz"))
    assert len(exported) == 4
    for path in exported:
        with np.load(path) as archive:
            np.save(path.with_suffix(".npy"), archive["uncorrected_hu"])
    overrides = [
        "models=[uncorrected,fsnmar]",
        "methods={mine:mine.complete}",
        "evaluation.lesions=true",
        f"images={{theirs:{tmp_path}/cases}}",
    ]
    second = benchmark(small(*overrides), tmp_path / "second")
    methods, before = second["methods"], summary["methods"]
    near = "rmse_hu_near"
    assert methods["mine"][near] == before["li"][near]
    assert methods["theirs"][near]["mean"] == pytest.approx(before["uncorrected"][near]["mean"], rel=1e-5)
    assert methods["uncorrected"] == before["uncorrected"] | {
        "aapm_score": methods["uncorrected"]["aapm_score"]
    }
    assert second["images_alone"] == ["theirs"] and "theirs" not in second["lesions"]["methods"]
    assert (tmp_path / "second/evaluation/near-rmse.png").is_file()

    # A run's checkpoint under a name of one's own.
    train(tiny("trainer.max_epochs=1", "test=false", folder="trained"))
    best = tmp_path / "trained/checkpoints/best.ckpt"
    overrides = ["models=[uncorrected]", f"checkpoints={{mine:{best}}}", "evaluation.limit=true"]
    third = benchmark(small(*overrides), tmp_path / "third")
    assert list(third["methods"]) == ["uncorrected", "mine", "limit", "clean"] and third["num_cases"] == 4
    means = [third["methods"][name][near]["mean"] for name in ("clean", "limit", "mine")]
    assert means == sorted(means)
    assert third["methods"]["mine"][near]["n"] == 4 and third["off_trace_max_abs_change"] == 0.0
    assert third["methods"]["mine"][near] != third["methods"]["uncorrected"][near]

    # Another seed makes other cases, and that is said.
    changed = benchmark(small("benchmark.seed=7", "models=[li]", "num_cases=2"), tmp_path / "fourth")
    assert len(changed["benchmark"]["changed_cases"]) == 2 and not changed["benchmark"]["rescanned_cases"]
    # The same scenes under another scanner are told from other scenes.
    ideal = small("scanner=ideal", "models=[li]", "num_cases=2")
    rescanned = benchmark(ideal, tmp_path / "fifth")["benchmark"]
    assert len(rescanned["rescanned_cases"]) == 2 and not rescanned["changed_cases"]


def test_the_frozen_list_has_the_parts_of_the_recipe_and_no_case_twice() -> None:
    parts = test_set.load_controls("spine-v1")
    counts = {name: len(cases) for name, cases in parts.items()}
    assert counts == {
        "procedural_screws": 50,
        "procedural_random": 50,
        "thorax_screws": 25,
        "thorax_random": 25,
        "abdomen_screws": 15,
        "abdomen_random": 15,
    }
    sampled = [case["sampled"] for cases in parts.values() for case in cases.values()]
    assert len(set(sampled)) == len(sampled) == 180


@pytest.mark.slow
def test_the_first_cases_still_are_the_frozen_ones(tmp_path) -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = [*(f"~benchmark.parts.{name}" for name in PARTS), "data.num_workers=0"]
        cfg = compose("benchmark", overrides=[*overrides, f"paths.cache_dir={tmp_path}"])
    cases = TestSet(cfg, 1, 2)
    assert [case.scan.case_id for case in cases] == [
        ("procedural_random-00000",),
        ("procedural_screws-00000",),
    ]
    assert cases.changed == cases.rescanned == []


def test_a_control_tells_cases_apart_but_not_machines(make_case) -> None:
    case = make_case(batch=1)

    def other(plan: float = 1.23456789, factor: float = 1.0) -> Case:
        told = ({"plan": [plan, {"screw": 3}]},)
        return Case(case.scan, replace(case.truth, parameters=told, clean=case.truth.clean * factor))

    wanted = control(other())
    assert same_case(wanted, control(other(1.23456791, 1.0005)))
    assert not same_case(wanted, control(other(1.2346)))
    assert not same_case(wanted, control(other(factor=1.01)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["models=[spline]"], "of uncorrected, li, nmar, fsnmar, mbhc, tv, physics, pretrained, or paths"),
        (["models=[no/such.ckpt]"], "does not exist"),
        (["images={theirs:no/folder}"], "must list the cases|must have its list of cases"),
    ],
)
def test_what_cannot_be_is_one_line(small, tmp_path, overrides, message) -> None:
    with pytest.raises(CtmarError, match=message):
        benchmark(small(*overrides), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_absent_data_leave_their_parts_out(small, tmp_path) -> None:
    from omegaconf import open_dict

    cfg = small()
    with open_dict(cfg):
        cfg.benchmark.parts.procedural_random.anatomy.ct = str(tmp_path / "ct.nii.gz")
    cases = TestSet(cfg, 1, None, frozen=False)
    assert set(cases.parts) == {"procedural_screws"}
    assert len(cases.left_out) == 1 and "ct.nii.gz does not exist" in cases.left_out[0]


@pytest.mark.slow
def test_a_checkpoint_is_found_under_its_name_with_its_weights(small, tiny, tmp_path) -> None:
    train(tiny("trainer.max_epochs=1", "test=false", folder="trained"))
    best = tmp_path / "trained/checkpoints/best.ckpt"
    found = find_models(small("models=[li]", f"checkpoints={{mine:{best}}}"))
    assert list(found) == ["li", "mine"]
    weights = torch.load(best, weights_only=True)["state_dict"]
    assert all(
        torch.equal(value, weights[f"method.{name}"]) for name, value in found["mine"].state_dict().items()
    )


def test_models_keep_their_order_and_runs_their_names(small) -> None:
    assert list(find_models(small("models=[nmar,uncorrected]"))) == ["nmar", "uncorrected"]
    assert run_name("outputs/train/runs/2026-01-01/checkpoints/best.ckpt") == "2026-01-01"
    assert run_name("weights.ckpt") == "weights"


def test_a_method_of_single_slices_answers_a_stack_by_its_centre(make_case) -> None:
    scan = make_case(batch=1, slices=3).scan
    flat, stack = LI(), LI()
    object.__setattr__(flat, "slices", 1)
    answer, wanted = _complete("flat", flat, scan), _complete("stack", stack, scan)
    assert torch.equal(answer[:, 1], wanted[:, 1]) and not torch.equal(answer[:, 1], scan.measured[:, 1])
    assert torch.equal(answer[:, ::2], scan.measured[:, ::2])


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("model=li", "models="),
        ("model.start=x", "models="),
        ("model@model.method.fill=li", "models="),
        ("data=random", "benchmark=mine"),
        ("data.seed=3", "benchmark.seed="),
        ("data.num_cases.test=3", "num_cases=N"),
        ("data.generator.screw_meshes=[a.stl]", "benchmark.parts.NAME.data.generator"),
        ("anatomy=thorax", "benchmark.parts.NAME.anatomy"),
        ("anatomy.seed=1", "benchmark.parts.NAME.anatomy"),
        ("seed=0", "benchmark.seed="),  # the default's value is asked for in vain too
        ("ckpt_path=a.ckpt", "checkpoints={NAME:FILE}"),
        ("experiment=unet_pretrain", "benchmark.parts.NAME"),
        ("trainer=gpu", "a training reads it"),
        ("callbacks=none", "a training reads it"),
        ("data.batch_size=2", "a training reads it"),
        ("optimized_metric=val/loss", "a training reads it"),
    ],
)
def test_what_a_benchmark_does_not_read_is_refused(override: str, instead: str) -> None:
    with pytest.raises(CtmarError, match="a benchmark has cases and methods of its own and") as error:
        refuse_unread([override])
    assert instead in str(error.value)


def test_what_a_benchmark_reads_is_let_through() -> None:
    read = ["geometry=tiny", "scanner=ideal", "scanner.noise.photons_per_ray=1e5", "projector=native",
            "data.num_workers=0", "data.cache=null", "data.fills=[li]", "data.source=image",
            "model@catalogue.nmar=li", "catalogue.nmar.bone_above_hu=400", "models=[li]", "num_cases=3",
            "evaluation.lesions=false", "logger=none", "benchmark.seed=3", "paths.cache_dir=a"]  # fmt: skip
    refuse_unread(read)


@pytest.mark.parametrize("kind", READ)
def test_what_a_kind_of_benchmark_reads_is_there(kind: Kind, tiny) -> None:
    cfg = tiny("model=li", job="benchmark")
    assert [key for key in READ[kind] if OmegaConf.select(cfg, key, default="absent") == "absent"] == []
    refuse_unread([], kind)  # benchmark.yaml's own choices are nobody's wish
    refuse_unread(["models=[li]", "logger=wandb", "extras.num_threads=1", "projector=native"], kind)


@pytest.mark.parametrize(
    ("kind", "override", "instead"),
    [
        ("published", "geometry=large", "benchmark.geometry.KEY="),
        ("published", "geometry.beam.num_angles=90", "benchmark.geometry.KEY="),
        ("published", "geometry/acquisition=adn", "benchmark.geometry.KEY="),
        ("published", "scanner=ideal", "benchmark.scanner.KEY="),
        ("published", "anatomy=thorax", "its cases are files"),
        ("published", "evaluation.lesions=true", "planted lesions would change"),
        ("detection", "scanner.noise.photons_per_ray=1e5", "benchmark.photons_per_ray="),
        ("detection", "metric=none", "the judges' AUC and the bias"),
        ("detection", "evaluation.num_panels=2", "look for the lesion alone"),
        ("detection", "data.cache=null", "none of its scans is kept"),
        ("detection", "anatomy=thorax", "benchmark.anatomy.KEY="),
    ],
)
def test_a_kind_of_benchmark_refuses_what_others_read(kind: Kind, override: str, instead: str) -> None:
    with pytest.raises(CtmarError, match="NAME reads no ") as error:
        refuse_unread([override], kind, "NAME")
    assert instead in str(error.value)


def test_a_logger_that_no_benchmark_reports_to_is_refused(small) -> None:
    with pytest.raises(CtmarError, match="reports to files and to wandb, got logger=tensorboard"):
        run(small("logger=tensorboard"))


def test_ctmars_own_lists_are_not_written_where_it_is_installed(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(test_set, "PACKAGE", tmp_path)
    with pytest.raises(CtmarError, match="spine-v1 is a benchmark of ctmar's and stays as it was frozen"):
        run(small("freeze=true"))
    assert not (tmp_path / "spine-v1.json").exists()
