"""What runs on GPUs, tried on a pretend one (``tests/pretend.py``): the same numbers, nothing left here."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ctmar.callbacks import EMA, ImagePanels
from ctmar.case import Case, Scan
from ctmar.config.build import build_model, make
from ctmar.config.composing import composed
from ctmar.evaluation import evaluate_case
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.learned.pretrained import Pretrained
from ctmar.losses.root import Root
from ctmar.methods import Method
from ctmar.metrics.suite import Truth, change_metrics, image_metrics, region_metrics
from ctmar.operators import RayTransform
from ctmar.stored.slices import correct
from ctmar.training.fit import Fit
from tests.contracts.test_method import METHODS
from tests.methods.disk import BEAM, disk_case
from tests.pretend import CUDA, MixedDevices, OnGPU, PretendGPU
from tests.tiny_network import tiny_network
from tests.tiny_runs import SMALL_NETWORK, TINY

GRID = ImageGrid((16, 16), 5.6)
BEAMS = {"parallel": ParallelBeam(12, 25, 5.6), "fan": FanBeam(25, 24, 8.0, 541.0, 408.0, "arc", 0.0)}
TERMS = [f"model.terms.{name}.weight=0.1" for name in ("gradient", "image", "consistency")]
TRAININGS = {
    "U-Net with every term": TERMS,
    "three slices, the centre scored": ["model.method.slices=3", "loss@model.loss=center"],
    "behind physics": [
        "model@model.method.fill=physics",
        "input@model.method.inputs=[measured,trace,fill,path,difference,deviation,angle]",
        "loss@model.loss=root",
    ],
    "gated": ["network@model.method.network=gated"],
    "GAN": ["model=cgan", "model.adversary.feature_weight=1"],
    "GAN, its encoder the judge": [
        "model=cgan",
        "discriminator@model.adversary.discriminator=encoder",
        "model.adversary.discriminator.num_layers=1",
    ],
    "refined with the completion": ["model.refine.kind=joint"],
}


class Pretended(CPUAccelerator):
    """Lightning's for the CPU, which takes the pretend GPU."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing is to be set up."""


def held(x: Any) -> Tensor:
    assert isinstance(x, OnGPU), "it came back from the GPU, or never went there"
    return x.held


def test_tensors_of_two_devices_do_not_meet() -> None:
    with PretendGPU() as gpu:
        x = torch.arange(6.0).reshape(2, 3).to("cuda")
        assert x.device == CUDA and x.is_cuda and isinstance(x * 2, OnGPU) and isinstance(x[0], OnGPU)
        assert (x * 2).sum().item() == 30 and gpu.waits.total() == 1
        for meet in (
            lambda: x + torch.ones(2, 3),
            lambda: torch.ones(2, 3) * x,
            lambda: torch.cat([x, x.cpu()]),
        ):
            with pytest.raises(MixedDevices, match="on the CPU"):
                meet()
        with pytest.raises(TypeError, match="to numpy"):
            np.asarray(x)
        assert isinstance(x + torch.tensor(1.0), OnGPU)  # a number may come from anywhere
        assert torch.equal(x[torch.tensor([1])].cpu(), torch.tensor([[3.0, 4.0, 5.0]]))
        for made in (
            torch.zeros(2, device="cuda"),
            torch.zeros_like(x),
            x.new_ones(2),
            torch.eye(2, device=CUDA),
        ):
            assert held(made).shape[0] == 2
        x += 1
        x[0, 0] = 9
        assert held(x).flatten().tolist() == [9, 2, 3, 4, 5, 6]
    assert torch.ones(2).to("cpu").device.type == "cpu"


def test_a_network_learns_there_what_it_learns_here() -> None:
    torch.manual_seed(0)
    here = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    there, images = copy.deepcopy(here), torch.rand(2, 1, 8, 8)
    _learn(here, images)
    with PretendGPU():
        _learn(there.to("cuda"), images.to("cuda"))
        for name, value in there.state_dict().items():
            torch.testing.assert_close(held(value), here.state_dict()[name], rtol=1e-4, atol=1e-6)


