"""The Triton kernels against the native backend: interpreted on a CPU, for real where there is CUDA.

Whether kernels are interpreted is settled when triton is imported, so this file runs itself as a
script in a process of its own; the tests read what it printed.
"""

import json
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ctmar.operators
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.parallel.native import NativeBackend
from ctmar.operators.parallel.triton_backend import TritonBackend
from tests.children import run

ROOT = Path(__file__).parents[2]
GEOMETRIES = {
    "even": (ImageGrid((6, 6), 1.0), ParallelBeam(4, 10, 1.0)),
    "odd": (ImageGrid((7, 7), 1.0), ParallelBeam(5, 11, 1.0)),
    "oblong, spaced": (ImageGrid((5, 9), 1.7), ParallelBeam(5, 13, 1.1)),
    "narrow, offset": (ImageGrid((6, 6), 0.5), ParallelBeam(4, 3, 0.8, det_offset_mm=0.3)),
    "few angles": (ImageGrid((6, 6), 1.0), ParallelBeam(3, 10, 1.0, angles=(0.3, 2.0, 5.1))),
    "one view, one bin": (ImageGrid((5, 5), 1.0), ParallelBeam(1, 1, 1.0)),
    "coarse bins": (ImageGrid((7, 7), 0.3), ParallelBeam(3, 3, 1.0)),
    # More than one block of bins, of pixels, and coordinates of full size.
    "fine bins": (ImageGrid((5, 5), 1.0), ParallelBeam(3, 150, 0.2)),
    "wide": (ImageGrid((2, 512), 0.7), ParallelBeam(2, 729, 0.7, angles=(0.3, 2.9))),
}
MAPS = ("forward", "adjoint", "backproject", "backproject_adjoint")
PAIRS = (("forward", "adjoint"), ("backproject_adjoint", "backproject"))
BATCHES = {torch.float32: 3, torch.float64: 1}
# Coordinates are good to 2e-7; in float32 at 512 they would cost 8e-5.
AGREES = {"torch.float32": 2e-6, "torch.float64": 1e-7}
ADJOINT = {"torch.float32": 1e-6, "torch.float64": 1e-12}


