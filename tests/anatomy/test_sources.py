"""Where bodies come from: splits never share slices or bodies."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ctmar.anatomy import sources
from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.landmarks.pedicles import find_pedicles
from ctmar.anatomy.sources import CTFiles, divide
from ctmar.errors import CtmarError
from ctmar.scenes import RealisticGenerator

CONFIGS = Path(__file__).parents[2] / "configs" / "anatomy"


@pytest.fixture
def forty_slices(monkeypatch):
    """A volume of 40 slices with vertebrae in 4 to 37, in place of a file."""
    labels = np.zeros((40, 4, 4), np.uint8)
    labels[4:38, 2, 2] = 31
    anatomy = Anatomy("fake", np.zeros(labels.shape, np.float32), labels, (1.0, 1.0, 1.0))
    monkeypatch.setattr(sources, "read_frozen", lambda *_: anatomy)
    return anatomy


@pytest.mark.parametrize(("low", "high"), [(4, 37), (0, 14), (10, 209)])
def test_division_keeps_order_gaps_and_all_slices(low, high):
    splits = divide(low, high)
    (a, b), (c, d), (e, f) = splits["train"], splits["val"], splits["test"]
    assert (a, f) == (low, high)
    assert c - b == e - d == sources.GAP_SLICES + 1
    assert min(b - a, d - c, f - e) >= 2


def test_division_is_60_15_25():
    sizes = [high - low + 1 for low, high in divide(0, 205).values()]
    assert sizes == [120, 30, 50]


def test_too_few_vertebra_slices_are_refused():
    with pytest.raises(CtmarError, match="at least 15 slices to divide them, got 14"):
        divide(0, 13)


def test_files_without_splits_are_divided_where_vertebrae_are(forty_slices):
    source = CTFiles("ct", "labels")
    slices = {split: source.pick(split, 0)[1] for split in ("train", "val", "test")}
    for name, part in slices.items():
        assert 4 <= part.start - 1 and part.stop <= 37, name
    # With its neighbours, no slice serves two splits.
    used = [set(range(part.start - 1, part.stop + 1)) for part in slices.values()]
    assert not (used[0] & used[1] or used[1] & used[2] or used[0] & used[2])


def test_three_levels_are_a_split_each_where_a_share_of_their_height_holds_none(
    toy_spine: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read_frozen", lambda *_: toy_spine)
    pedicles_mm = {pedicle.level: pedicle.isthmus_mm[2] for pedicle in find_pedicles(toy_spine)}
    by_height = divide(*sources.vertebra_slices(toy_spine))
    places = [z / toy_spine.spacing_mm[2] for z in pedicles_mm.values()]
    assert not any(by_height["val"][0] < z < by_height["val"][1] for z in places)
    lowest = {0: ("train", "val", "test"), 1: ("test", "train", "val"), 2: ("val", "test", "train")}
    for fold, order in lowest.items():
        source = CTFiles("ct", "labels", fold=fold)
        for level, split in zip(("L3", "L2", "L1"), order, strict=True):
            _, slices = source.pick(split, 0)
            assert slices.start * 2.5 < pedicles_mm[level] < slices[-1] * 2.5
            assert sum(slices.start * 2.5 < z < slices[-1] * 2.5 for z in pedicles_mm.values()) == 1
            RealisticGenerator((1, 2)).sample(toy_spine, slices, np.random.default_rng(0))
        ends = sorted(sources.divided(toy_spine, fold).values())
        assert all(after[0] - before[1] > sources.GAP_SLICES - 1 for before, after in pairwise(ends))


def test_folds_keep_each_splits_share(forty_slices: Anatomy) -> None:
    whole = [sources.divided(forty_slices, fold) for fold in range(3)]
    sizes = [{split: last - first for split, (first, last) in folds.items()} for folds in whole]
    assert sizes[0] == sizes[1] == sizes[2]
    assert [min(folds, key=folds.__getitem__) for folds in whole] == ["train", "test", "val"]
    for fold in (3, -1, "first"):
        with pytest.raises(CtmarError, match="anatomy.fold must be one of 0, 1, 2"):
            CTFiles("ct", "labels", fold=fold)
    with pytest.raises(CtmarError, match="divides a volume without splits"):
        CTFiles("ct", "labels", splits={"test": [17, 30]}, fold=1)


def test_given_splits_leave_room_for_neighbours(forty_slices):
    source = CTFiles("ct", "labels", splits={"train": [0, 25], "test": [30, 39]})
    assert source.pick("train", 7)[1] == range(1, 25)
    assert source.pick("test", 7)[1] == range(31, 39)


def test_a_split_that_is_not_there_is_refused(forty_slices):
    only_test = CTFiles("ct", "labels", name="abdomen", splits={"test": [17, 30]})
    with pytest.raises(CtmarError, match="split must be one of test for anatomy abdomen, got 'train'"):
        only_test.pick("train", 0)
    with pytest.raises(CtmarError, match="index must be at least 0, got -1"):
        only_test.pick("test", -1)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [0, 20], "val": [20, 30]}, r"must not overlap, got val \[20, 30\] and train \[0, 20\]"),
        ({"train": [0, 20], "test": [5, 9]}, "must not overlap"),
        ({"train": [5, 6]}, "3 slices or more, got"),
        ({"train": [9, 5]}, "3 slices or more, got"),
        ({"train": [-1, 6]}, "3 slices or more, got"),
        ({"holdout": [0, 6]}, "splits must name train, val or test, got 'holdout'"),
    ],
)
def test_bad_splits_are_refused(splits, message):
    with pytest.raises(CtmarError, match=message):
        CTFiles("ct", "labels", splits=splits)


def test_a_split_beyond_the_volume_is_refused(forty_slices):
    with pytest.raises(CtmarError, match="test must end before slice 40 of ct, got 40"):
        CTFiles("ct", "labels", splits={"test": [30, 40]}).pick("test", 0)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_builds_its_source(path):
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        options = compose("train", overrides=[f"anatomy={path.stem}"]).anatomy
    for key in OmegaConf.missing_keys(options):
        OmegaConf.update(options, key.removeprefix("anatomy."), "somewhere")
    assert instantiate(options).name == path.stem


def test_the_thorax_splits_leave_out_the_clips():
    options = yaml.safe_load((CONFIGS / "thorax.yaml").read_text(encoding="utf-8"))["splits"]
    used = {z for low, high in options.values() for z in range(low, high + 1)}
    assert not used & set(range(26, 34)) and max(used) == 65


@pytest.mark.slow
def test_real_volumes_give_slices_with_bone(data_dir):
    for name, split in (("thorax", "test"), ("abdomen", "test"), ("thorax", "train")):
        options = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
        options.pop("_target_")
        for key in ("ct", "labels"):
            options[key] = options[key].replace("${paths.data_dir}", str(data_dir))
        anatomy, slices = CTFiles(**options).pick(split, 0)
        bone = np.isin(anatomy.labels, sources.VERTEBRAE).any(axis=(1, 2))
        assert bone[slices.start : slices.stop].mean() > 0.7, name
