"""The ribs of a procedural body: tubes with a shell, along the inner side of the chest wall."""

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy import labels as ids
from ctmar.phantoms.implicit import FAR, Array, Canvas, Frame, capsule, coverage
from ctmar.phantoms.morphometry import BUILT_LEVELS, VertebraSize
from ctmar.phantoms.torso import SQUARENESS, Room
from ctmar.phantoms.vertebra import posterior_wall

RIB_SHELL_MM, RIB_CORTEX_HU, RIB_MARROW_HU = 1.2, 900.0, 130.0


def paint_ribs(canvas: Canvas, room: Room, frames: list[Frame], sizes: tuple[VertebraSize, ...]) -> None:
    """Ribs of every thoracic level that reach into the grid, as tubes with a shell, labelled."""
    distance = np.full(canvas.grid.shape, FAR, np.float32)
    number = np.zeros(canvas.grid.shape, np.uint8)
    for frame, size in zip(frames, sizes, strict=True):
        if not size.thoracic:
            continue
        for side, first in ((1, ids.RIBS_LEFT[0]), (-1, ids.RIBS_RIGHT[0])):
            course = _rib_course(canvas, room, frame, size, side)
            _tube(canvas, distance, number, course, first + BUILT_LEVELS.index(size.level))
    distance[np.isin(canvas.labels, ids.VERTEBRAE)] = FAR
    near = np.nonzero(distance < 3)
    d = distance[near]
    hu = canvas.hu[near]
    hu += coverage(d, canvas.width) * (RIB_CORTEX_HU - hu)
    hu += coverage(d + RIB_SHELL_MM, canvas.width) * (RIB_MARROW_HU - hu)
    canvas.hu[near] = hu
    inside = distance < 0
    canvas.labels[inside] = number[inside]


def _rib_course(
    canvas: Canvas, room: Room, frame: Frame, size: VertebraSize, side: int
) -> list[NDArray[np.float64]]:
    """Head beside the body, past the transverse process, then along the wall, down and forward."""
    level = BUILT_LEVELS.index(size.level) + 1
    wall, tip = posterior_wall(size), size.transverse_span / 2
    course = [
        frame.point(side * (size.body_width / 2 + 1), wall - 3, size.body_height / 2 - 4),
        frame.point(side * (tip - 3), wall + 13, 1.0),
    ]
    reach = {12: 58.0, 11: 88.0}.get(level, 140.0)
    slope = 0.42 if level > 2 else 0.25
    k = int(np.clip(course[1][2] / canvas.grid.spacing_mm[2], 0, canvas.grid.shape[0] - 1))
    center_x = (canvas.grid.shape[2] - 1) / 2 * canvas.grid.spacing_mm[0]
    # The spine stands at y - wall = 0; the trunk's centre lies ``middle`` before it.
    wall_y = float(-room.y[k, 0, 0])
    middle = float(room.middle[k, 0, 0]) + wall_y
    inset = float(np.interp(0.0, *_wall_profile(room, k)))
    a, b = room.half_width - inset, float(room.half_depth[k, 0, 0]) - inset
    top = course[1][2]
    for angle in np.radians(np.arange(34.0, reach, 7.0)):
        s, c = np.sin(angle), np.cos(angle)
        x = center_x + side * a * np.abs(s) ** (2 / SQUARENESS)
        y = middle + b * np.sign(c) * np.abs(c) ** (2 / SQUARENESS)
        arc = float(np.linalg.norm(np.array([x, y]) - course[-1][:2]))
        top -= arc * slope * (0.55 if angle > 1.9 else 1.0)
        course.append(np.array([x, y, top]))
    return course


def _wall_profile(room: Room, k: int) -> tuple[Array, Array]:
    """How deep under the skin the cavity begins at the flank, as a table over the cavity's distance."""
    row = int(np.argmin(np.abs(room.y[k].ravel() - room.middle[k, 0, 0])))
    cavity, skin = room.cavity[k, row], room.skin[k, row]
    inside = (skin < 0) & (room.x[k, 0] > 30)
    order = np.argsort(cavity[inside])
    return cavity[inside][order], -skin[inside][order] - 5.0


def _tube(
    canvas: Canvas, distance: Array, number: NDArray[np.uint8], course: list[NDArray[np.float64]], label: int
) -> None:
    for start, end in zip(course, course[1:], strict=False):
        box = canvas.grid.around([start, end], 10.0)
        if min(s.stop - s.start for s in box) == 0:
            continue
        own = capsule(canvas.grid.axes(box), start, end, (3.4, 3.4), 1.75)
        closer = own < distance[box]
        distance[box][closer] = own[closer]
        number[box][closer & (own < 0)] = label
