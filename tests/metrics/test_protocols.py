import math

import numpy as np
import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics import IMAGE_METRICS, PROTOCOLS, Protocol, image_metrics, psnr, ssim
from ctmar.metrics.similarity import ssim_map

SHAPE = (1, 1, 24, 20)
BODY = torch.ones(SHAPE, dtype=torch.bool)
METAL = torch.zeros(SHAPE, dtype=torch.bool)


def flat(hu: float) -> torch.Tensor:
    return torch.full(SHAPE, hu)


def texture(seed: int, spread: float = 60.0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * spread


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("hu4096", 20 * math.log10(4096 / 30)), ("soft", 20 * math.log10(450 / 30)), ("range3000", 40.0)],
)
def test_psnr_of_thirty_hu_off_worked_by_hand(protocol, expected):
    assert psnr(flat(40), flat(10), BODY, METAL, protocol).item() == pytest.approx(expected)


def test_psnr_of_a_wrong_range_is_another_figure():
    figures = {name: psnr(flat(40), flat(10), BODY, METAL, name).item() for name in PROTOCOLS}
    assert max(figures.values()) - min(figures.values()) > 15
    assert len({round(value, 3) for value in figures.values()}) == len(figures)


def test_soft_protocol_does_not_see_what_is_clipped():
    assert psnr(flat(2000), flat(300), BODY, METAL, "soft").item() == math.inf
    assert psnr(flat(2000), flat(300), BODY, METAL, "range3000").item() == pytest.approx(
        20 * math.log10(3000 / 1700)
    )


def test_indudonet_protocol_is_eight_bit_attenuation_up_to_a_half_per_cm():
    image, reference = flat(0.0), flat(100.0)  # 0.192 and 0.2112 per cm: grey levels 97.92 and 107.712
    expected = 20 * math.log10(255 / (108 - 98))
    assert psnr(image, reference, BODY, METAL, "indudonet").item() == pytest.approx(expected)
    # Within one grey level (10.2 HU here) nothing is seen.
    assert psnr(flat(0.0), flat(4.0), BODY, METAL, "indudonet").item() == math.inf


def test_indudonet_protocol_averages_over_the_whole_image_and_others_over_the_body():
    body = BODY.clone()
    body[..., 10:] = False
    image = torch.where(body, flat(100.0), flat(0.0))
    inside, whole = (psnr(image, flat(0.0), body, METAL, name).item() for name in ("hu4096", "indudonet"))
    assert inside == pytest.approx(20 * math.log10(4096 / 100))
    assert whole == pytest.approx(20 * math.log10(255 / 10) + 10 * math.log10(2))


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_metal_pixels_are_never_scored(protocol):
    reference, image, metal = texture(0), texture(1), METAL.clone()
    metal[..., 5:9, 6:10] = True
    spoiled = torch.where(metal, torch.nan, image)
    for metric in (psnr, ssim):
        figure = metric(image, reference, BODY, metal, protocol)
        assert torch.equal(metric(spoiled, reference, BODY, metal, protocol), figure)
        assert not torch.isclose(metric(image, reference, BODY, METAL, protocol), figure, rtol=1e-6)


@pytest.mark.parametrize("protocol", ["hu4096", "soft", "range3000"])
def test_without_a_pixel_to_score_figures_are_nan(protocol):
    nothing = torch.zeros_like(BODY)
    assert torch.isnan(psnr(flat(0), flat(1), nothing, METAL, protocol)).all()
    assert torch.isnan(ssim(flat(0), flat(1), nothing, METAL, protocol)).all()
    assert torch.isnan(psnr(flat(0), flat(1), BODY, ~METAL, protocol)).all()


def test_no_image_is_rescaled_to_its_own_range():
    reference = texture(0)
    assert psnr(reference * 2, reference, BODY, METAL, "hu4096").item() < 40
    assert ssim(reference * 2, reference, BODY, METAL, "soft").item() < 0.95
    assert ssim(reference + 100, reference, BODY, METAL, "soft").item() < 0.95  # rescaled: 1


@pytest.mark.parametrize(
    ("protocol", "low", "high", "data_range"),
    [
        ("soft", 175, 225, 450),  # above the window's lowest
        ("hu4096", 1024, 1074, 4096),
        ("range3000", 0, 50, 3000),  # raw HU
        ("aapm", 0, 50, 5000),
        ("indudonet", 98, 103, 255),  # 0.192 and 0.2016 per cm in grey levels
    ],
)
def test_ssim_of_flat_images_worked_by_hand(protocol, low, high, data_range):
    # Without texture only the luminance is left.
    c1 = (0.01 * data_range) ** 2
    expected = (2 * low * high + c1) / (low**2 + high**2 + c1)
    assert ssim(flat(0), flat(50), BODY, METAL, protocol).item() == pytest.approx(expected)


