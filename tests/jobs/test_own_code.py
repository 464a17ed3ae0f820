"""A user's own classes and files behind a data set: cases of before an edit are not those of after it."""

import copy
import importlib
import json
import os
import py_compile
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ctmar.config.cases import case_settings, case_store
from ctmar.data import fingerprint as fingerprints
from ctmar.data import sources
from ctmar.data.fingerprint import fingerprint, input_digest
from ctmar.errors import CtmarError
from ctmar.jobs import test_set
from ctmar.jobs.evaluate import run as evaluate_run
from ctmar.jobs.simulate import run as simulate_run
from ctmar.jobs.test_set import TestSet
from tests.tiny_runs import CONFIGS

MINE = """
from ctmar.scenes.generators import RandomGenerator

SIZE = 12.0


class Mine(RandomGenerator):
    def __init__(self, masks=None, **options):
        super().__init__(sizes_mm=(SIZE, SIZE + 1), **options)
"""
EDITED = MINE.replace("12.0", "40.0")
OWN = ("data=random", "data.generator._target_=mine.Mine")

Write = Callable[..., Path]
Made = Callable[..., dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files of a user's current folder; the next import sees them as a new process would."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    written: set[str] = set()

    def forget() -> None:
        for name, module in list(sys.modules.items()):
            here = str(getattr(module, "__file__", None) or "").startswith(str(home))
            if here or name.partition(".")[0] in written:  # also one of that name from another test
                del sys.modules[name]
        importlib.invalidate_caches()

    def put(**texts: str) -> Path:
        for name, text in texts.items():
            path = home / f"{name.replace('__in__', '/')}.py"
            written.add(name.partition("__in__")[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        forget()
        return home

    yield put
    forget()


@pytest.fixture(scope="module")
def plain_cfg() -> DictConfig:
    """A small run on random metal, composed once: what differs is put into its copies."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=["data=random", "geometry=tiny", "anatomy=procedural_small"])


@pytest.fixture
def made(plain_cfg: DictConfig) -> Callable[..., dict[str, Any]]:
    """Gives the recipe of that run with a test's nodes; ``mine.Mine`` is its generator where none is told."""

    def make(nodes: dict[str, Any] | None = None) -> dict[str, Any]:
        cfg = copy.deepcopy(plain_cfg)
        for key, value in (nodes or {"data.generator": {"_target_": "mine.Mine"}}).items():
            OmegaConf.update(cfg, key, value, merge=not isinstance(value, dict), force_add=True)
        return case_settings(cfg, 1)

    return make


def near_uncorrected(folder: Path) -> float:
    summary = json.loads((folder / "evaluation/summary.json").read_text(encoding="utf-8"))
    found: float = summary["methods"]["uncorrected"]["rmse_hu_near"]["mean"]
    return found


@pytest.mark.slow
def test_an_edited_generator_is_scored_on_its_own_cases(tiny, write: Write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = []
    for folder, text in (("a", MINE), ("b", EDITED), ("c", MINE)):
        write(mine=text)
        cfg = tiny(
            *OWN,
            "model=li",
            "data.num_cases.test=1",
            "evaluation.num_panels=0",
            job="evaluate",
            folder=folder,
        )
        evaluate_run(cfg)
        found.append(near_uncorrected(tmp_path / folder))
    assert found[0] == found[2] and found[1] > 1.2 * found[0]


@pytest.mark.slow
def test_a_set_does_not_grow_from_two_versions_of_a_generator(tiny, write: Write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def sets(count: int, *more: str):  # type: ignore[no-untyped-def]
        return tiny(
            *OWN, "data.fills=[li]", f"num_cases={count}", f"folder={tmp_path}/set", *more, job="simulate"
        )

    write(mine=MINE)
    simulate_run(sets(1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "set/train").iterdir()}
    write(mine=EDITED)
    for more in ((), ("verify=true",)):
        with pytest.raises(CtmarError, match=r"was made by another \(module mine\)"):
            simulate_run(sets(2, *more))
    with pytest.raises(CtmarError, match=r"was made by another \(module mine\)"):
        case_store(tiny(*OWN, "data.fills=[li]", f"data.cache={tmp_path}/set"), 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "set/train").iterdir()} == before
    write(mine=MINE)
    simulate_run(sets(2))
    assert len((tmp_path / "set/train/cases.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_the_frozen_cases_are_held_against_what_the_code_makes_now(
    tiny,  # type: ignore[no-untyped-def]
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = "benchmark.parts.procedural_random"
    own = [
        f"{part}.data.generator._target_=mine.Mine",
        f"{part}.cases=1",
        f"{part}.anatomy.levels=[L1,L2,L3]",
    ]
    others = [f"~benchmark.parts.{name}" for name in test_set.load_controls("spine-v1") if name not in part]
    monkeypatch.setattr(test_set, "controls_path", lambda name: tmp_path / f"{name}.json")
    cfg = tiny(*own, *others, f"{part}.anatomy.spacing_mm=[2.0,2.0,3.0]", "model=li", job="benchmark")

    def changed() -> list[str]:
        cases = TestSet(cfg, 1, None)
        cases.prepare()
        list(cases)
        return cases.changed

    write(mine=MINE)
    TestSet(cfg, 1, None, frozen=False).freeze({"procedural_random": 1})
    assert changed() == []
    write(mine=EDITED)
    assert len(changed()) == 1


# Where a user's code may lie: the files of before; what an edit does to which of them; the target.
HELPER = "def size():\n    return 12.0\n"
PLACES = {
    "a helper's module": (
        {"mine": "from helper import size\n" + MINE, "helper": HELPER},
        "helper",
        "mine.Mine",
    ),
    "a helper of the helper": (
        {"mine": "import helper\n" + MINE, "helper": "import deeper", "deeper": HELPER},
        "deeper",
        "mine.Mine",
    ),
    "a base class": ({"mine": "from base import *\n", "base": MINE}, "base", "mine.Mine"),
    "an import inside a method": (
        {"mine": MINE + "\n    def late(self):\n        import helper\n", "helper": HELPER},
        "helper",
        "mine.Mine",
    ),
    "a relative import": (
        {"kit__in____init__": "", "kit__in__mine": "from . import parts\n" + MINE, "kit__in__parts": HELPER},
        "kit__in__parts",
        "kit.mine.Mine",
    ),
    "one from the package above": (
        {
            "kit__in____init__": "",
            "kit__in__sub__in____init__": "",
            "kit__in__sub__in__mine": "from ..parts import size\n" + MINE,
            "kit__in__parts": HELPER,
        },
        "kit__in__parts",
        "kit.sub.mine.Mine",
    ),
    "a package's own file": (
        {"kit__in____init__": HELPER, "kit__in__mine": MINE},
        "kit__in____init__",
        "kit.mine.Mine",
    ),
    "a name that another module gives on": (
        {"kit__in____init__": "from kit.impl import Mine", "kit__in__impl": MINE},
        "kit__in__impl",
        "kit.Mine",
    ),
    "a folder without __init__": ({"bare__in__mine": MINE}, "bare__in__mine", "bare.mine.Mine"),
    "a function": ({"mine": MINE + "\ndef make():\n    return Mine()\n"}, "mine", "mine.make"),
    "a class in a class": ({"mine": MINE + "\n    class Inner: pass\n"}, "mine", "mine.Mine.Inner"),
    "a method of a class": (
        {"mine": MINE + "\n    @classmethod\n    def made(cls):\n        return cls()\n"},
        "mine",
        "mine.Mine.made",
    ),
    "a partial": (
        {
            "mine": "from functools import partial\nimport helper\nmade = partial(helper.Mine)\n",
            "helper": MINE,
        },
        "helper",
        "mine.made",
    ),
    "a base that is found as it runs": (
        {"mine": "Base = __import__('he' + 'lper').Mine\nclass Mine(Base): pass\n", "helper": MINE},
        "helper",
        "mine.Mine",
    ),
    "a module called as one of Python's": (
        {"calendar_": MINE, "statistics": MINE},
        "statistics",
        "statistics.Mine",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_module_of_the_users_that_a_target_reaches_counts(
    made: Made, write: Write, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, edited, target = PLACES[place]
    if target.startswith("statistics"):
        monkeypatch.delitem(sys.modules, "statistics", raising=False)
    own = {"data.generator": {"_target_": target}}
    write(**texts)
    before = made(own)
    write(other="unused = 1\n")
    assert made(own) == before
    write(**{edited: texts[edited] + "\nmore = 1\n"})
    assert made(own) != before
    write(**texts)
    assert made(own) == before


IN = {
    "the scanner": {"scanner._target_": "mine.Own"},
    "the anatomy": {"anatomy._target_": "mine.Own"},
    "a part of the geometry": {"geometry.beam._target_": "mine.Own"},
    "a partial": {"data.generator.realistic": {"_partial_": True, "_target_": "mine.Own"}},
    "a list far down": {"data.generator.parts": [{"deep": [{"_target_": "mine.Own"}]}]},
    "a name that is looked up": {
        "data.generator.by": {"_target_": "hydra.utils.get_class", "path": "mine.Own"}
    },
}


@pytest.mark.parametrize("where", IN)
def test_a_target_counts_wherever_it_stands(made: Made, write: Write, where: str) -> None:
    text = "class Own: pass\n"
    write(mine=text)
    before = made(IN[where])
    write(mine=text + "more = 1\n")
    assert made(IN[where]) != before


def test_code_in_archives_and_without_source_counts_by_its_bytes(
    made: Made, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, found = write(), []
    for number, text in enumerate((MINE, EDITED)):
        archive = home / f"kit{number}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("zipped.py", text)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(archive))
            found.append(made({"data.generator": {"_target_": "zipped.Mine"}})["modules"]["zipped"])
            write()
    for text in (MINE, EDITED):
        home = write(source=text)
        py_compile.compile(str(home / "source.py"), str(home / "compiled.pyc"))
        found.append(made({"data.generator": {"_target_": "compiled.Mine"}})["modules"]["compiled"])
    assert len(set(found)) == 4


def test_a_module_edited_after_it_was_loaded_is_neither_of_the_two(made: Made, write: Write) -> None:
    home = write(mine=MINE)
    old = made()["modules"]["mine"]
    (home / "mine.py").write_text(EDITED, encoding="utf-8")
    between = made()["modules"]["mine"]
    importlib.reload(sys.modules["mine"])
    new = made()["modules"]["mine"]
    write()
    assert len({old, between, new}) == 3 and new == made()["modules"]["mine"]


def test_installed_packages_count_by_their_version(
    made: Made, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(mine="import _pytest.runner, json, numpy\nfrom ctmar.errors import CtmarError\n" + MINE)
    plain = made()
    assert set(plain["modules"]) == {"mine"} and plain["packages"] == {"pytest": pytest.__version__}
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    assert made()["packages"] == {"pytest": "0.0.1"}


def test_an_installed_package_of_the_target_counts_by_its_content(
    made: Made, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "site-packages__in__kit__in__"
    texts = {f"{place}__init__": "", f"{place}mine": "import kit.parts\n" + MINE, f"{place}parts": HELPER}
    home = write(**texts)
    monkeypatch.syspath_prepend(str(home / "site-packages"))
    own = {"data.generator": {"_target_": "kit.mine.Mine"}}
    for distributions in ({"kit": ["kit"]}, {}):  # with its name and version on record, and without
        monkeypatch.setattr(sources, "_distributions", lambda known=distributions: known)
        write(**texts)
        before = made(own)
        assert set(before["modules"]) == {"kit", "kit.mine", "kit.parts"} and "packages" not in before
        write(**{f"{place}parts": HELPER + "more = 1\n"})
        assert made(own) != before


def test_code_that_is_in_no_file_is_refused_where_cases_are_kept(
    plain_cfg: DictConfig, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    module = ModuleType("typed_in")
    exec(MINE, module.__dict__)  # as a notebook does
    monkeypatch.setitem(sys.modules, "typed_in", module)
    cfg = copy.deepcopy(plain_cfg)
    cfg.data.generator._target_ = "typed_in.Mine"
    with pytest.raises(
        CtmarError, match="module typed_in must be a file, got none .data.cache=null keeps none"
    ):
        case_store(cfg, 1)
    cfg.data.cache = None
    assert case_store(cfg, 1) is None


@pytest.mark.parametrize(
    "options", [(), ("data=surgery", "scanner=clinical", "geometry/acquisition=helical")]
)
def test_this_packages_own_configs_have_no_code_beside_its_own(tiny, options: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    assert not {"modules", "packages"} & set(case_settings(tiny(*options), 1))


FILES: dict[str, dict[str, Any]] = {
    "a file": {"masks": "masks.npy"},
    "one without a suffix": {"masks": "masks"},
    "in a list": {"masks": ["masks.npy"]},
    "in a mapping": {"masks": {"deep": [{"er": "masks.npy"}]}},
    "as a key of a mapping": {"masks": {"masks.npy": 3}},
    "below the current folder": {"masks": "./kept/masks.npy"},
    "in the user's home": {"masks": "~/masks.npy"},
    "a folder": {"masks": "kept"},
    "a folder among others": {"masks": ["./kept"]},
    "a link to a folder": {"masks": "linked"},
    "under another key": {"name": "masks.npy"},
    "positional": {"_args_": ["masks.npy"]},
    "left at its default": {},
}


@pytest.mark.parametrize("where", FILES)
@pytest.mark.parametrize("budget", [1 << 30, 1])
def test_a_file_that_a_string_names_counts_by_its_content(
    made: Made, write: Write, monkeypatch: pytest.MonkeyPatch, where: str, budget: int
) -> None:
    monkeypatch.setattr(fingerprints, "HASHED_BYTES", budget)
    default = "from pathlib import Path\n" + MINE.replace("masks=None", "masks=Path('masks.npy')")
    home = write(mine=MINE if FILES[where] else default)
    monkeypatch.setenv("HOME", str(home))
    for folder in ("kept/deep", "linked"):
        (home / folder).mkdir(parents=True)
    (home / "linked/there").symlink_to(home / "kept")
    (home / "kept/deep/up").symlink_to(home / "kept")
    found = []
    for content in (b"one mask", b"two mask", b"one mask"):
        for file in ("masks.npy", "masks", "kept/masks.npy", "kept/deep/masks.npy"):
            (home / file).write_bytes(content)
            os.utime(home / file, ns=(10**18, 10**18))  # the same size and time: the content alone differs
        found.append(made({"data.generator": {"_target_": "mine.Mine"} | FILES[where]}))
    assert found[0] == found[2] != found[1]


def test_a_file_that_moved_is_the_same_and_one_of_another_name_is_not(made: Made, write: Write) -> None:
    home = write(mine=MINE)
    for name in ("a/masks.npy", "b/masks.npy", "a/other.npy"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(b"mask")
    first, moved, other = (
        made({"data.generator": {"_target_": "mine.Mine", "masks": path}})
        for path in ("a/masks.npy", f"{home}/b/masks.npy", "a/other.npy")
    )
    assert first == moved != other


@pytest.mark.parametrize(
    "text", ["/", ".", "..", "", "~", "none.npy", "no/such.npy", "x" * 5000, "mine.nope"]
)
def test_a_string_that_names_no_input_stays_a_string(made: Made, write: Write, text: str) -> None:
    write(mine=MINE)
    own = {"data.generator": {"_target_": "mine.Mine", "masks": text}}
    assert made(own)["generator"] == own["data.generator"]


def test_words_of_this_packages_settings_are_no_files(made: Made, write: Write) -> None:
    plain: dict[str, Any] = {"seed": 0}
    home, before = write(), made(plain)
    for name in ("procedural_small", "integrating"):
        (home / name).mkdir()
        (home / name / "a").write_bytes(b"1")
    (home / "L1").write_bytes(b"1")
    assert made(plain) == before


def test_the_order_of_keys_does_not_matter(made: Made, write: Write) -> None:
    write(mine=MINE)
    nodes = ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    recipes = [made({"data.generator": {"masks": node, "_target_": "mine.Mine"}}) for node in nodes]
    assert fingerprint(recipes[0]) == fingerprint(recipes[1])


def test_a_file_is_read_again_when_it_changes_within_a_clock_tick(tmp_path: Path) -> None:
    file, found = tmp_path / "a", set()
    for number in range(20):
        file.write_bytes(b"%02d" % number)
        os.utime(file, ns=(10**18, 10**18))
        found.add(input_digest(file))
    assert len(found) == 20


def test_a_large_file_is_read_whole_and_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "HASHED_BYTES", 10)
    monkeypatch.setattr(fingerprints, "SETTLED_NS", -(10**12))
    file, read = tmp_path / "a", []
    file.write_bytes(bytes(3 << 20))
    blocks = fingerprints._blocks
    monkeypatch.setattr(fingerprints, "_blocks", lambda name: read.append(name) or blocks(name))
    before = input_digest(file)
    assert input_digest(file) == before and len(read) == 1
    with file.open("r+b") as opened:
        opened.seek(1 << 20)
        opened.write(b"1")
    assert input_digest(file) != before
