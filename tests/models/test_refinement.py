"""The image network behind a completion: its start, what is fitted, and what stays as it is."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case, has_own_image
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.models.cgan import CGANCompletion
from ctmar.models.completion import UNetCompletion
from ctmar.models.pretrained import save
from ctmar.operators import RayTransform
from ctmar.sample import IMAGE_FIELDS, MARSample
from ctmar.units import mu_to_hu
from tests.quiet import quiet_trainer

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

BEAM = ParallelBeam(48, 65, 1.0)
RAY = RayTransform(ImageGrid((44, 45), 1.0), BEAM)  # an odd size: the U-Net must pad and crop
MU_WATER = 0.1
TINY = {"channels": [8, 16], "wrap_views": 8, "scheduler": "none", "refine_channels": [8, 16]}
GAME = {**TINY, "discriminator_channels": 8, "discriminator_layers": 1}
KINDS = [(UNetCompletion, TINY), (CGANCompletion, GAME)]


@pytest.fixture
def scan(make_sample):
    """Gives samples whose images belong to their sinograms."""

    def make(slices: int = 1, **options) -> MARSample:
        sample = make_sample(slices=slices, **options)
        rows, columns = torch.meshgrid(torch.arange(44) - 21.5, torch.arange(45) - 22.0, indexing="ij")
        body = (rows.square() + columns.square()).sqrt() < 20
        shape = (len(sample.measured), slices, 44, 45)
        metal = RAY.fbp(sample.metal_path_mm) > 1.5
        assert metal.any()
        return sample._replace(
            reference_hu=mu_to_hu(RAY.fbp(sample.clean), MU_WATER),
            metal_mask=metal,
            body_mask=body.expand(shape),
            tissue_labels=torch.zeros(shape, dtype=torch.uint8),
            mu_water=torch.full((shape[0],), MU_WATER),
        )

    return make


@pytest.fixture
def fitted(tmp_path) -> str:
    """A checkpoint of a U-Net whose head is not zero any more."""
    torch.manual_seed(3)
    model = UNetCompletion(**TINY)
    torch.nn.init.normal_(model.generator.net.head.weight, std=0.05)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "fitted.ckpt")
    return str(tmp_path / "fitted.ckpt")


def build(kind=UNetCompletion, options=TINY, **more):
    torch.manual_seed(0)
    model = kind(**{**options, **more})
    model.use_geometry(RAY)
    return model


def fit(model, samples, folder, epochs=1, resume=None) -> pl.Trainer:
    run = quiet_trainer(folder, max_epochs=epochs)
    loaders = (DataLoader(list(s), batch_size=None) for s in (samples, samples[:1]))
    run.fit(model, *loaders, ckpt_path=resume, weights_only=True)
    return run


def awaken(model) -> None:
    """Gives the image network something to add."""
    torch.nn.init.normal_(model.refinement.net.head.weight, std=0.1)


@pytest.mark.parametrize("slices", [1, 3])
def test_untrained_refinement_changes_no_bit_and_a_trained_one_does(scan, slices: int) -> None:
    sample = scan(slices)
    model = build(refine="joint", slices=slices).eval()
    completed = model.complete(sample)
    assert torch.equal(completed, build(slices=slices).eval().complete(sample))
    middle = completed[:, slices // 2 : slices // 2 + 1]
    expected = mu_to_hu(RAY.fbp(completed) / MU_WATER, 1.0)[:, slices // 2 : slices // 2 + 1]
    torch.testing.assert_close(expected, mu_to_hu(RAY.fbp(middle), MU_WATER))
    assert torch.equal(model.image_hu(sample), expected)
    awaken(model)
    assert not torch.allclose(model.image_hu(sample), expected, atol=1.0)
    assert torch.equal(model.complete(sample), completed)


def test_a_case_is_scored_by_its_refined_image_and_named_for_it(scan) -> None:
    sample = scan(batch=1)
    models = {"plain": build().eval(), "refined": build(refine="joint").eval()}
    for changed in (False, True):
        plain, refined = evaluate_case(models, sample, RAY).rows[:2]
        assert refined["off_trace_max_abs_change"] == 0.0
        assert refined["rmse_sinogram_trace"] == plain["rmse_sinogram_trace"]
        assert not plain["changes_untouched_rays"] and refined["changes_untouched_rays"]
        assert plain["off_trace_rms_reprojected"] == 0.0
        assert (refined["rmse_hu_body"] != plain["rmse_hu_body"]) == changed
        assert (refined["off_trace_rms_reprojected"] > 1e-3) == changed
        assert changed or refined["off_trace_rms_reprojected"] == 0.0
        awaken(models["refined"])
    assert [has_own_image(model) for model in models.values()] == [False, True]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_after_leaves_all_but_the_image_network_as_it_was(scan, tmp_path, fitted, kind, options) -> None:
    model = build(kind, options, refine="after", generator_checkpoint=fitted)
    fit(model, [scan(seed=seed) for seed in range(3)], tmp_path)
    before = torch.load(fitted, weights_only=True)["state_dict"]
    after = model.state_dict()
    # The statistics of the batch norms too.
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("generator."))
    untouched = build(kind, options, refine="after", generator_checkpoint=fitted).state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(after[name], untouched[name])}
    assert moved == {"generator", "refinement"}  # the generator's were loaded


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_joint_fits_both(scan, tmp_path, kind, options) -> None:
    model = build(kind, options, refine="joint")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, [scan(seed=seed) for seed in range(3)], tmp_path)
    moved = {n.split(".")[0] for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert {"generator", "refinement"} <= moved


def test_the_images_error_reaches_the_generator_through_the_reconstruction(scan) -> None:
    sample, model = scan(), build(refine="joint")
    model.refined_error(model.complete(sample), sample).backward()
    head = model.generator.net.head.weight.grad
    assert head is not None and head.abs().max() > 0
    # The same error without the reconstruction's gradient reaches the image network alone.
    model.zero_grad()
    model.refined_error(model.complete(sample).detach(), sample).backward()
    assert model.generator.net.head.weight.grad is None or not model.generator.net.head.weight.grad.any()
    assert model.refinement.net.head.weight.grad.abs().max() > 0


def test_a_short_fit_lowers_the_images_error(scan, tmp_path, fitted) -> None:
    sample = scan()
    model = build(refine="after", generator_checkpoint=fitted, learning_rate=1e-2)
    fit(model, [sample] * 60, tmp_path)
    model.eval()
    with torch.no_grad():
        completed, refined = model.refinement.errors(sample, model.images_of(sample, model.complete(sample)))
    assert float(refined) < 0.3 * float(completed)


def test_the_target_is_the_reconstruction_of_the_clean_sinogram(scan) -> None:
    sample, model = scan(), build(refine="joint").eval().requires_grad_(False)
    images = model.images_of(sample, sample.clean)
    assert [float(error) for error in model.refinement.errors(sample, images)] == [0.0, 0.0]
    # Metal and what is outside the body do not count; 100 HU in the rest count as 1.
    region = sample.body_mask & ~sample.metal_mask
    wrong = images._replace(refined_hu=images.refined_hu + torch.where(region, 100.0, 5000.0))
    assert float(model.refinement.errors(sample, wrong)[1]) == pytest.approx(1.0, rel=1e-5)


def test_mirrored_training_images_belong_to_their_sinograms(scan) -> None:
    sample = scan(batch=4)
    model = build(refine="joint", augment_mirror=True, augment_rotate_views=20)
    moved = model.training_sample(sample, 0)
    assert moved.measured.shape == sample.measured.shape  # the whole detector
    assert not torch.equal(moved.metal_mask, sample.metal_mask)
    torch.testing.assert_close(
        mu_to_hu(RAY.fbp(moved.clean), MU_WATER), moved.reference_hu, atol=0.05, rtol=0
    )
    stale = moved._replace(**{name: getattr(sample, name) for name in IMAGE_FIELDS})
    assert (mu_to_hu(RAY.fbp(stale.clean), MU_WATER) - stale.reference_hu).abs().max() > 50


def test_validation_loss_is_what_is_fitted(scan, tmp_path, fitted) -> None:
    sample = scan()
    run = quiet_trainer(tmp_path)
    logged = {}
    for refine in ("none", "after", "joint"):
        model = build(refine=refine, generator_checkpoint=fitted, refine_weight=0.5)
        (logged[refine],) = run.validate(model, DataLoader([sample], batch_size=None), verbose=False)
    after, joint = logged["after"], logged["joint"]
    assert "val/rmse_refined_hu" not in logged["none"]
    assert after["val/rmse_refined_hu"] == after["val/rmse_image_hu"]  # untrained
    assert after["val/loss"] == pytest.approx((after["val/rmse_refined_hu"] / 100) ** 2, rel=1e-4)
    assert joint["val/loss"] == pytest.approx(logged["none"]["val/loss"] + 0.5 * after["val/loss"], rel=1e-4)


def test_resumed_run_equals_an_unbroken_one_and_loads_without_pickle(scan, tmp_path, fitted) -> None:
    samples = [scan(seed=seed) for seed in range(2)]
    options = {"refine": "after", "generator_checkpoint": fitted, "augment_mirror": True}
    whole = build(**options)
    fit(whole, samples, tmp_path, 2).save_checkpoint(tmp_path / "whole.ckpt")
    fit(build(**options), samples, tmp_path, 1).save_checkpoint(tmp_path / "half.ckpt")
    resumed = build(**options)
    fit(resumed, samples, tmp_path, 2, tmp_path / "half.ckpt")
    state, half = (torch.load(tmp_path / f"{n}.ckpt", weights_only=True) for n in ("whole", "half"))
    assert all(torch.equal(value, resumed.state_dict()[n]) for n, value in state["state_dict"].items())
    assert not all(torch.equal(value, half["state_dict"][n]) for n, value in state["state_dict"].items())
    rebuilt = UNetCompletion(**state["hyper_parameters"]).eval()
    rebuilt.load_state_dict(state["state_dict"])
    rebuilt.use_geometry(RAY)
    assert torch.equal(rebuilt.image_hu(samples[0]), whole.eval().image_hu(samples[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": "before"}, "refine must be one of none, after, joint, got 'before'"),
        ({"refine": "after"}, "refine=after needs the fitted completion.*generator_checkpoint, got none"),
        ({"refine": "joint", "refine_weight": 0.0}, "refine_weight must be positive, got 0.0"),
        ({"refine": "joint", "refine_filter": "box"}, "refine_filter must be one of ram-lak.*got 'box'"),
        ({"refine": "joint", "refine_channels": [8]}, "channels must hold two or more positive counts"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        UNetCompletion(**{**TINY, **options})


def test_what_it_cannot_do_is_said(scan, tmp_path) -> None:
    with pytest.raises(CtmarError, match="call use_geometry"):
        UNetCompletion(refine="joint", **TINY).image_hu(scan())
    with pytest.raises(CtmarError, match="needs a model with refine=after or joint, got refine=none"):
        build().image_hu(scan())
    with pytest.raises(CtmarError, match=r"completion alone, got model\.refine=joint"):
        save(tmp_path / "a.safetensors", build(refine="joint"), BEAM, {})
