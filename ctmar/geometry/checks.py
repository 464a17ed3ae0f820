"""Checks that the geometries share."""

import math

from ctmar.errors import CtmarError


def require_positive(name: str, value: float) -> None:
    """Raises a CtmarError where ``value`` is no positive number."""
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise CtmarError(f"{name} must be a positive number, got {value!r}")


def require_count(name: str, value: int) -> None:
    """Raises a CtmarError where ``value`` is no positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CtmarError(f"{name} must be a positive whole number, got {value!r}")


def angles_over(
    angles: tuple[float, ...] | None, count: int, turn: float, start: float = 0.0
) -> tuple[float, ...]:
    """The views' angles in rad: those given, or ``count`` spread evenly over ``turn`` from ``start`` on."""
    if angles is None:
        return tuple(start + k * turn / count for k in range(count))
    given = tuple(float(angle) for angle in angles)
    if len(given) != count or not all(map(math.isfinite, given)):
        raise CtmarError(f"angles must hold {count} finite values, got {len(given)}")
    return given
