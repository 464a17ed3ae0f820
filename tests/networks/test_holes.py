"""Partial convolutions do not see holes, gates can shut them out, and both fit the sizes of sinograms."""

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.networks.holes import GatedConv, HoleUNet, PartialConv


def with_hole(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    known = torch.ones(1, 1, 8, 12)
    known[..., 3:6, 4:8] = 0
    return torch.randn(1, 2, 8, 12), known


def test_partial_convolution_is_the_formula() -> None:
    x, known = with_hole()
    layer = PartialConv(2, 3)
    torch.nn.init.normal_(layer.bias)
    found, seen = layer.linear(x, known)
    padded, mask = (torch.nn.functional.pad(t, (1, 1, 1, 1)) for t in (x * known, known))
    for row, column in ((0, 0), (3, 4), (2, 3), (4, 5), (7, 11)):
        patch, part = (t[0, :, row : row + 3, column : column + 3] for t in (padded, mask))
        count = float(part.sum())
        wanted = layer.bias.clone()
        if count:
            wanted += (layer.conv.weight * patch).sum((1, 2, 3)) * 9 / count
        torch.testing.assert_close(found[0, :, row, column], wanted)
        assert float(seen[0, 0, row, column]) == float(count > 0)


def test_what_stands_in_a_hole_has_no_say_in_partial_convolutions_but_has_in_gated_ones() -> None:
    x, known = with_hole()
    other = torch.where(known.bool(), x, x + 5)
    for layer, sees in ((PartialConv(2, 3).eval(), False), (GatedConv(2, 3).eval(), True)):
        assert torch.equal(layer(x, known)[0], layer(other, known)[0]) != sees


def test_a_gate_can_shut_a_place_out() -> None:
    layer = GatedConv(1, 1).eval()
    with torch.no_grad():
        layer.both.weight[1], layer.both.bias[1] = 0.0, -30.0
    assert layer(torch.randn(1, 1, 6, 6), torch.ones(1, 1, 6, 6))[0].abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["gated", "partial"])
@pytest.mark.parametrize("downscale", [1, 2, (4, 2)])
def test_any_size_comes_back_and_the_start_is_zero(kind: str, downscale) -> None:
    net = HoleUNet(3, 2, kind=kind, hole_channel=1, channels=(8, 8, 16), downscale=downscale)
    sinogram = torch.rand(2, 3, 30, 67)
    sinogram[:, 1] = (sinogram[:, 1] > 0.7).float()
    assert net(sinogram).shape == (2, 2, 30, 67)
    assert not net(sinogram).any()
    (net(sinogram) - 1).square().sum().backward()
    assert net.head.weight.grad is not None and net.head.weight.grad.any()


def test_unknown_kind_is_named() -> None:
    with pytest.raises(CtmarError, match="network must be one of unet, gated, partial, got 'mamba'"):
        HoleUNet(1, 1, kind="mamba", hole_channel=0)