def test_ssim_of_equal_images_is_one():
    for name in PROTOCOLS:
        assert ssim(texture(0), texture(0), BODY, METAL, name).item() == pytest.approx(1.0)


def test_ssim_map_agrees_with_torchmetrics_and_scikit_image():
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = texture(0).double(), texture(0).double() + texture(1, 30).double()
    own = ssim_map(x, y, 450.0)
    _, theirs = structural_similarity_index_measure(x, y, data_range=450.0, return_full_image=True)
    assert torch.allclose(own, theirs, atol=1e-9)
    options = {"data_range": 450.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, theirs = structural_similarity(x[0, 0].numpy(), y[0, 0].numpy(), full=True, **options)
    assert np.allclose(own[0, 0, 5:-5, 5:-5], theirs[5:-5, 5:-5], atol=1e-9)
    assert not torch.allclose(own, ssim_map(x, y, 4096.0), atol=1e-3)


def test_ssim_of_a_batch_is_that_of_its_cases():
    images, reference = texture(0, shape=(3, 1, 16, 16)), texture(1, shape=(1, 1, 16, 16))
    body = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(2)) > 0.3
    metal = torch.zeros_like(body)
    for metric in (psnr, ssim):
        together = metric(images, reference, body, metal, "soft")
        for case in range(3):
            one = slice(case, case + 1)
            alone = metric(images[one], reference, body[one], metal[one], "soft")
            assert alone.shape == (1, 1)
            assert torch.allclose(together[one], alone)


def test_unknown_protocol_names_the_known_ones():
    with pytest.raises(CtmarError, match="hu4096, soft, range3000, aapm, indudonet, got 'best'"):
        psnr(flat(0), flat(0), BODY, METAL, "best")


def test_impossible_ranges_and_sizes_are_refused():
    with pytest.raises(CtmarError, match="range_hu must be"):
        Protocol("upside down", (100.0, -100.0))
    with pytest.raises(CtmarError, match=r"data_range must be positive, got 0\.0"):
        ssim_map(texture(0), texture(1), 0.0)
    with pytest.raises(CtmarError, match="6 x 6 or larger"):
        ssim_map(torch.zeros(1, 1, 5, 20), torch.zeros(1, 1, 5, 20), 1.0)


def test_the_suite_measures_what_it_lists():
    metal = METAL.clone()
    metal[..., 12, 10] = True
    figures = image_metrics(flat(30).expand(2, *SHAPE[1:]), flat(0), metal, BODY, 1.0)
    assert tuple(figures) == IMAGE_METRICS
    assert all(figure.shape == (2, 1) and figure.dtype == torch.float64 for figure in figures.values())
    assert figures["rmse_hu_near"].flatten().tolist() == pytest.approx([30.0, 30.0])


def test_the_suite_keeps_near_and_body_apart():
    metal = METAL.clone()
    metal[..., 2, 2] = True
    far = flat(0)
    far[..., -1, -1] = 50.0  # 27 mm from the metal
    image = torch.where(metal, 5000.0, far)
    figures = image_metrics(image, flat(0), metal, BODY, 1.0)
    assert figures["rmse_hu_near"].item() == 0.0
    assert figures["rmse_hu_body"].item() == pytest.approx(50 / math.sqrt(24 * 20 - 1))


def test_aapm_widens_metal_by_two_pixels():
    body = torch.ones(1, 1, 15, 15, dtype=torch.bool)
    metal = torch.zeros_like(body)
    metal[..., 7, 7] = True
    image = torch.zeros(1, 1, 15, 15)
    image[..., 5:10, 5:10] = 500.0  # an error within two pixels of the metal alone
    assert torch.isinf(psnr(image, image * 0, body, metal, "aapm")).all()
    image[..., 4, 7] = 50.0  # one of the other 200 pixels
    expected = 10 * math.log10(5000**2 / (50**2 / 200))
    assert psnr(image, image * 0, body, metal, "aapm").item() == pytest.approx(expected)
    assert psnr(image, image * 0, body, metal, "hu4096").item() < 50
