"""Settings of a training that are out of their range are named, and so is what came."""

import pytest

from ctmar.errors import CtmarError
from ctmar.training.augment import Augment
from ctmar.training.gan import Adversary
from ctmar.training.optimizer import Optimizer
from ctmar.training.refine import Refine
from tests.training.building import PATCH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be a positive whole number, got 0"),
        ({"accumulate": True}, "accumulate must be a positive whole number, got True"),
        ({"scheduler": "step"}, "scheduler must be one of cosine, none, got 'step'"),
        ({"clip": -1.0}, "clip must be 0 or more, got -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be 0 or more, got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
    ],
)
def test_optimizer(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=f"^{message}"):
        Optimizer(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "wgan"}, "adversarial must be one of minimax.*got 'wgan'"),
        ({"lambda_l2": -1.0}, "lambda_l2 must be 0 or more, got -1.0"),
        ({"feature_weight": -0.5}, "feature_weight must be 0 or more, got -0.5"),
        ({"learning_rate": 0.0}, "discriminator_learning_rate must be positive, got 0.0"),
    ],
)
def test_adversary(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=f"^{message}"):
        Adversary(PATCH, **options)


def test_augment() -> None:
    with pytest.raises(CtmarError, match="^augment_rotate_views must be 0 or more, got -1"):
        Augment(rotate_views=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "before"}, "refine must be one of none, after, joint, got 'before'"),
        ({"kind": "joint", "weight": 0.0}, "refine_weight must be positive, got 0.0"),
    ],
)
def test_refine(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=f"^{message}"):
        Refine(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter": "box"}, "refine_filter must be one of ram-lak.*got 'box'"),
        ({"channels": [8]}, "channels must hold two or more positive counts"),
    ],
)
def test_refinement_network(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=f"^{message}"):
        Refine("joint", **options).network(1)