def _learn(network: nn.Module, images: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        ((network(images) - images) ** 2).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("beam", BEAMS)
def test_projection_and_its_gradients(beam: str) -> None:
    here = RayTransform(GRID, BEAMS[beam])
    image = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    sinogram = here.forward(image)
    with PretendGPU() as gpu:
        ray = RayTransform(GRID, BEAMS[beam])
        x = image.to("cuda").requires_grad_()
        seen = ray.forward(x)
        fbp = ray.fbp(seen, "hann")
        torch.testing.assert_close(held(seen.detach()), sinogram, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(held(fbp.detach()), here.fbp(sinogram, "hann"), rtol=1e-3, atol=1e-4)
        fbp.square().sum().backward()
        assert held(x.grad).abs().max() > 0
    assert not [line for line, kind in gpu.waits if kind in ("item", "mask")]


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    scan, method = disk_case().scan, METHODS[name]()
    wanted = method.complete(scan).sinogram.detach()
    with PretendGPU():
        method = METHODS[name]()
        moved = method.to("cuda") if isinstance(method, nn.Module) else method
        assert isinstance(moved, Method)
        completed = held(moved.complete(scan.to("cuda")).sinogram.detach())
    torch.testing.assert_close(completed, wanted, rtol=1e-4, atol=1e-4)
    kept = method.select(scan)
    assert torch.equal(completed[~kept.metal_trace], kept.measured[~kept.metal_trace])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_validate_draw_and_average(name: str, tmp_path: Any) -> None:
    here, _ = train(name, tmp_path / "here", None)
    there, waits = train(name, tmp_path / "there", PretendGPU())
    assert here.keys() == there.keys() and "val/loss" in here
    for figure, value in here.items():
        assert there[figure] == pytest.approx(value, rel=2e-2, abs=1e-4), figure
    assert list((tmp_path / "there").rglob("*.png"))
    # The window's three numbers, and whether loss and step are finite: a step waits for nothing else.
    hot = {line for line, kind in waits if line.startswith("ctmar/learned") or "step" in line}
    assert hot <= {
        "ctmar/learned/network.py:trace_window",
        "ctmar/training/fit.py:validation_step",
        "ctmar/training/gan.py:_step",
    }


def train(
    name: str, folder: Any, gpu: PretendGPU | None
) -> tuple[dict[str, float], dict[tuple[str, str], int]]:
    """Two epochs of one batch, here or there; the figures that were logged."""
    torch.manual_seed(0)
    cfg = composed("train", [*TINY, *SMALL_NETWORK, f"paths.output_dir={folder}", *TRAININGS[name]])
    fit = build_model(cfg)
    assert isinstance(fit, Fit)
    case = disk_case(slices=int(cfg.model.method.slices))
    callbacks = [EMA(0.9), ImagePanels(num_cases=1, folder=folder)]
    if gpu is None:
        return _figures(_trainer("cpu", folder, callbacks), fit, case), {}
    with gpu:
        return _figures(_trainer(CUDA, folder, callbacks), fit, case), dict(gpu.waits)


def _trainer(device: Any, folder: Any, callbacks: list[Any]) -> pl.Trainer:
    return pl.Trainer(
        strategy=SingleDeviceStrategy(device=torch.device(device), accelerator=Pretended()),
        max_epochs=2,
        default_root_dir=folder,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _figures(trainer: pl.Trainer, fit: Fit, case: Case) -> dict[str, float]:
    batches: Any = [case]
    trainer.fit(fit, *(DataLoader(batches, batch_size=None) for _ in range(2)))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_evaluation_of_a_network_there() -> None:
    case = one(disk_case(slices=1))
    network = Pretrained(tiny_network(), BEAM, symmetries=2)
    wanted = evaluate_case({"network": network}, case).rows[0]
    with PretendGPU():
        found = evaluate_case({"network": network.to("cuda")}, case).rows[0]
    for name, value in wanted.items():
        assert found[name] == (
            pytest.approx(value, rel=1e-3, abs=1e-3, nan_ok=True) if isinstance(value, float) else value
        )


def test_metrics_of_images_there() -> None:
    scores = _scores(lambda x: x)
    with PretendGPU():
        there = _scores(lambda x: x.to("cuda"))
    for name, value in scores.items():
        torch.testing.assert_close(held(there[name]), value, rtol=1e-4, atol=1e-5, equal_nan=True)


def _scores(to: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    case = one(disk_case(slices=1))
    seen, known = case.scan, case.truth
    noisy = known.reference_hu + 30 * torch.randn(
        known.reference_hu.shape, generator=torch.Generator().manual_seed(0)
    )
    images = [
        to(x[0]) for x in (known.reference_hu, known.reference_hu, noisy, seen.metal_mask, known.body_mask)
    ]
    truth = Truth(*images, to(known.tissue_labels[0]), 4.0)
    image = to(noisy[0])
    of_image = image_metrics(image, truth.reference_hu, truth.metal_mask, truth.body_mask, 4.0)
    return of_image | region_metrics(image, truth) | change_metrics(image, truth)


def one(case: Case) -> Case:
    truth = case.truth.images(lambda x: x[:1])
    return Case(case.scan.one(0), replace(truth, clean=truth.clean[:1], parameters=truth.parameters[:1]))


def test_a_stored_image_by_a_network_there(with_rods: Any) -> None:
    stored, _, _ = with_rods
    network = Pretrained(tiny_network(), ParallelBeam(90, 129, 4.0), symmetries=1)
    wanted = correct(stored[None], (1.0, 1.0, 1.0), method=network)
    with PretendGPU():
        found = correct(stored[None], (1.0, 1.0, 1.0), method=network.to("cuda"))
    assert np.abs(found - wanted).max() < 0.5 and np.abs(wanted - stored).max() > 5


class Forgetful(Root):
    """A loss that makes its weights where nothing else is."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """The root, weighted."""
        return super().__call__(completed, case) * torch.ones(completed.shape[-1]).mean(0, keepdim=True)


class ForgetfulMethod(Method):
    """A method that asks nobody where the scan is."""

    name = "forgetful"

    def trace(self, scan: Scan) -> Tensor:
        """Zeros, on the CPU."""
        return torch.zeros(scan.measured.shape)


def test_what_forgets_the_device_is_caught() -> None:
    case = disk_case()
    with PretendGPU():
        there = case.to("cuda")
        with pytest.raises(MixedDevices):
            Forgetful()(there.scan.measured, there)
        with pytest.raises(MixedDevices):
            ForgetfulMethod().complete(there.scan)


def test_every_loss_and_term() -> None:
    losses = {name: make(composed("train", [f"loss@model.loss={name}"]).model.loss) for name in
              ("absolute", "center", "charbonnier", "outside", "root", "squared")}  # fmt: skip
    case = disk_case()
    completed = case.truth.clean + 0.1 * case.scan.metal_trace
    for name, loss in losses.items():
        wanted = loss(completed, case)
        with PretendGPU():
            found = loss(completed.to("cuda"), case.to("cuda"))
            assert held(found).item() == pytest.approx(float(wanted), rel=1e-4), name
