"""A case as the arrays that its file holds, and back: what the contract repeats is kept once.

Off the metal trace ``clean`` and every fill *are* ``measured`` and the path through metal is 0, so all of
them are kept on the trace alone; masks are bits. On 3 slices of 256² with 360 views a case takes 2.2 MB in
place of 9.7 (docs/data-sets.md).
"""

import hashlib
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctmar.case import Case, Scan, Truth
from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform

DTYPES = ("float32", "float16")
_FILL, _DEVIATION = "fill_", "deviation_"

Arrays = dict[str, NDArray[Any]]


def encode(case: Case, dtype: str = "float32") -> Arrays:
    """The arrays of a single case.

    Args:
        case: A batch of one that keeps the contract off the trace.
        dtype: One of ``DTYPES``: ``float32`` gives every bit back, ``float16`` rounds values.

    Raises:
        CtmarError: A field that differs from ``measured`` off the trace.
    """
    scan, truth = case.scan, case.truth
    trace, measured = scan.metal_trace[0].numpy(), scan.measured[0].numpy()
    masks = {"metal_trace": scan.metal_trace, "metal_mask": scan.metal_mask, "body_mask": truth.body_mask}
    arrays: Arrays = {name: np.packbits(mask[0].numpy()) for name, mask in masks.items()}
    arrays["tissue_labels"] = truth.tissue_labels[0].numpy()
    arrays["mu_water"] = scan.mu_water[0].numpy()
    for name, values in (("measured", measured), ("reference_hu", truth.reference_hu[0].numpy())):
        arrays[name] = values.astype(dtype)
    repeats = {"clean": truth.clean} | {_FILL + name: fill for name, fill in scan.fills.items()}
    zeros = {"metal_path_mm": scan.metal_path_mm}
    zeros |= {_DEVIATION + name: deviation for name, deviation in scan.deviations.items()}
    for fields, off in ((repeats, measured), (zeros, np.zeros_like(measured))):
        for name, field in fields.items():
            arrays[name] = _on_trace(name, field[0].numpy(), off, trace).astype(dtype)
    told = {"case_id": scan.case_id[0], "parameters": truth.parameters[0]}
    text = json.dumps(told | ({"clipped": True} if any(scan.clipped) else {}))
    arrays["about"] = np.frombuffer(text.encode(), dtype=np.uint8)
    return arrays


def decode(arrays: Arrays, ray: RayTransform[ParallelBeam], kvp: float | None) -> Case:
    """The case of ``encode``'s arrays.

    Args:
        arrays: As they were stored.
        ray: The geometry of the case, which is not.
        kvp: The scanner's tube voltage, nor is that.
    """
    measured = arrays["measured"].astype(np.float32)
    trace = _bits(arrays["metal_trace"], measured.shape)
    places = np.flatnonzero(trace)
    reference = arrays["reference_hu"].astype(np.float32)

    def whole(name: str, off: NDArray[np.float32]) -> torch.Tensor:
        full = off.copy()
        full.reshape(-1)[places] = arrays[name]
        return torch.from_numpy(full)[None]

    def mask(name: str) -> torch.Tensor:
        return torch.from_numpy(_bits(arrays[name], reference.shape))[None]

    def of_fills(prefix: str, off: NDArray[np.float32]) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): whole(name, off) for name in arrays if name.startswith(prefix)}

    nothing = np.zeros_like(measured)
    about = json.loads(arrays["about"].tobytes())
    scan = Scan(
        measured=torch.from_numpy(measured)[None],
        metal_trace=torch.from_numpy(trace)[None],
        metal_mask=mask("metal_mask"),
        metal_path_mm=whole("metal_path_mm", nothing),
        mu_water=torch.from_numpy(arrays["mu_water"])[None],
        ray=ray,
        kvp=() if kvp is None else (kvp,),
        fills=of_fills(_FILL, measured),
        deviations=of_fills(_DEVIATION, nothing),
        case_id=(about["case_id"],),
        clipped=(True,) if about.get("clipped") else (),
    )
    truth = Truth(
        clean=whole("clean", measured),
        reference_hu=torch.from_numpy(reference)[None],
        body_mask=mask("body_mask"),
        tissue_labels=torch.from_numpy(arrays["tissue_labels"])[None],
        parameters=(about["parameters"],),
    )
    return Case(scan, truth)


def digest(arrays: Arrays) -> str:
    """SHA-256 of a case's arrays: names, types, shapes and bytes, in the order of the names."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _on_trace(
    name: str, field: NDArray[np.float32], off: NDArray[np.float32], trace: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The field's values on the trace, if off it the field is what it has to be."""
    if not np.array_equal(np.where(trace, 0, field), np.where(trace, 0, off)):
        wanted = "0" if name.startswith(("metal_path_mm", _DEVIATION)) else "the measurement"
        raise CtmarError(f"{name} must be {wanted} off the metal trace, got other values")
    return field[trace]


def _bits(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)
