"""Metal of clinical CT outside the spine: hips, clips, markers, fillings, stents, leads.

Sizes as makers list them: heads of 28 to 36 mm on a stem of titanium, surgical clips 6 to 10 mm long of wire
0.7 mm thick, gold markers 1 × 3 mm, leads of 1.5 to 2.5 mm, stent grafts of 24 to 32 mm in the aorta, with
struts of 0.4 mm.
"""

import numpy as np
from numpy.typing import ArrayLike

from ctmar.implants.plan import Device
from ctmar.implants.spinal import plain
from ctmar.vectors import FloatArray, unit


def hip(center_mm: ArrayLike, side: str, head_mm: float = 32.0) -> tuple[Device, ...]:
    """A total hip about the centre of its head: head, neck, tapered stem down the femur, and a cup."""
    center, out = np.asarray(center_mm, dtype=float), (1.0 if side == "left" else -1.0)
    neck = center + np.array([out * 36.0, 2.0, -36.0])
    tip = neck + np.array([out * 6.0, 4.0, -110.0])
    name = f"{side} hip"
    cup = {"center_mm": plain(center), "radius_mm": head_mm / 2 + 9.0, "wall_mm": 4.0}
    return (
        Device("sphere", f"{name} head", "CoCrMo", {"center_mm": plain(center), "radius_mm": head_mm / 2}),
        Device("shell", f"{name} cup", "Ti-6Al-4V", {**cup, "normal": plain([out * 0.65, 0.15, -0.75])}),
        _bar(f"{name} neck", "Ti-6Al-4V", center, neck, 6.5, 8.0),
        _bar(f"{name} stem", "Ti-6Al-4V", neck, tip, 9.0, 4.5),
    )


def _bar(
    name: str, material: str, start: FloatArray, end: FloatArray, radius: float, end_radius: float
) -> Device:
    numbers = {
        "start_mm": plain(start),
        "end_mm": plain(end),
        "radius_mm": radius,
        "end_radius_mm": end_radius,
    }
    return Device("cylinder", name, material, numbers)


def clip(center_mm: ArrayLike, direction: ArrayLike, length_mm: float = 8.0) -> Device:
    """A closed surgical clip: a wire folded upon itself."""
    center, along = np.asarray(center_mm, dtype=float), unit(direction)
    across = unit(np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])) * 0.6
    tip, fold = along * length_mm / 2, -along * length_mm / 2
    points = [plain(center + p) for p in (tip + across, fold + across, fold - across, tip - across)]
    return Device("tube", "clip", "Ti-6Al-4V", {"points_mm": points, "radius_mm": 0.35})


def gold_marker(center_mm: ArrayLike, direction: ArrayLike) -> Device:
    """A fiducial marker for radiotherapy: a cylinder of gold, 1 mm thick and 3 mm long."""
    center, half = np.asarray(center_mm, dtype=float), 1.5 * unit(direction)
    numbers = {"start_mm": plain(center - half), "end_mm": plain(center + half), "radius_mm": 0.5}
    return Device("cylinder", "gold marker", "gold", numbers)


def filling(center_mm: ArrayLike, size_mm: float, material: str = "amalgam") -> Device:
    """A dental filling or crown: a rounded block."""
    numbers = {
        "center_mm": plain(center_mm),
        "size_mm": [size_mm, 0.9 * size_mm, 0.7 * size_mm],
        "rounding_mm": 0.25 * size_mm,
    }
    return Device("box", "filling", material, numbers)


def lead(points_mm: ArrayLike, diameter_mm: float = 2.0) -> Device:
    """A pacemaker's lead along points ``(n, 3)``."""
    points = [plain(point) for point in np.asarray(points_mm, dtype=float)]
    return Device("tube", "lead", "CoCrMo", {"points_mm": points, "radius_mm": diameter_mm / 2})


def stent(
    points_mm: ArrayLike, diameter_mm: float = 26.0, ring_mm: float = 12.0, struts: int = 10
) -> tuple[Device, ...]:
    """Rings of zigzag wire along a vessel's centre line ``(n, 3)``, one every ``ring_mm``."""
    path = np.asarray(points_mm, dtype=float)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    rings: list[Device] = []
    for start in np.arange(0.0, way[-1] - ring_mm, ring_mm):
        at = [
            np.array([np.interp(d, way, path[:, k]) for k in range(3)])
            for d in (start, start + 0.8 * ring_mm)
        ]
        along = unit(at[1] - at[0])
        first = unit(np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))]))
        second = np.cross(along, first)
        angles = np.linspace(0.0, 2 * np.pi, 2 * struts + 1)
        circle = (np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second) * diameter_mm / 2
        points = [plain(at[n % 2] + offset) for n, offset in enumerate(circle)]
        numbers = {"points_mm": points, "radius_mm": 0.2}
        rings.append(Device("tube", f"stent ring {len(rings)}", "316L", numbers))
    return tuple(rings)
