"""From a plan to its solids: nothing is sampled here."""

from dataclasses import dataclass

import numpy as np

from ctmar.implants.hardware import ScrewShaft, Tulip, spline_rod
from ctmar.implants.kinds import solid
from ctmar.implants.mesh import screw_mesh
from ctmar.implants.plan import Device, Plan
from ctmar.implants.shapes import Cylinder, Part, Shape
from ctmar.vectors import FloatArray, unit, vector

BODY_HU: dict[str, float] = {"PEEK": 181.0, "cement": 1800.0, "scar": 45.0, "graft": 320.0}
"""CT numbers at 70 keV of what is anatomy and no metal: PEEK from its attenuation (0.228 over 0.193 per cm);
cement with barium, scar and bone graft as clinical scans show them."""
POROUS: dict[str, tuple[str, float]] = {"porous titanium": ("Ti-6Al-4V", 0.35)}
"""Metals with pores: the metal, and its share of the volume."""


@dataclass(frozen=True)
class Change:
    """A solid of the body that surgery replaced.

    Attributes:
        name: What reports call it.
        hu: CT number of what fills it.
        shape: The solid, in mm of the anatomy's frame.
    """

    name: str
    hu: float
    shape: Shape


def build(plan: Plan) -> tuple[Part, ...]:
    """The pieces of a plan: each screw's shaft, head and set screw, then the rods; nothing is sampled."""
    rods = {rod.side: spline_rod(rod.centers_mm, rod.diameter_mm, rod.overhang_mm) for rod in plan.rods}
    diameters = {rod.side: rod.diameter_mm for rod in plan.rods}
    parts: list[Part] = []
    for screw in plan.screws:
        name, direction = f"{screw.level} {screw.side}", np.asarray(screw.direction)
        neck_mm = max(0.0, 3.0 + screw.proud_mm)
        neck = vector(np.asarray(screw.entry_mm) - neck_mm * direction)
        shaft: Shape = (
            ScrewShaft(
                neck,
                screw.direction,
                screw.length_mm + neck_mm,
                screw.diameter_mm,
                core_taper=screw.core_taper,
                bore_mm=screw.bore_mm,
            )
            if screw.mesh is None
            else screw_mesh(screw.mesh, screw.tip_mm, direction)
        )
        parts.append(Part(f"{name} screw", screw.material, shaft))
        if screw.side in rods:
            center, along = (
                screw.rod_center_mm,
                _tangent(np.asarray(rods[screw.side].points_mm), screw.rod_center_mm),
            )
            if screw.monoaxial:
                along = unit(along - (along @ direction) * direction)
            up = unit(-direction + (direction @ along) * along)
            head = Tulip(vector(center), vector(along), vector(-direction), diameters[screw.side] + 0.2)
            lid = diameters[screw.side] / 2
            cap = Cylinder(vector(center + lid * up), vector(center + 7.5 * up), 4.5)
            parts += [
                Part(f"{name} head", screw.material, head),
                Part(f"{name} set screw", screw.material, cap),
            ]
    rod_parts = [Part(f"{rod.side} rod", rod.material, rods[rod.side]) for rod in plan.rods]
    metal = [device for device in plan.devices if device.material not in BODY_HU]
    return tuple(parts + rod_parts + [_part(device) for device in metal])


def _part(device: Device) -> Part:
    material, fill = POROUS.get(device.material, (device.material, 1.0))
    return Part(device.name, material, solid(device.kind, device.numbers), fill)


def changes(plan: Plan) -> tuple[Change, ...]:
    """What a plan's surgery did to the body: it is there with and without the metal."""
    return tuple(
        Change(device.name, BODY_HU[device.material], solid(device.kind, device.numbers))
        for device in plan.devices
        if device.material in BODY_HU
    )


def _tangent(points: FloatArray, at: FloatArray) -> FloatArray:
    """Direction of the polyline near a point of it, over its two nearest segments."""
    nearest = int(np.clip(np.argmin(np.linalg.norm(points - at, axis=1)), 1, len(points) - 2))
    return unit(points[nearest + 1] - points[nearest - 1])
