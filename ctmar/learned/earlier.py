"""What earlier versions wrote of a network, as what is written today."""

from typing import Any

INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "measured": ("measured.Measured", {}),
    "measured_zeroed": ("measured.MeasuredZeroed", {}),
    "trace": ("trace.Trace", {}),
    "fill": ("fill.Fill", {}),
    "fill_li": ("fill.FillBy", {"method": {"_target_": "ctmar.methods.li.LI"}}),
    "fill_nmar": ("fill.FillBy", {"method": {"_target_": "ctmar.methods.nmar.NMAR"}}),
    "path": ("path.Path", {}),
    "difference": ("difference.Difference", {}),
    "hardening": ("hardening.Hardening", {}),
    "hardening_weighted": ("hardening.Hardening", {"weighted": True}),
    "angle": ("angle.Angle", {}),
}
FILLS = {"zero": "zero.Zero", "li": "li.LI", "nmar": "nmar.NMAR"}
SCALARS = (
    "slices",
    "sinogram_scale",
    "path_scale_mm",
    "residual_scale",
    "wrap_views",
    "margin_bins",
)


def method_node(arguments: dict[str, Any]) -> dict[str, Any]:
    """The description of a network as a method, from the flat arguments of before."""
    kind = arguments.get("network", "unet")
    keys = ("channels", "num_res_units", "norm", "downscale") if kind == "unet" else ("channels", "downscale")
    network: dict[str, Any] = {"_target_": "ctmar.networks.unet.SinogramUNet", "_partial_": True}
    if kind != "unet":
        network = {"_target_": "ctmar.networks.holes.HoleUNet", "_partial_": True, "kind": kind}
    network |= {key: arguments[key] for key in keys if key in arguments}
    chosen = {name: INPUTS[name] for name in arguments["inputs"]}
    inputs = {name: {"_target_": f"ctmar.inputs.{of}", **more} for name, (of, more) in chosen.items()}
    return {
        "_target_": "ctmar.learned.network.NetworkMethod",
        "network": network,
        "inputs": inputs,
        "fill": {"_target_": f"ctmar.methods.{FILLS[arguments['fill']]}"},
        **{key: arguments[key] for key in SCALARS if key in arguments},
    }


def about_of(before: dict[str, Any]) -> dict[str, Any]:
    """What a file of weights of schema 1 said, as schema 2 says it."""
    node = method_node(before["arguments"])
    card = before["card"] | {"model": {"method": node}}
    return {"schema": 2, "method": node, "beam": before["beam"], "card": card}


def state_of(before: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's weights by today's names: the method is a part of what fitted it."""
    ours = ("generator.", "refinement.")
    return {f"method.{name}" if name.startswith(ours) else name: value for name, value in before.items()}
