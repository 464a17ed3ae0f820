"""Metal beside the spine lies where the labels have its place; operations draw every kind there is."""

from dataclasses import replace

import numpy as np
import pytest

from ctmar.anatomy import Anatomy, read_anatomy
from ctmar.anatomy.labels import AORTA, FEMUR_LEFT, HIP_LEFT, TISSUES
from ctmar.anatomy.landmarks import find_anchors, find_canal, find_pedicles, find_vertebrae
from ctmar.anatomy.landmarks.femoral_head import femoral_head
from ctmar.implants.incidental import INCIDENTAL, sample_incidental
from ctmar.implants.kinds import solid
from ctmar.implants.surgery import Habits, sample_surgery
from ctmar.phantoms import build_body


@pytest.fixture(scope="module")
def body() -> Anatomy:
    return build_body(3, ("L1", "L2", "L3"), (2.0, 2.0, 3.0))


def center(device):
    low, high = solid(device.kind, device.numbers).bounds_mm()
    return (low + high) / 2


def label_at(anatomy, point):
    return anatomy.labels[tuple(np.rint(point / anatomy.spacing_mm).astype(int)[::-1])]


def test_markers_lie_in_an_organ_and_clips_at_its_edge(body):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        markers = INCIDENTAL["gold markers"](body, rng)
        assert len(markers) == 3 and {d.material for d in markers} == {"gold"}
        assert all(label_at(body, center(d)) in TISSUES["organ"] for d in markers)
        clips = INCIDENTAL["clips"](body, rng)
        assert 2 <= len(clips) <= 6
        assert all(np.ptp([center(d)[k] for d in clips]) <= 40 for k in range(3))


def test_a_stent_follows_the_aorta(body):
    rings = INCIDENTAL["stent"](body, np.random.default_rng(0))
    assert len(rings) >= 3
    for ring in rings:
        assert label_at(body, center(ring)) == AORTA
    assert (
        INCIDENTAL["stent"](replace(body, labels=np.zeros_like(body.labels)), np.random.default_rng(0)) == ()
    )


def test_the_centre_of_a_femoral_head_is_found():
    z, y, x = np.meshgrid(*(np.arange(n) * 2.0 for n in (60, 50, 50)), indexing="ij")
    true = np.array([51.0, 47.0, 80.0])
    away = np.linalg.norm(np.stack([x, y, z], axis=-1) - true, axis=-1)
    labels = np.zeros(away.shape, np.uint8)
    labels[away < 23] = FEMUR_LEFT
    labels[(np.hypot(x - 60, y - 47) < 14) & (z < 80) & (labels == 0)] = FEMUR_LEFT
    labels[(away > 25) & (away < 36) & (z > 74)] = HIP_LEFT
    hip = Anatomy("hip", np.zeros(away.shape, np.float32), labels, (2.0, 2.0, 2.0))
    np.testing.assert_allclose(femoral_head(hip, FEMUR_LEFT, HIP_LEFT), true, atol=1.5)
    devices = INCIDENTAL["hip"](hip, np.random.default_rng(0))
    assert [d.name for d in devices] == [f"left hip {part}" for part in ("head", "cup", "neck", "stem")]
    assert (
        femoral_head(replace(hip, labels=np.where(labels == HIP_LEFT, 0, labels)), FEMUR_LEFT, HIP_LEFT)
        is None
    )


def test_nothing_where_the_labels_have_no_place_for_it(body):
    bare = replace(body, labels=np.zeros_like(body.labels))
    assert sample_incidental(bare, np.random.default_rng(0)) == ()
    kinds = {sample_incidental(body, np.random.default_rng(seed))[0].name.split()[0] for seed in range(12)}
    assert kinds == {"clip", "gold", "stent"}


@pytest.mark.slow
def test_every_kind_of_device_is_drawn_in_real_ct(data_dir):
    """Fillings alone are not: no CT here shows teeth."""
    drawn = set()
    for name in ("abdomen", "thorax"):
        folder = data_dir / name
        anatomy = read_anatomy(folder / "ct.nii.gz", folder / "labels.nii.gz", name)
        canal = find_canal(anatomy)
        found = (find_pedicles(anatomy), find_vertebrae(anatomy, canal))
        anchors = find_anchors(anatomy)
        often = dict.fromkeys(("cage", "plate", "interspinous", "incidental", "pelvis"), 0.8)
        habits = Habits.of(often | {"lamina": 0.5})
        for seed in range(40):
            plan = sample_surgery(
                *found,
                np.random.default_rng(seed),
                habits=habits,
                canal=canal,
                anatomy=anatomy,
                anchors=anchors,
            )
            drawn |= {screw.level for screw in plan.screws}
            drawn |= {text for device in plan.devices for text in (device.name, device.material)}
    text = " ".join(drawn)
    for kind in ("S1", "S2AI", "iliac", "plate", "interspinous", "hook", "wire", "cross-link", "cement"):
        assert kind in text, kind
    for kind in ("TLIF", "PLIF", "ALIF", "LLIF", "porous titanium", "PEEK", "tantalum", "laminectomy"):
        assert kind in text, kind
    for kind in ("hip stem", "clip", "gold marker", "stent ring", "lead"):
        assert kind in text, kind
