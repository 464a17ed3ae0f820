"""The image network behind a completion: its start, what is fitted, and what stays as it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY, ConfigInCheckpoint
from ctmar.case import Case, Scan
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.learned.network import NetworkMethod
from ctmar.learned.pretrained import save
from ctmar.learned.refined import ERROR_HU
from ctmar.operators import RayTransform
from ctmar.training.augment import Augment
from ctmar.training.fit import Fit
from ctmar.training.optimizer import Optimizer
from ctmar.training.refine import Refine, refined_errors, scored_region
from ctmar.units import mu_to_hu
from tests.learned.building import method_node
from tests.quiet import quiet_trainer
from tests.training.building import STEADY, gan, loader, train, unet_fit

# The libraries' own: Lightning asks a pytree question in a deprecated way, and wants workers for tiny data.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]

BEAM = ParallelBeam(48, 65, 1.0)
RAY = RayTransform(ImageGrid((44, 45), 1.0), BEAM)  # an odd size: the U-Net must pad and crop
MU_WATER = 0.1
KINDS = [unet_fit, gan]


@pytest.fixture
def make_imaged(make_case) -> Callable[..., Case]:
    """Gives cases whose images belong to their sinograms."""

    def make(slices: int = 1, **options) -> Case:
        case = make_case(slices=slices, **options)
        rows, columns = torch.meshgrid(torch.arange(44) - 21.5, torch.arange(45) - 22.0, indexing="ij")
        body = (rows.square() + columns.square()).sqrt() < 20
        shape = (len(case), slices, 44, 45)
        metal = RAY.fbp(case.scan.metal_path_mm) > 1.5
        assert metal.any()
        water = torch.full((shape[0],), MU_WATER)
        truth = replace(
            case.truth,
            reference_hu=mu_to_hu(RAY.fbp(case.truth.clean), MU_WATER),
            body_mask=body.expand(shape),
            tissue_labels=torch.zeros(shape, dtype=torch.uint8),
        )
        return Case(replace(case.scan, ray=RAY, metal_mask=metal, mu_water=water), truth)

    return make


@pytest.fixture
def fitted(tmp_path) -> str:
    """A checkpoint of a U-Net whose head is not zero any more."""
    torch.manual_seed(3)
    model = unet_fit()
    nn.init.normal_(model.method.generator.net.head.weight, std=0.05)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "fitted.ckpt")
    return str(tmp_path / "fitted.ckpt")


def build(kind=unet_fit, refine: str = "none", weight: float = 0.1, **more) -> Fit:
    torch.manual_seed(0)
    model: Fit = kind(**{"optimizer": STEADY, "refine": Refine(refine, (8, 16), weight=weight), **more})
    model.check(RAY)
    return model


def awaken(model: Fit) -> None:
    """Gives the image network something to add."""
    nn.init.normal_(model.method.refinement.net.head.weight, std=0.1)


def image_hu(method: NetworkMethod, scan: Scan) -> Tensor:
    """The method's image, as evaluations make it."""
    completed = method.complete(scan).sinogram
    return method.finish(scan, scan.image_hu(completed), scan.image_hu(scan.measured))


