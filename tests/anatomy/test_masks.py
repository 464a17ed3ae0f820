"""The body in a slice, without the table."""

import numpy as np
import pytest

from ctmar.anatomy.masks import body_mask, reaches_border
from ctmar.errors import CtmarError


def disk(shape, center, radius):
    i, j = np.indices(shape)
    return np.hypot(i - center[0], j - center[1]) <= radius


@pytest.fixture
def patient():
    """A trunk with a lung, lying on a thin table, 1 mm pixels."""
    hu = np.full((120, 160), -1000.0, np.float32)
    trunk = disk(hu.shape, (55, 80), 40)
    hu[trunk] = 40
    hu[disk(hu.shape, (50, 95), 12)] = -850
    hu[104:108, 20:140] = 300
    return hu, trunk


def test_the_body_holds_its_lungs_and_not_the_table(patient):
    hu, trunk = patient
    mask = body_mask(hu)
    assert (mask != trunk).mean() < 0.002
    assert not mask[104:108].any()


def test_a_table_that_touches_the_back_is_cut_off(patient):
    hu, trunk = patient
    hu[94:98, 20:140] = 300
    mask = body_mask(hu)
    assert mask[trunk].mean() > 0.99
    assert not mask[94:98, 20:50].any()


def test_a_hollow_table_is_not_a_second_body(patient):
    hu, trunk = patient
    hu[100:118, 20:140] = 100
    hu[103:115, 23:137] = -950
    assert not body_mask(hu)[104:].any()


def test_an_arm_beside_the_trunk_belongs_to_the_body(patient):
    hu, trunk = patient
    arm = disk(hu.shape, (60, 20), 14)
    hu[arm] = 40
    assert body_mask(hu)[arm].mean() > 0.95


def test_slices_are_independent_and_an_empty_one_is_empty(patient):
    hu, _ = patient
    volume = np.stack([hu, np.full_like(hu, -1000.0)])
    mask = body_mask(volume, (1.0, 1.0, 5.0))
    assert np.array_equal(mask[0], body_mask(hu)) and not mask[1].any()


def test_the_opening_is_in_millimetres():
    hu = np.full((80, 80), -1000.0, np.float32)
    hu[10:60, 10:70] = 40
    hu[66:70, :] = 40
    assert not body_mask(hu, 1.0)[67].any()
    bar = np.full((80, 80), -1000.0, np.float32)
    bar[30:34, 10:70] = 40
    assert not body_mask(bar, 1.0).any() and body_mask(bar, 4.0).any()


def test_a_body_cut_by_the_border_is_measured(patient):
    hu, _ = patient
    whole = body_mask(hu)[None]
    assert reaches_border(whole) == 0.0
    cut = body_mask(hu[:, 50:])[None]
    assert reaches_border(cut) > 0.1
    assert cut[0, :, 0].sum() > 30


def test_padding_around_a_circular_field_counts_as_border(patient):
    hu, _ = patient
    padding = ~disk(hu.shape, (55, 80), 35)
    mask = body_mask(np.where(padding, -1000, hu))[None]
    assert reaches_border(mask, padding[None]) > 0.9
    assert reaches_border(mask) == 0.0


def test_odd_input_is_named():
    with pytest.raises(CtmarError, match="2 or 3 axes, got 1"):
        body_mask(np.zeros(4))
    with pytest.raises(CtmarError, match="spacing must be positive"):
        body_mask(np.zeros((4, 4)), 0.0)
