import pytest

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_spacing_must_be_positive(spacing: float) -> None:
    with pytest.raises(CtmarError, match="spacing_mm must be a positive number, got"):
        ImageGrid((4, 4), spacing)
    with pytest.raises(CtmarError, match="det_spacing_mm must be a positive number"):
        ParallelBeam(4, 4, spacing)


@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_counts_must_be_positive_whole_numbers(count: float) -> None:
    with pytest.raises(CtmarError, match="num_angles must be a positive whole number"):
        ParallelBeam(count, 4, 1.0)  # type: ignore[arg-type]
    with pytest.raises(CtmarError, match="rows must be a positive whole number"):
        ImageGrid((count, 4), 1.0)  # type: ignore[arg-type]


def test_sub_rays_average_to_their_bin() -> None:
    beam = ParallelBeam(3, 5, 1.5, det_offset_mm=0.25)
    fine = beam.refine(4)
    position = lambda b, d: (d - (b.det_count - 1) / 2) * b.det_spacing_mm + b.det_offset_mm  # noqa: E731
    for d in range(5):
        mean = sum(position(fine, 4 * d + k) for k in range(4)) / 4
        assert mean == pytest.approx(position(beam, d))


def test_detector_covers_the_diagonal_or_not() -> None:
    grid = ImageGrid((256, 256), 1.4)
    assert ParallelBeam(360, 367, 1.4).covers(grid)
    assert not ParallelBeam(360, 300, 1.4).covers(grid)


def test_only_uniform_centred_views_wrap() -> None:
    assert ParallelBeam(8, 9, 1.0).wraps
    assert not ParallelBeam(8, 9, 1.0, det_offset_mm=0.25).wraps
    assert not ParallelBeam(2, 9, 1.0, angles=(0.0, 1.0)).wraps


def test_given_angles_must_match_their_count() -> None:
    with pytest.raises(CtmarError, match="angles must hold 3 finite values, got 2"):
        ParallelBeam(3, 9, 1.0, angles=(0.0, 1.0))