@pytest.mark.parametrize("slices", [1, 3])
def test_untrained_refinement_changes_no_bit_and_a_trained_one_does(make_imaged, slices: int) -> None:
    scan = make_imaged(slices).scan
    model = build(refine="joint", slices=slices).eval()
    method = model.method
    completed = method.complete(scan).sinogram
    assert torch.equal(completed, build(slices=slices).eval().method.complete(scan).sinogram)
    expected = mu_to_hu(RAY.fbp(completed) / MU_WATER, 1.0)
    torch.testing.assert_close(expected, mu_to_hu(RAY.fbp(completed), MU_WATER))
    assert torch.equal(image_hu(method, scan), expected)
    awaken(model)
    middle = slice(slices // 2, slices // 2 + 1)
    assert not torch.allclose(image_hu(method, scan)[:, middle], expected[:, middle], atol=1.0)
    assert torch.equal(method.complete(scan).sinogram, completed)


def test_a_method_without_refinement_adds_nothing_to_its_image(make_imaged) -> None:
    scan = make_imaged().scan
    corrected = torch.randn(2, 1, 44, 45)
    assert build().method.finish(scan, corrected, scan.image_hu(scan.measured)) is corrected


def test_a_case_is_scored_by_its_refined_image_and_named_for_it(make_imaged) -> None:
    case = make_imaged(batch=1)
    models = {"plain": build().eval(), "refined": build(refine="joint").eval()}
    methods = {name: model.method for name, model in models.items()}
    for changed in (False, True):
        plain, refined = evaluate_case(methods, case).rows[:2]
        assert refined["off_trace_max_abs_change"] == 0.0
        assert refined["rmse_sinogram_trace"] == plain["rmse_sinogram_trace"]
        assert not plain["changes_untouched_rays"] and refined["changes_untouched_rays"]
        assert plain["off_trace_rms_reprojected"] == 0.0
        assert (refined["rmse_hu_body"] != plain["rmse_hu_body"]) == changed
        assert (refined["off_trace_rms_reprojected"] > 1e-3) == changed
        assert changed or refined["off_trace_rms_reprojected"] == 0.0
        awaken(models["refined"])
    assert [method.own_image for method in methods.values()] == [False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_after_leaves_all_but_the_image_network_as_it_was(make_imaged, tmp_path, fitted, kind) -> None:
    model = build(kind, "after", start=fitted)
    train(model, [make_imaged(seed=seed) for seed in range(3)], tmp_path)
    before = torch.load(fitted, weights_only=True)["state_dict"]
    after, generator = model.state_dict(), "method.generator."
    # The statistics of the batch norms too.
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith(generator))
    assert any(name.startswith(generator) for name in before)
    untouched = build(kind, "after", start=fitted).state_dict()
    # The generator's were loaded.
    assert moved_parts(after, untouched) == {"method.generator", "method.refinement"}


@pytest.mark.parametrize("kind", KINDS)
def test_joint_fits_both(make_imaged, tmp_path, kind) -> None:
    model = build(kind, "joint")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, [make_imaged(seed=seed) for seed in range(3)], tmp_path)
    assert {"method.generator", "method.refinement"} <= moved_parts(model.state_dict(), before)


def moved_parts(after: dict[str, Tensor], before: dict[str, Tensor]) -> set[str]:
    """Which parts differ, by the first two words of their names."""
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    return {".".join(name.split(".")[:2]) for name in moved}


def test_the_images_error_reaches_the_generator_through_the_reconstruction(make_imaged) -> None:
    case, model = make_imaged(), build(refine="joint")
    method = model.method
    refined_errors(method, case, method.complete(case.scan).sinogram)[1].backward()
    head = method.generator.net.head.weight.grad
    assert head is not None and head.abs().max() > 0
    # The same error without the reconstruction's gradient reaches the image network alone.
    model.zero_grad()
    refined_errors(method, case, method.complete(case.scan).sinogram.detach())[1].backward()
    assert method.generator.net.head.weight.grad is None or not method.generator.net.head.weight.grad.any()
    assert method.refinement.net.head.weight.grad.abs().max() > 0


def test_a_short_fit_lowers_the_images_error(make_imaged, tmp_path, fitted) -> None:
    case = make_imaged()
    fast = Optimizer(learning_rate=1e-2, scheduler="none")
    model = build(refine="after", start=fitted, optimizer=fast)
    train(model, [case] * 60, tmp_path)
    model.eval()
    with torch.no_grad():
        sinogram = model.method.complete(case.scan).sinogram
        completed, refined = refined_errors(model.method, case, sinogram)
    assert float(refined) < 0.3 * float(completed)


class Adds(nn.Module):
    """Stands in for the image network and adds a given image in HU."""

    def __init__(self, added_hu: Tensor) -> None:
        super().__init__()
        self.added = added_hu / ERROR_HU

    def forward(self, images: Tensor) -> Tensor:
        return self.added


