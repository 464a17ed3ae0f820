"""Spinal devices beside screws and rods, as devices of a plan.

Sizes: interbody cages of 22–36 × 9–12 × 7–14 mm (TLIF, PLIF), 40–55 mm wide from the side (LLIF) and 30–38 ×
24–28 mm from the front (ALIF), as makers' catalogues list them; markers of tantalum 0.8 mm thick; porous
titanium holds about 35 % of metal; cross-links and wires of 4 to 5 and 1.2 mm.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ctmar.anatomy.landmarks import Vertebra
from ctmar.anatomy.landmarks.vertebral_bodies import Place
from ctmar.errors import CtmarError
from ctmar.implants.plan import Device
from ctmar.vectors import FloatArray, unit

PEEK, CEMENT, SCAR, GRAFT, POROUS = "PEEK", "cement", "scar", "graft", "porous titanium"
CAGES: dict[str, tuple[float, float]] = {
    "TLIF": (28.0, 10.0),
    "PLIF": (10.0, 24.0),
    "LLIF": (48.0, 20.0),
    "ALIF": (34.0, 26.0),
}
"""Width and depth in mm of interbody cages by the way they are put in; a PLIF is a pair."""
MARKER_RADIUS_MM, WALL_MM = 0.4, 2.5


def plain(values: ArrayLike) -> list[float]:
    """Numbers as a plan keeps them."""
    return [float(value) for value in np.asarray(values, dtype=float)]


def _block(place: Place, center: FloatArray, size: Sequence[float], **more: float) -> dict[str, object]:
    axes = [plain(row) for row in place.axes]
    return {"center_mm": plain(center), "size_mm": plain(size), "axes": axes, **more}


def cage(disc: Place, kind: str, material: str = PEEK) -> tuple[Device, ...]:
    """One cage of ``CAGES`` in a disc (two for a PLIF): a hollow block, graft in it, markers if of PEEK.

    Raises:
        CtmarError: An unknown kind or material.
    """
    if kind not in CAGES or material not in (PEEK, POROUS):
        known = f"{', '.join(CAGES)} of {PEEK} or {POROUS}"
        raise CtmarError(f"a cage must be one of {known}, got {kind!r} of {material!r}")
    width, depth = (min(a, 0.9 * b) for a, b in zip(CAGES[kind], disc.size_mm, strict=False))
    height = float(disc.size_mm[2])
    devices: list[Device] = []
    for side in (-1.0, 1.0) if kind == "PLIF" else (0.0,):
        # A TLIF lies in the front third of the disc, a PLIF's pair beside the midline.
        center = disc.point(side * 9.0, {"TLIF": -4.0, "PLIF": 1.0}.get(kind, 0.0))
        name = f"{disc.name} {kind} cage" + {-1.0: " right", 1.0: " left", 0.0: ""}[side]
        numbers = _block(disc, center, (width, depth, height), wall_mm=WALL_MM, rounding_mm=1.0)
        if material == PEEK:
            devices += _markers(disc, center, (width, depth, height), name)
        devices.append(Device("cage", name, material, numbers))
        inner = (width - 2 * WALL_MM, depth - 2 * WALL_MM, height - 1.0)
        devices.append(Device("box", f"{name} graft", GRAFT, _block(disc, center, inner)))
    return tuple(devices)


def _markers(disc: Place, center: FloatArray, size: tuple[float, float, float], name: str) -> list[Device]:
    """Pins of tantalum in the walls: two behind, one in front."""
    width, depth, height = size
    places = ((width / 2 - 1.5, depth / 2 - 1.5), (1.5 - width / 2, depth / 2 - 1.5), (0.0, 1.5 - depth / 2))
    pins = []
    for left, back in places:
        start, end = (
            center + np.array([left, back, up]) @ disc.axes for up in (1 - height / 2, height / 2 - 1)
        )
        numbers = {"start_mm": plain(start), "end_mm": plain(end), "radius_mm": MARKER_RADIUS_MM}
        pins.append(Device("cylinder", f"{name} marker", "tantalum", numbers))
    return pins


def cleared(disc: Place) -> Device:
    """The disc's space after its nucleus was taken out, filled by scar."""
    radii = [0.42 * disc.size_mm[0], 0.40 * disc.size_mm[1], disc.size_mm[2] / 2]
    axes = [plain(row) for row in disc.axes]
    numbers = {"center_mm": plain(disc.center_mm), "radii_mm": plain(radii), "axes": axes}
    return Device("ellipsoid", f"{disc.name} disc removed", SCAR, numbers)


def laminectomy(vertebra: Vertebra, width_mm: float = 20.0) -> Device:
    """Lamina and spinous process taken away behind the canal, the gap filled by scar."""
    place = Place(vertebra.level, vertebra.origin_mm, vertebra.axes, np.ones(3))
    center = place.point(back=26.0, up=-6.0)
    numbers = _block(place, center, (width_mm, 40.0, 34.0), rounding_mm=6.0)
    return Device("box", f"{vertebra.level} laminectomy", SCAR, numbers)


