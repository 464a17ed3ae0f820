"""``scripts/train_occupancy.py``: what it shows the network, what it asks of it, and that it runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ctmar.networks.occupancy import MetalOccupancy
from scripts import train_occupancy

NONE = np.zeros((train_occupancy.PART,) * 2, np.float32)


def test_heaviness_is_told_by_attenuation() -> None:
    found = {name: train_occupancy.heaviness(name) for name in ("Ti-6Al-4V", "316L", "CoCrMo", "gold")}
    assert found["Ti-6Al-4V"] == 0 and found["CoCrMo"] == 1 and found["gold"] == 1
    assert found["316L"] == pytest.approx(0.83, abs=0.01)  # as the network's docstring says


def test_image_and_metal_are_moved_alike() -> None:
    share = NONE.copy()
    share[120:170, 100:180] = 1.0
    hu, metal = train_occupancy.changed((9000 * share, share, 0.83 * share), np.random.default_rng(3))
    side = train_occupancy.SIDE
    assert hu.shape == (1, side, side) and metal.shape == (2, side, side)
    assert metal.min() >= 0 and metal.max() <= 1
    inside = metal[0] > 0.99
    assert inside.sum() > 200 and hu[0][inside].min() > 2000 and hu[0][metal[0] == 0].median() < 100
    assert metal[1][inside].mean() == pytest.approx(0.83, abs=0.01)


def test_the_loss_falls_as_the_answer_comes_near() -> None:
    metal = torch.zeros(1, 2, 32, 32)
    metal[:, 0, 8:16, 8:16], metal[:, 1, 8:16, 8:16] = 1.0, 0.83
    right = torch.logit(metal.clamp(1e-3, 1 - 1e-3))
    light = right.clone()
    light[:, 1] = -7.0
    nothing = torch.full_like(right, -7.0)
    best, lighter, none = (float(train_occupancy.loss(x, metal)) for x in (right, light, nothing))
    assert best < lighter < none


@pytest.mark.slow
def test_it_simulates_what_is_not_there_trains_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("anatomy=procedural_small", "data=mixed", "data.fills=[]", "geometry=medium")
    for name, value in {
        "COMMON": small,
        "CASES": {"train": {"screws": 2}, "val": {"screws": 1}},
        "PART": 192,
        "SIDE": 64,
        "BATCH": 2,
        "REPORTED": 2,
    }.items():
        monkeypatch.setattr(train_occupancy, name, value)
    out = tmp_path / "weights.safetensors"
    words = [str(tmp_path / "images"), "--minutes", "0.05", "--out", str(out)]
    assert train_occupancy.main(words) == 0
    told = capsys.readouterr().out
    assert "steps, " in told and "Dice 0." in told
    MetalOccupancy().load_state_dict(load_file(out))
    files = sorted((tmp_path / "images").rglob("*.npz"))
    before = [path.stat().st_mtime_ns for path in files]
    assert len(files) == 3 and set(np.load(files[0])) == {"hu", "share", "heavy"}
    train_occupancy.main(words)
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--minutes", "0"), "--minutes must be positive, got 0"), (("--out", "/no/x"), "--out must lie in a")],
)
def test_what_cannot_be_is_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train_occupancy.main([str(tmp_path), *words])
    assert message in capsys.readouterr().err
