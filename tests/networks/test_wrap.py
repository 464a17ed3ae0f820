"""The angular axis: exact laws, and that the zero-padded network breaks them."""

import pytest
import torch
from torch import nn

from ctmar.errors import CtmarError
from ctmar.networks.unet import SinogramUNet
from ctmar.networks.wrap import AngularWrap, mirror_left_right, pad_views, roll_views

VIEWS, BINS = 48, 32


def point_sinogram(x: float, y: float) -> torch.Tensor:
    """A narrow blob at (x, y): it follows ``s = x cos θ + y sin θ``."""
    theta = torch.arange(VIEWS)[:, None] * torch.pi / VIEWS
    s = torch.arange(BINS)[None] - (BINS - 1) / 2
    return torch.exp(-((s - x * theta.cos() - y * theta.sin()) ** 2))


def random_unet(seed: int = 0) -> SinogramUNet:
    torch.manual_seed(seed)
    net = SinogramUNet(2, 1, channels=(8, 8), num_res_units=1)
    nn.init.normal_(net.head.weight)
    return net.double().eval()


def test_padding_continues_a_point_along_its_sinusoid() -> None:
    x, y = 7.0, -4.0
    padded = pad_views(point_sinogram(x, y), 10)
    theta = torch.arange(-10, VIEWS + 10)[:, None] * torch.pi / VIEWS
    s = torch.arange(BINS)[None] - (BINS - 1) / 2
    expected = torch.exp(-((s - x * theta.cos() - y * theta.sin()) ** 2))
    assert torch.allclose(padded, expected, atol=1e-5)


def test_rolling_turns_a_point_and_keeps_every_value() -> None:
    x, y = 7.0, -4.0
    turn = torch.tensor(11 * torch.pi / VIEWS)
    # View θ of the result is view θ + turn of the object: the object turned by -turn.
    u, v = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    rolled = roll_views(point_sinogram(x, y), 11)
    assert torch.allclose(rolled, point_sinogram(float(u), float(v)), atol=1e-5)


@pytest.mark.parametrize("views", [1, -1, 17, VIEWS, -VIEWS - 5, 3 * VIEWS + 2])
def test_rolling_back_is_the_identity(views: int) -> None:
    sinogram = torch.randn(2, VIEWS, BINS)
    assert torch.equal(roll_views(roll_views(sinogram, views), -views), sinogram)
    assert not torch.equal(roll_views(sinogram, views), sinogram)


def test_half_a_turn_flips_the_detector() -> None:
    sinogram = torch.randn(VIEWS, BINS)
    assert torch.equal(roll_views(sinogram, VIEWS), sinogram.flip(-1))


def test_mirror_reflects_a_point_left_to_right() -> None:
    assert torch.allclose(mirror_left_right(point_sinogram(7, -4)), point_sinogram(-7, -4), atol=1e-5)


def test_mirror_twice_is_the_identity() -> None:
    sinogram = torch.randn(3, VIEWS, BINS)
    assert torch.equal(mirror_left_right(mirror_left_right(sinogram)), sinogram)


def test_symmetric_wrapped_network_commutes_with_every_roll() -> None:
    wrapped = AngularWrap(random_unet(), views=16, symmetric=True)
    sinogram = torch.randn(1, 2, VIEWS, BINS, dtype=torch.float64)
    turn = 3 * wrapped.net.multiples[0]
    rolled_first = wrapped(roll_views(sinogram, turn))
    assert torch.allclose(rolled_first, roll_views(wrapped(sinogram), turn), atol=1e-10)


def test_wrapped_network_sees_no_seam_where_views_stay_within_the_range() -> None:
    wrapped = AngularWrap(random_unet(), views=16)
    sinogram = torch.randn(1, 2, VIEWS, BINS, dtype=torch.float64)
    turn = 3 * wrapped.net.multiples[0]
    rolled_first = wrapped(roll_views(sinogram, turn))
    kept = VIEWS - turn
    assert torch.allclose(rolled_first[..., :kept, :], wrapped(sinogram)[..., turn:, :], atol=1e-10)


def test_zero_padded_network_does_see_the_seam() -> None:
    net = random_unet()
    sinogram = torch.randn(1, 2, VIEWS, BINS, dtype=torch.float64)
    turn = 3 * net.multiples[0]
    kept = VIEWS - turn
    rolled_first = net(roll_views(sinogram, turn))
    assert (rolled_first[..., :kept, :] - net(sinogram)[..., turn:, :]).abs().max() > 1e-3


def test_wrap_of_zero_views_is_the_network_itself() -> None:
    net = random_unet()
    sinogram = torch.randn(1, 2, VIEWS, BINS, dtype=torch.float64)
    assert torch.equal(AngularWrap(net, 0)(sinogram), net(sinogram))


def test_more_wrapped_views_than_views_are_refused() -> None:
    with pytest.raises(CtmarError, match=r"must lie in \[0, 48\], got 49"):
        pad_views(torch.zeros(VIEWS, BINS), VIEWS + 1)