def vectors(grid: ImageGrid, beam: ParallelBeam, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A random image and a random sinogram, zero-mean."""
    generator = torch.Generator().manual_seed(batch)
    shapes = grid.shape, beam.shape
    x, y = (torch.randn(batch, *shape, dtype=dtype, generator=generator) for shape in shapes)
    return x, y


def mismatch(ax: Tensor, y: Tensor, x: Tensor, aty: Tensor) -> float:
    """``|⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖)``."""
    assert ax.shape == y.shape and aty.shape == x.shape
    ax, y, x, aty = (t.double() for t in (ax, y, x, aty))
    return float(((ax * y).sum() - (x * aty).sum()).abs() / (ax.norm() * y.norm()))


def measure(device: str) -> Iterator[dict]:
    """One row a geometry and precision: relative L2 to the native maps, and how well pairs transpose."""
    for name, (grid, beam) in GEOMETRIES.items():
        backend, native = TritonBackend(grid, beam), NativeBackend(grid, beam)
        mirrored = ParallelBeam(*beam.shape, beam.det_spacing_mm, angles=tuple(-a for a in beam.theta))
        wrong = NativeBackend(grid, mirrored)
        for dtype, batch in BATCHES.items():
            x, y = vectors(grid, beam, batch, dtype)
            row: dict = {"geometry": name, "dtype": str(dtype), "batch": batch, "differs": {}}
            out = {}
            for what in MAPS:
                source = x if what in ("forward", "backproject_adjoint") else y
                out[what] = getattr(backend, what)(source.to(device)).cpu()
                expected = getattr(native, what)(source)
                row["differs"][what] = float((out[what] - expected).norm() / expected.norm())
            row["pairs"] = [mismatch(out[a], y, x, out[t]) for a, t in PAIRS]
            row["mirrored"] = [mismatch(out[a], y, x, getattr(wrong, t)(y)) for a, t in PAIRS]
            yield row


def probe(device: str) -> dict:
    """What is no figure: batches of every kind, NaN, repetition, and what is refused."""
    grid, beam = GEOMETRIES["odd"]
    backend = TritonBackend(grid, beam)
    x, y = (t.to(device) for t in vectors(grid, beam, 9, torch.float32))
    together = backend.forward(x)
    poisoned = x.clone()
    poisoned[1, 3, 3] = torch.nan
    tainted = backend.forward(poisoned).isnan().flatten(1).any(1)
    turned = x.mT.contiguous().mT.requires_grad_()
    return {
        "batch of nine": float((together[8:] - backend.forward(x[8:])).abs().max()),
        "empty": list(backend.forward(x[:0]).shape),
        "strided": torch.equal(backend.forward(turned), together),
        "repeats": torch.equal(backend.adjoint(y), backend.adjoint(y)),
        "tainted": tainted.nonzero().flatten().tolist(),
        "half": refusal(lambda: backend.forward(x.half())),
        "supports": TritonBackend.supports(device),
    }


def refusal(call) -> str:  # type: ignore[no-untyped-def]
    """The message of the CtmarError that a call raises."""
    with pytest.raises(CtmarError) as caught:
        call()
    return str(caught.value)


@pytest.fixture(scope="module", params=[pytest.param("interpreter", marks=pytest.mark.slow), "cuda"])
def results(request: pytest.FixtureRequest) -> dict:
    if find_spec("triton") is None:
        pytest.skip("triton is not installed (it comes with CUDA builds of torch; else: pip install triton)")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device, interpret = ("cpu", "1") if request.param == "interpreter" else ("cuda", "0")
    command = [sys.executable, "-m", "tests.operators.test_triton", device]
    done = run(command, limit=900, cwd=ROOT, TRITON_INTERPRET=interpret)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_maps_agree_with_the_native_backend(results: dict) -> None:
    assert len(results["rows"]) == len(GEOMETRIES) * len(BATCHES)
    for row in results["rows"]:
        for what in MAPS:
            assert row["differs"][what] <= AGREES[row["dtype"]], (what, row)


def test_pairs_are_exact_transposes(results: dict) -> None:
    for row in results["rows"]:
        assert max(row["pairs"]) <= ADJOINT[row["dtype"]], row


def test_mirrored_angles_are_refused_by_the_adjoint_check(results: dict) -> None:
    for row in results["rows"]:
        if row["geometry"] != "one view, one bin":  # at θ = 0 there is nothing to mirror
            assert min(row["mirrored"]) > 1e-4, row


def test_batches_of_every_kind(results: dict) -> None:
    assert results["batch of nine"] <= 1e-5
    assert results["empty"] == [0, *GEOMETRIES["odd"][1].shape]
    assert results["strided"] and results["repeats"]


def test_nan_stays_in_its_slice(results: dict) -> None:
    assert results["tainted"] == [1]


def test_half_precision_is_refused(results: dict) -> None:
    assert results["supports"]
    assert results["half"].startswith("projector triton works on float32 or float64 CUDA tensors, got")
    assert "torch.float16" in results["half"]


def test_cpu_tensors_are_refused_without_the_interpreter() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET is set: the interpreter takes CPU tensors")
    backend = TritonBackend(*GEOMETRIES["odd"])
    assert not TritonBackend.supports("cpu")
    with pytest.raises(CtmarError, match="CUDA tensors, got torch.float32 on cpu; projector=torch"):
        backend.forward(torch.zeros(1, 7, 7))


def test_absent_triton_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "ctmar.operators.kernels.triton_kernels", raising=False)
    monkeypatch.delattr(ctmar.operators, "triton_kernels", raising=False)
    assert not TritonBackend.supports("cuda")
    with pytest.raises(CtmarError, match="requires the package triton.*pip install triton"):
        TritonBackend(*GEOMETRIES["odd"])


def test_rays_out_of_reach_are_refused() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    with pytest.raises(CtmarError, match=r"rays within 2\^30 pixels"):
        TritonBackend(ImageGrid((4, 4), 1.0), ParallelBeam(3, 5, 1.0, det_offset_mm=1e10))


COMPILE = """
import itertools, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ctmar.operators.kernels import triton_kernels
from tests.children import run

integers = "batch num_outer num_inner out_rows source_rows num_elements size".split()
widths = ((1, "fp32"), (8, "fp64"))
for name, by_view, (slices, scalar) in itertools.product(("pull", "push"), (True, False), widths):
    kernel = getattr(triton_kernels, name)
    constants = {"BY_VIEW": by_view, "BLOCK": 128, "SLICES": slices, "CANDIDATES": 3}
    types = {"out": "*" + scalar, "source": "*" + scalar, "table": "*i64", "first": "*i64", "weight": "*fp64"}
    types |= dict.fromkeys(integers, "i32") | dict.fromkeys(constants, "constexpr")
    signature = {argument: types[argument] for argument in kernel.arg_names}
    constants = {k: v for k, v in constants.items() if k in signature}
    options = {"num_warps": 4, "enable_fp_fusion": True}
    source = ASTSource(kernel, signature, constants)
    code = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
    assert "atom." not in code and "red." not in code and "call" not in code
print("compiled")
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_that_need_not_be_there(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    script = tmp_path / "compile_kernels.py"
    script.write_text(COMPILE, encoding="utf-8")
    cache = str(tmp_path / "cache")
    done = run([sys.executable, script], cwd=ROOT, TRITON_INTERPRET="0", TRITON_CACHE_DIR=cache)
    assert done.stdout == "compiled\n", done.stderr


if __name__ == "__main__":
    print(json.dumps({"rows": list(measure(sys.argv[1])), **probe(sys.argv[1])}))
