import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.metrics import shell_masks, tissue_masks


def spine() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """60 mm of soft tissue at 1 mm: a vertebral ring (L1) around a canal of 12 x 12 mm, muscle behind it."""
    labels = torch.zeros(1, 60, 60, dtype=torch.uint8)
    labels[0, 10:46, 20:40] = 31
    labels[0, 28:40, 24:36] = 0
    labels[0, 48:56, 5:55] = 86
    hu = torch.full((1, 60, 60), 40.0)
    hu[0, :, :4] = -100.0
    body = torch.ones(1, 60, 60, dtype=torch.bool)
    metal = torch.zeros_like(body)
    metal[0, 50:52, 20:22] = True
    return labels, hu, body, metal


def test_shells_by_hand() -> None:
    body = torch.ones(1, 81, 81, dtype=torch.bool)
    metal = torch.zeros_like(body)
    metal[0, 40, 40] = True
    shells = shell_masks(body, metal, 1.0)
    along = {name: mask[0, 40, 40:].nonzero().flatten().tolist() for name, mask in shells.items()}
    # The first millimetre is the metal's margin.
    assert along == {
        "0_5mm": [2, 3, 4, 5],
        "5_10mm": [6, 7, 8, 9, 10],
        "10_20mm": list(range(11, 21)),
        "20mm_up": list(range(21, 41)),
    }


def test_shells_are_disjoint_and_make_up_the_scored_body() -> None:
    labels, hu, body, metal = spine()
    shells = torch.stack(list(shell_masks(body, metal, 0.7).values()))
    assert (shells.sum(0) <= 1).all() and not (shells.any(0) & metal).any()
    far = shell_masks(body, metal & False, 0.7)
    assert torch.equal(far["20mm_up"], body) and not far["0_5mm"].any()


def test_tissues_by_hand() -> None:
    labels, hu, body, metal = spine()
    masks = tissue_masks(labels, hu, body, metal, 1.0)
    assert int(masks["canal"].sum()) == 12 * 12 and masks["canal"][0, 30, 30]
    # The body is what lies before the canal: 18 rows of 20.
    assert int(masks["vertebral_body"].sum()) == 18 * 20
    assert not masks["vertebral_body"][0, 41, 30]  # the lamina behind
    assert int(masks["muscle"].sum()) == 8 * 50 - int((metal.sum() + 12).item())
    # Of four columns of fat at the image's edge the innermost touches soft tissue.
    assert int(masks["fat"].sum()) == 3 * 60
    assert not masks["lung"].any()


def test_a_wrong_orientation_finds_another_body() -> None:
    labels, hu, body, metal = spine()
    upside_down = tissue_masks(labels.flip(-2), hu, body, metal, 1.0)["vertebral_body"]
    assert int(upside_down.sum()) != 18 * 20


def test_tissue_outside_the_body_and_in_metal_is_not_scored() -> None:
    labels, hu, body, metal = spine()
    body[0, :, 30:] = False
    masks = tissue_masks(labels, hu, body, metal, 1.0)
    assert not any((mask & (~body | metal)).any() for mask in masks.values())
    assert masks["canal"].any()


def test_a_slice_without_labels_has_no_tissue_but_fat() -> None:
    labels, hu, body, metal = spine()
    masks = tissue_masks(labels & 0, hu, body, metal, 1.0)
    assert {name for name, mask in masks.items() if mask.any()} == {"fat"}


def test_a_batch_is_divided_slice_by_slice() -> None:
    labels, hu, body, metal = spine()
    pair = [torch.stack([x, x.flip(-1)]) for x in (labels, hu, body, metal)]
    together = tissue_masks(*pair, 1.0)
    alone = tissue_masks(labels, hu, body, metal, 1.0)
    assert all(torch.equal(together[name][0], alone[name]) for name in alone)
    assert all(torch.equal(together[name][1], alone[name].flip(-1)) for name in ("canal", "vertebral_body"))


def test_masks_of_other_shapes_are_refused() -> None:
    labels, hu, body, metal = spine()
    with pytest.raises(CtmarError, match="masks must be of one shape"):
        tissue_masks(labels, hu[..., 1:], body, metal, 1.0)
