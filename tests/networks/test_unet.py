"""The U-Net takes any size, starts at zero, and its norms do what their documentation says."""

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from ctmar.errors import CtmarError
from ctmar.networks.unet import NORMS, SinogramUNet, from_blocks, to_blocks, unet


def moved(net: SinogramUNet) -> SinogramUNet:
    """The same network with a head that is not zero."""
    torch.manual_seed(1)
    nn.init.normal_(net.head.weight)
    return net


@pytest.mark.parametrize("size", [(48, 65), (30, 367), (45, 729), (7, 5)])
@pytest.mark.parametrize("downscale", [1, 2, (4, 2)])
def test_any_size_comes_back_as_it_went_in(size: tuple[int, int], downscale) -> None:
    net = unet(3, 2, channels=(8, 8, 16, 16), downscale=downscale).eval()
    assert net(torch.randn(1, 3, *size)).shape == (1, 2, *size)


def test_monai_alone_fails_on_such_a_size() -> None:
    with pytest.raises(RuntimeError, match="must match"):
        UNet(2, 3, 2, (8, 8, 16), (2, 2))(torch.randn(1, 3, 30, 367))


@pytest.mark.parametrize("norm", NORMS)
def test_untrained_network_returns_exactly_zero_and_can_leave_it(norm: str) -> None:
    net = unet(3, 1, channels=(8, 16), norm=norm)
    result = net(torch.randn(2, 3, 16, 17))
    assert torch.count_nonzero(result) == 0
    (result - 1).square().sum().backward()
    assert net.head.weight.grad is not None and net.head.weight.grad.abs().max() > 0


def test_every_bin_of_a_block_is_predicted_on_its_own() -> None:
    result = moved(unet(1, 1, channels=(8, 16)))(torch.randn(1, 1, 16, 16))
    assert not torch.allclose(result[..., ::2, ::2], result[..., 1::2, 1::2])


def test_blocks_are_torchs_own_and_come_back_for_unequal_edges_too() -> None:
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(to_blocks(x, (2, 2)), torch.nn.functional.pixel_unshuffle(x, 2))
    assert to_blocks(x, (4, 2)).shape == (2, 24, 2, 6)
    assert torch.equal(to_blocks(x, (4, 2))[0, 8:16, 1, 2].reshape(4, 2), x[0, 1, 4:8, 4:6])
    assert torch.equal(from_blocks(to_blocks(x, (4, 2)), (4, 2)), x)


def level_error(norm: str) -> float:
    """Error of a network fitted to predict the mean level of its input, on levels between those it saw."""
    torch.manual_seed(0)
    net = unet(1, 1, channels=(8, 16), norm=norm)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    texture = torch.randn(64, 1, 16, 16) * 0.1
    for step in range(120):
        level = torch.rand(8, 1, 1, 1) * 4
        loss = (net(texture[step % 8 * 8 :][:8] + level) - level).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    level = torch.linspace(0.2, 3.8, 16)[:, None, None, None]
    net.eval()
    with torch.no_grad():
        return float((net(texture[:16] + level) - level).square().mean().sqrt())


def test_instance_norm_loses_the_level_that_a_network_without_one_keeps() -> None:
    assert level_error("none") < 0.5 * level_error("instance")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm must be one of none, batch, group, instance, got 'layer'"),
        ({"channels": (8,)}, r"channels must hold two or more positive counts, got \[8\]"),
        ({"channels": (8, 12), "norm": "group"}, "multiples of 8"),
        ({"num_res_units": -1}, "num_res_units must be 0 or more, got -1"),
        ({"downscale": 0}, "downscale must be 1 or more, or two such numbers, got 0"),
        ({"downscale": (2, 0)}, r"downscale must be 1 or more, or two such numbers, got \[2, 0\]"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        unet(1, 1, **options)