def test_the_target_is_the_reconstruction_of_the_clean_sinogram(make_imaged) -> None:
    case, method = make_imaged(), build(refine="joint").eval().requires_grad_(False).method
    clean = case.truth.clean
    assert [float(error) for error in refined_errors(method, case, clean)] == [0.0, 0.0]
    # Metal and what is outside the body do not count; 100 HU in the rest count as 1.
    region = case.truth.body_mask & ~case.scan.metal_mask
    assert torch.equal(scored_region(case), region)
    method.refinement.net = Adds(torch.where(region, 100.0, 5000.0))
    assert float(refined_errors(method, case, clean)[1]) == pytest.approx(1.0, rel=1e-5)


def test_mirrored_training_images_belong_to_their_sinograms(make_imaged) -> None:
    case = make_imaged(batch=4)
    model = build(refine="joint", augment=Augment(mirror=True, rotate_views=20))
    moved = model.training_case(case, 0)
    assert moved.scan.measured.shape == case.scan.measured.shape  # the whole detector
    assert not torch.equal(moved.scan.metal_mask, case.scan.metal_mask)
    imaged = mu_to_hu(RAY.fbp(moved.truth.clean), MU_WATER)
    torch.testing.assert_close(imaged, moved.truth.reference_hu, atol=0.05, rtol=0)
    assert (imaged - case.truth.reference_hu).abs().max() > 50


def test_validation_loss_is_what_is_fitted(make_imaged, tmp_path, fitted) -> None:
    case = make_imaged()
    run = quiet_trainer(tmp_path)
    logged = {}
    for refine in ("none", "after", "joint"):
        model = build(refine=refine, start=fitted, weight=0.5)
        (logged[refine],) = run.validate(model, loader(case), verbose=False)
    after, joint = logged["after"], logged["joint"]
    assert "val/rmse_refined_hu" not in logged["none"]
    assert after["val/rmse_refined_hu"] == after["val/rmse_image_hu"]  # untrained
    assert after["val/loss"] == pytest.approx((after["val/rmse_refined_hu"] / 100) ** 2, rel=1e-4)
    assert joint["val/loss"] == pytest.approx(logged["none"]["val/loss"] + 0.5 * after["val/loss"], rel=1e-4)


def test_resumed_run_equals_an_unbroken_one_and_loads_without_pickle(make_imaged, tmp_path, fitted) -> None:
    cases = [make_imaged(seed=seed) for seed in range(2)]
    options = {"refine": "after", "start": fitted, "augment": Augment(mirror=True)}

    def fit(name: str, epochs: int, resume: Path | None = None) -> Fit:
        model, told = build(**options), ConfigInCheckpoint({"method": method_node()})
        run = train(model, cases, tmp_path, resume, max_epochs=epochs, callbacks=[told])
        run.save_checkpoint(tmp_path / f"{name}.ckpt")
        return model

    whole, _ = fit("whole", 2), fit("half", 1)
    resumed = fit("resumed", 2, tmp_path / "half.ckpt")
    state, half = (torch.load(tmp_path / f"{n}.ckpt", weights_only=True) for n in ("whole", "half"))
    assert all(torch.equal(value, resumed.state_dict()[n]) for n, value in state["state_dict"].items())
    assert not all(torch.equal(value, half["state_dict"][n]) for n, value in state["state_dict"].items())
    assert state[CONFIG_KEY]["method"] == method_node()
    again = build(**options).eval()
    again.load_state_dict(state["state_dict"])
    scan = cases[0].scan
    assert torch.equal(image_hu(again.method, scan), image_hu(whole.eval().method, scan))


def test_after_needs_a_fitted_completion() -> None:
    needed = "refine=after needs the fitted completion.*generator_checkpoint, got none"
    with pytest.raises(CtmarError, match=needed):
        build(refine="after")


def test_a_completion_with_an_image_network_is_not_exported(tmp_path) -> None:
    with pytest.raises(CtmarError, match=r"completion alone, got .*model\.refine"):
        save(tmp_path / "a.safetensors", build(refine="joint").method, method_node(), BEAM, {})
    assert not list(tmp_path.iterdir())
