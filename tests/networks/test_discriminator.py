"""One logit a patch, from both arguments."""

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.networks.discriminator import (
    DISCRIMINATOR_NORMS,
    ConditionalPatchDiscriminator,
    EncoderDiscriminator,
)
from ctmar.networks.unet import SinogramUNet


@pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
def test_gives_one_map_of_logits_for_odd_sizes(norm: str) -> None:
    logits = ConditionalPatchDiscriminator(3, 2, channels=8, norm=norm)(
        torch.randn(2, 3, 48, 65), torch.randn(2, 2, 48, 65)
    )
    assert logits.shape[:2] == (2, 1)
    assert logits.shape[2] > 1 and logits.shape[3] > 1


def test_logits_depend_on_condition_and_candidate() -> None:
    torch.manual_seed(0)
    net = ConditionalPatchDiscriminator(1, 1, channels=8).eval()
    condition, candidate = torch.randn(2, 1, 1, 48, 64)
    base = net(condition, candidate)
    assert not torch.allclose(net(condition + 1, candidate), base)
    assert not torch.allclose(net(condition, candidate + 1), base)


@pytest.mark.parametrize(("layers", "width"), [(1, 16), (2, 34), (3, 70)])
def test_patch_is_as_wide_as_documented(layers: int, width: int) -> None:
    net = ConditionalPatchDiscriminator(1, 1, channels=8, num_layers=layers, norm="none").double()
    candidate = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = net(torch.zeros_like(candidate), candidate)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert candidate.grad is not None
    touched = candidate.grad[0, 0].abs().sum(0).nonzero()
    assert int(touched.max() - touched.min()) + 1 == width


def test_unknown_norm_is_named() -> None:
    with pytest.raises(CtmarError, match=r"discriminator_norm must be one of spectral, none.*got 'weight'"):
        ConditionalPatchDiscriminator(1, 1, norm="weight")


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_an_encoder_has_a_level_more_than_its_layers_and_one_map_of_logits(layers: int) -> None:
    net = EncoderDiscriminator(3, 2, num_layers=layers, channels=(8, 8, 16), downscale=(4, 2))
    features = net.features(torch.randn(2, 3, 45, 65), torch.randn(2, 2, 45, 65))
    assert len(features) == layers + 2
    assert features[-1].shape[:2] == (2, 1)
    assert features[-1].shape[2:] == features[-2].shape[2:]


def test_an_encoder_takes_the_trunk_of_a_network_of_the_same_options() -> None:
    options = {"channels": (8, 16), "num_res_units": 2, "norm": "group", "downscale": 1}
    generator = SinogramUNet(3, 1, **options)
    judge = EncoderDiscriminator(3, 2, num_layers=1, **options).eval()
    judge.take_trunk(generator)
    condition, candidate = torch.randn(1, 3, 16, 16), torch.randn(1, 2, 16, 16)
    assert torch.equal(judge(condition, candidate), judge(condition, 0 * candidate))
    assert not torch.equal(judge(condition + 1, candidate), judge(condition, candidate))


@pytest.mark.parametrize("layers", [-1, 3])
def test_levels_that_an_encoder_lacks_are_refused(layers: int) -> None:
    with pytest.raises(CtmarError, match=f"discriminator_layers must be from 0 to 2, got {layers}"):
        EncoderDiscriminator(1, 1, num_layers=layers, channels=(8, 8, 16))