def cross_link(first: FloatArray, second: FloatArray, rod_mm: float, material: str) -> tuple[Device, ...]:
    """A bar from rod to rod behind the dura, bent backwards, with a clamp around each."""
    middle = (first + second) / 2 + np.array([0.0, 6.0, 0.0])
    bar = {"points_mm": [plain(p) for p in (first, middle, second)], "radius_mm": 2.2}
    clamp = [rod_mm + 4.0, rod_mm + 4.5, 8.0]
    clamps = [
        Device(
            "box", "cross-link clamp", material, {"center_mm": plain(p), "size_mm": clamp, "rounding_mm": 2.0}
        )
        for p in (first, second)
    ]
    return (*clamps, Device("tube", "cross-link", material, bar))


def hook(vertebra: Vertebra, side: str, rod_at_mm: FloatArray, material: str) -> tuple[Device, ...]:
    """A laminar hook: a bent blade under the lamina and a shank back to the rod."""
    sign = 1.0 if side == "left" else -1.0
    place = Place(vertebra.level, vertebra.origin_mm, vertebra.axes, np.ones(3))
    under = [place.point(sign * 9.0, back, up) for back, up in ((9.0, -4.0), (10.0, -11.0), (15.0, -14.0))]
    points = [plain(p) for p in (*under, rod_at_mm)]
    name = f"{vertebra.level} {side} hook"
    clamp = {"center_mm": plain(rod_at_mm), "size_mm": [11.0, 12.0, 10.0], "rounding_mm": 2.0}
    return (
        Device("tube", name, material, {"points_mm": points, "radius_mm": 2.3}),
        Device("box", f"{name} body", material, clamp),
    )


def interspinous(lower: Vertebra, upper: Vertebra, material: str) -> tuple[Device, ...]:
    """A spacer between two spinous processes with a wing on each side."""
    center = (lower.origin_mm + upper.origin_mm) / 2 + 27.0 * unit(lower.axes[1] + upper.axes[1])
    up = unit(upper.origin_mm - lower.origin_mm)
    back = unit(lower.axes[1] - (lower.axes[1] @ up) * up)
    place = Place(
        f"{upper.level}/{lower.level}", center, np.stack([np.cross(back, up), back, up]), np.ones(3)
    )
    name = f"{place.name} interspinous"
    spacer = _block(place, center, (10.0, 14.0, 9.0), rounding_mm=3.0)
    wings = [
        Device(
            "box",
            f"{name} wing",
            material,
            _block(place, place.point(left), (2.0, 12.0, 26.0), rounding_mm=1.0),
        )
        for left in (-6.0, 6.0)
    ]
    return (*wings, Device("box", name, PEEK, spacer))


def anterior_plate(lower: Place, upper: Place, material: str) -> tuple[Device, ...]:
    """A plate before two bodies with two screws in each."""
    fronts = [body.point(back=-body.size_mm[1] / 2 - 1.5) for body in (lower, upper)]
    up = unit(fronts[1] - fronts[0])
    back = unit(lower.axes[1] + upper.axes[1])
    back = unit(back - (back @ up) * up)
    place = Place("plate", (fronts[0] + fronts[1]) / 2, np.stack([np.cross(back, up), back, up]), np.ones(3))
    length = float(np.linalg.norm(fronts[1] - fronts[0])) + 14.0
    name = f"{upper.name}/{lower.name} plate"
    devices = [
        Device("box", name, material, _block(place, place.center_mm, (22.0, 3.0, length), rounding_mm=1.2))
    ]
    for front, body in zip(fronts, (lower, upper), strict=True):
        for left in (-7.0, 7.0):
            start = front + left * place.axes[0]
            end = start + 0.65 * body.size_mm[1] * unit(body.axes[1] - 0.12 * np.sign(left) * body.axes[0])
            numbers = {"start_mm": plain(start), "end_mm": plain(end), "radius_mm": 2.3, "end_radius_mm": 1.6}
            devices.append(Device("cylinder", f"{name} screw", material, numbers))
    return tuple(devices)


def laminar_wire(vertebra: Vertebra, side: str, rod_at_mm: FloatArray, material: str) -> Device:
    """A wire looped under the lamina and around the rod."""
    sign = 1.0 if side == "left" else -1.0
    place = Place(vertebra.level, vertebra.origin_mm, vertebra.axes, np.ones(3))
    loop = [place.point(sign * 7.0, *at) for at in ((10.0, -3.0), (8.5, -8.0), (11.0, -13.0), (17.0, -10.0))]
    points = [rod_at_mm + np.array([0.0, 3.0, 0.0]), *loop, rod_at_mm - np.array([0.0, 0.0, 4.0])]
    numbers = {"points_mm": [plain(p) for p in points], "radius_mm": 0.6}
    return Device("tube", f"{vertebra.level} {side} laminar wire", material, numbers)


def cement(body: Place, center_mm: FloatArray, radius_mm: float, rng: np.random.Generator) -> Device:
    """A lump of bone cement of uneven outline in a vertebral body."""
    limit = 0.45 * float(min(body.size_mm))
    numbers = {
        "center_mm": plain(center_mm),
        "radius_mm": min(radius_mm, limit),
        "waves": [plain(wave) for wave in rng.normal(0.0, 2.5, (4, 3))],
        "amplitudes": plain(rng.dirichlet(np.ones(4)) * 0.45),
        "phases": plain(rng.uniform(0.0, 2 * np.pi, 4)),
    }
    return Device("blob", f"{body.name} cement", CEMENT, numbers)
